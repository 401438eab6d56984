// Ratios with their 99% intervals and the band of ±2% in which there is no difference that matters:
// what the verdict read, at one glance.

import Glibc

private struct ForestRow {
  let ratio: Ratio
  let label: String
  let isDecisive: Bool

  var figures: String {
    guard let estimate = ratio.estimate, let low = ratio.low, let high = ratio.high else {
      return "–"
    }
    return "\(Figure.change(estimate)) (\(Figure.change(low)) to \(Figure.change(high)))"
  }
  var outcome: String { ratio.outcome == .none ? "no ratio" : ratio.outcome.rawValue }
}

extension Plot {
  /// All ratios of one subject to another.
  static func forest(_ subject: String, _ baseline: String, _ data: ReportData) -> Plot? {
    let ratios = data.comparison.ratios.filter { $0.subject == subject && $0.baseline == baseline }
    guard ratios.contains(where: { $0.estimate != nil && !data.isInformative($0) }),
      let first = index(subject, data), let second = index(baseline, data)
    else { return nil }
    let groups = data.comparison.stages.map { stage in
      (
        title: ReportData.title(stage),
        rows: ratios.filter {
          $0.stage == stage.name && $0.estimate != nil && !data.isInformative($0)
        }.map {
          ForestRow(
            ratio: $0, label: Quantity(rawValue: $0.quantity)?.label ?? $0.quantity,
            isDecisive: data.isDecisive($0))
        }
      )
    }.filter { !$0.rows.isEmpty }
    let reach = extent(groups.flatMap(\.rows))
    func draw(_ width: Double) -> SVG {
      let isWide = width > 500
      let rowHeight = isWide ? 22.0 : 36.0
      let height = groups.reduce(34.0) { $0 + 30 + Double($1.rows.count) * rowHeight }
      var svg = SVG(width: width, height: height)
      let all = groups.flatMap(\.rows)
      let labels =
        all.map { row in
          TextMetrics.width(row.label, size: SVG.textSize)
            * (row.isDecisive ? TextMetrics.boldFactor : 1)
        }.max() ?? 0
      let figures = all.map { TextMetrics.width($0.figures, size: SVG.textSize) }.max() ?? 0
      let left = isWide ? labels + 12 : 8
      let right = isWide ? width - figures - 78 : width - 8
      let x = Axis(.logarithmic, 1 / reach, reach, from: left, to: right)
      let bottom = height - 26
      svg.rectangle(
        x.position(1 / 1.02), 4, x.position(1.02) - x.position(1 / 1.02), bottom - 4, "band",
        tip: "inside ±2%: no relevant difference")
      svg.line(x.position(1), 4, x.position(1), bottom, "one")
      changes(x, reach, bottom, &svg)
      var y = 4.0
      for group in groups {
        svg.text(
          0, y + 17, TextMetrics.fit(group.title, into: width, size: 13), .start, "heading halo")
        y += 30
        for row in group.rows {
          drawRow(row, y, x, isWide: isWide, width: width, &svg)
          y += rowHeight
        }
      }
      return svg
    }
    return Plot(
      id: "ratios-\(first)-\(second)",
      title: "\(subject) against \(baseline)",
      description: "Ratios of \(subject) to \(baseline) with 99% intervals.", draw: draw,
      table: table(ratios, subject, baseline, data),
      note:
        "Change against \(baseline), paired within each round, with its 99% interval. The band is ±2%:"
        + " an interval inside it counts as no difference. Deciding quantities are in bold. Others are"
        + " only in the table."
        + " Higher is better for throughput, lower for everything else.")
  }

  private static func index(_ name: String, _ data: ReportData) -> Int? {
    data.comparison.subjects.firstIndex { $0.name == name }
  }

  /// How far the axis reaches to both sides: all estimates and, up to a factor of 4, their intervals.
  private static func extent(_ rows: [ForestRow]) -> Double {
    var reach = log(1.05)
    for row in rows {
      for value in [row.ratio.low, row.ratio.high].compactMap({ $0 }) where value > 0 {
        reach = max(reach, min(abs(log(value)), log(4)))
      }
    }
    return exp(reach * 1.06)
  }

