// Round by round: how calm the machine was, and whether pairing was needed. Lines that move
// together are the machine; the gap between them is the difference.

extension Plot {
  static func rounds(_ data: ReportData) -> Plot? {
    guard let stage = data.mainStages.first else { return nil }
    let lines = data.subjects.map { series, subject in
      (
        series: series, name: subject.name,
        points: data.row(subject, stage).measurements.compactMap { m in
          m.failure == nil
            ? Quantity.cpuPerRequest.value(m).map { (round: m.round, seconds: $0) } : nil
        }
      )
    }
    let all = lines.flatMap(\.points)
    guard let first = all.map(\.round).min(), let last = all.map(\.round).max(), last > first else {
      return nil
    }
    func draw(_ width: Double) -> SVG {
      var svg = SVG(width: width, height: 230)
      let left = 62.0
      let bottom = svg.height - 44
      let y = Axis.fromZero(all.map(\.seconds).max() ?? 1, from: bottom, to: 12)
      var x = Axis(.linear, Double(first), Double(last), from: left + 8, to: width - 16)
      x.isWhole = true
      svg.vertical(y, left: left, right: width - 12) { Figure.tick(seconds: $0) }
      svg.horizontal(x, top: 12, bottom: bottom, grid: false) {
        String(Int($0.rounded()) - first + 1)
      }
      svg.text((left + width - 12) / 2, svg.height - 6, "round", .middle, "axis")
      for (series, name, points) in lines {
        svg.group(series) { svg in
          svg.path(
            points.map { (x.position(Double($0.round)), y.position($0.seconds)) },
            Series.line(series))
          for p in points {
            svg.mark(
              x.position(Double(p.round)), y.position(p.seconds), series: series,
              tip: "\(name), round \(p.round - first + 1): \(Figure.seconds(p.seconds))")
          }
        }
      }
      return svg
    }
    var table = HTMLTable(
      caption: "CPU per request, round by round",
      columns: ["subject"] + (first...last).map { String($0 - first + 1) })
    for (_, name, points) in lines {
      table.rows.append(
        [.init(name)]
          + (first...last).map { round in
            let found = points.first { $0.round == round }?.seconds
            return .init(found.map(Figure.seconds) ?? "–", key: found)
          })
    }
    return Plot(
      id: "rounds", title: "CPU per request, round by round",
      description: "CPU time per request in each round at \(stage.name), for"
        + " \(lines.map(\.name).joined(separator: ", ")).",
      draw: draw, table: table,
      note:
        "At \(ReportData.title(stage)). Changes that all lines share are caused by the machine.",
      legend: data.legend)
  }
}
