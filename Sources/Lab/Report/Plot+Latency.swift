// Latency against load: one percentile over the rates that every subject got, a line for each. The
// maximum is a closed loop and stands apart, as a hollow mark.

extension Plot {
  static func latency(_ quantity: Quantity, _ data: ReportData) -> Plot? {
    struct Point {
      let stage: StageFacts
      let rate: Double
      let seconds: Double
    }
    var lines: [(series: Int, name: String, points: [Point], maximum: Point?)] = []
    for (series, subject) in data.subjects {
      func point(_ stage: StageFacts) -> Point? {
        let row = data.row(subject, stage)
        return row.median(quantity).map {
          Point(stage: stage, rate: stage.rate ?? row.completedRate, seconds: $0)
        }
      }
      lines.append(
        (series, subject.name, data.rates.compactMap(point), data.maximum.flatMap(point)))
    }
    let all = lines.flatMap { $0.points + [$0.maximum].compactMap { $0 } }
    guard !all.isEmpty else { return nil }
    let tip = { (name: String, p: Point) in
      "\(name), \(p.stage.name), \(Figure.rate(p.rate))/s: \(quantity.label) \(Figure.seconds(p.seconds))"
    }
    func draw(_ width: Double) -> SVG {
      var svg = SVG(width: width, height: width > 500 ? 300 : 250)
      let left = 62.0
      let bottom = svg.height - 44
      let y = Axis.logarithmic(around: all.map(\.seconds), from: bottom, to: 12)
      let x = Axis.fromZero(all.map(\.rate).max() ?? 1, from: left, to: width - 12)
      svg.vertical(y, left: left, right: width - 12) { Figure.tick(seconds: $0) }
      svg.horizontal(x, top: 12, bottom: bottom) { Figure.tick(count: $0) }
      svg.text((left + width - 12) / 2, svg.height - 6, "requests per second", .middle, "axis")
      for (series, name, points, maximum) in lines {
        svg.group(series) { svg in
          svg.path(
            points.map { (x.position($0.rate), y.position($0.seconds)) }, Series.line(series))
          for p in points {
            svg.mark(
              x.position(p.rate), y.position(p.seconds), series: series, tip: tip(name, p))
          }
          if let p = maximum {
            svg.mark(
              x.position(p.rate), y.position(p.seconds), series: series, tip: tip(name, p),
              hollow: true)
          }
        }
      }
      return svg
    }
    var table = HTMLTable(
      caption: "\(quantity.label) against load",
      columns: ["subject", "stage", "requests/s", quantity.label])
    for (_, name, points, maximum) in lines {
      for p in points + [maximum].compactMap({ $0 }) {
        table.rows.append([
          .init(name), .init(p.stage.name), .init(Figure.rate(p.rate), key: p.rate),
          .init(Figure.seconds(p.seconds), key: p.seconds),
        ])
      }
    }
    return Plot(
      id: "latency-\(quantity.rawValue)", title: "\(quantity.label) against load",
      description:
        "Median over the rounds of \(quantity.label), from the planned send time,"
        + " at each rate, for \(lines.map(\.name).joined(separator: ", ")).",
      draw: draw, table: table,
      note:
        "From the planned send time to the last byte; median of the rounds; logarithmic."
        + " Hollow: at the maximum, where each connection sends after the previous response.",
      legend: data.legend)
  }
}