  /// Ticks as changes in percent, as many as have room.
  private static func changes(_ x: Axis, _ reach: Double, _ bottom: Double, _ svg: inout SVG) {
    let candidates = [1.0, 0.5, 2, 0.8, 1.25, 0.25, 4, 0.9, 1.1, 0.95, 1.05, 0.67, 1.5, 3]
    var taken: [(Double, Double)] = []
    for ratio in candidates where ratio < reach && ratio > 1 / reach {
      let text = ratio == 1 ? "0%" : Figure.change(ratio)
      let half = TextMetrics.width(text, size: SVG.textSize) / 2 + 4
      let place = min(max(x.position(ratio), half), svg.width - half)
      guard taken.allSatisfy({ place + half < $0.0 || place - half > $0.1 }) else { continue }
      taken.append((place - half, place + half))
      svg.line(x.position(ratio), bottom, x.position(ratio), bottom + 4, "grid")
      svg.text(place, bottom + 18, text, .middle, "tick")
    }
  }

  private static func drawRow(
    _ row: ForestRow, _ y: Double, _ x: Axis, isWide: Bool, width: Double, _ svg: inout SVG
  ) {
    guard let estimate = row.ratio.estimate, let low = row.ratio.low, let high = row.ratio.high
    else { return }
    let middle = isWide ? y + 10 : y + 24
    let weight = row.isDecisive ? "strong" : ""
    if isWide {
      svg.text(0, middle + 4, row.label, .start, "\(weight) halo")
      svg.text(width - 70, middle + 4, row.figures, .end, "figure halo")
      svg.text(width, middle + 4, row.outcome, .end, "outcome \(row.ratio.outcome.rawValue)")
    } else {
      svg.text(0, y + 12, row.label, .start, "\(weight) halo")
      let estimate = "\(Figure.change(estimate)) \(row.outcome)"
      svg.text(width, y + 12, estimate, .end, "outcome halo \(row.ratio.outcome.rawValue)")
    }
    let tip = "\(row.label), \(row.ratio.stage): \(row.figures) \(row.ratio.grade)"
    let style = "interval \(row.ratio.outcome.rawValue)"
    // An axis draws a little beyond its ends; here the words begin.
    func place(_ ratio: Double) -> Double { min(max(x.position(ratio), x.from), x.to) }
    svg.path([(place(low), middle), (place(high), middle)], style, tip: tip)
    for end in [low, high] where end > 1 / 4.2 && end < 4.2 {
      svg.line(x.position(end), middle - 4, x.position(end), middle + 4, style)
    }
    svg.rectangle(
      place(estimate) - 4, middle - 4, 8, 8, "estimate \(row.ratio.outcome.rawValue)", tip: tip
    )
  }

  private static func table(
    _ ratios: [Ratio], _ subject: String, _ baseline: String, _ data: ReportData
  ) -> HTMLTable {
    var table = HTMLTable(
      caption: "\(subject) against \(baseline)",
      columns: ["quantity", "stage", "ratio", "99% interval", "pairs", "outcome", "because"])
    for ratio in ratios {
      let interval = ratio.low.flatMap { low in
        ratio.high.map { "\(Figure.ratio(low)) to \(Figure.ratio($0))" }
      }
      table.rows.append([
        .init(Quantity(rawValue: ratio.quantity)?.label ?? ratio.quantity), .init(ratio.stage),
        .init(ratio.estimate.map(Figure.ratio) ?? "–", key: ratio.estimate), .init(interval ?? "–"),
        .init(String(ratio.pairs), key: Double(ratio.pairs)),
        .init(
          data.isInformative(ratio) ? "–" : ratio.grade,
          style: "outcome \(ratio.outcome.rawValue)"),
        .init(ratio.reason ?? ""),
      ])
    }
    return table
  }
}
