// The whole distribution at one stage: latency over the percentile, on the scale of HdrHistogram
// (each further nine takes the same width). All rounds' histograms are added up.

import Glibc

/// Counts of latencies, added up over rounds.
struct MergedHistogram {
  private(set) var counts: [Int: Int] = [:]
  private(set) var total = 0

  init(_ summaries: [LatencySummary]) {
    for summary in summaries {
      for place in summary.histogram where place.count == 2 && place[1] > 0 {
        counts[place[0], default: 0] += place[1]
        total += place[1]
      }
    }
  }

  /// Nines and seconds: points at which the curve rises, up to the last percentile that 5 values
  /// are beyond of (a curve's end is otherwise one request's fate), and to 99.999 at most.
  var curve: [(nines: Double, seconds: Double)] {
    var points: [(nines: Double, seconds: Double)] = []
    var below = 0
    for value in counts.keys.sorted() {
      let share = Double(below) / Double(total)
      let nines = -log10(1 - share)
      if nines > 5 || total - below < 5 { break }
      let seconds = Double(value) / 1e9
      if let last = points.last, nines - last.nines < 0.01 {
        points[points.count - 1].seconds = seconds
      } else {
        // Values that are far apart make a step: nothing was measured between them.
        if let last = points.last, nines - last.nines > 0.03 {
          points.append((nines, last.seconds))
        }
        points.append((nines, seconds))
      }
      below += counts[value] ?? 0
    }
    return points
  }

  /// The value at a share; nil where fewer than 5 values lie beyond it.
  func seconds(at share: Double) -> Double? {
    guard total > 0, Double(total) * (1 - share) >= 5 else { return nil }
    var below = 0
    for value in counts.keys.sorted() {
      below += counts[value] ?? 0
      if Double(below) >= share * Double(total) { return Double(value) / 1e9 }
    }
    return nil
  }
}

extension Plot {
  private static let marks: [(label: String, share: Double)] = [
    ("0", 0), ("50", 0.5), ("90", 0.9), ("99", 0.99), ("99.9", 0.999), ("99.99", 0.9999),
    ("99.999", 0.99999),
  ]

  static func percentiles(_ stage: StageFacts, _ data: ReportData) -> Plot? {
    let curves = data.subjects.map { series, subject in
      (
        series: series, name: subject.name,
        histogram: MergedHistogram(
          data.row(subject, stage).measurements.filter { $0.failure == nil }.map(\.load.latency))
      )
    }.filter { $0.histogram.total > 0 }
    let points = curves.map(\.histogram.curve)
    guard points.contains(where: { $0.count > 1 }) else { return nil }
    let most = max(1, points.flatMap { $0 }.map(\.nines).max() ?? 1)
    func draw(_ width: Double) -> SVG {
      var svg = SVG(width: width, height: width > 500 ? 300 : 250)
      let left = 62.0
      let bottom = svg.height - 44
      let y = Axis.logarithmic(
        around: points.flatMap { $0 }.map(\.seconds), from: bottom, to: 12)
      let x = Axis(.linear, 0, most, from: left, to: width - 16)
      svg.vertical(y, left: left, right: width - 16) { Figure.tick(seconds: $0) }
      var taken = -Double.infinity
      for mark in marks {
        let at = -log10(1 - mark.share)
        guard at <= most + 0.001 else { break }
        svg.line(x.position(at), 12, x.position(at), bottom, "grid")
        let half = TextMetrics.width(mark.label, size: SVG.textSize) / 2
        let place = min(x.position(at), width - half)
        guard place - half > taken + 6 else { continue }
        svg.text(place, bottom + 16, mark.label, .middle, "tick")
        taken = place + half
      }
      svg.text((left + width - 16) / 2, svg.height - 6, "percentile", .middle, "axis")
      for (curve, line) in zip(curves, points) {
        svg.group(curve.series) { svg in
          svg.path(
            line.map { (x.position($0.nines), y.position($0.seconds)) }, Series.line(curve.series))
          for mark in marks.dropFirst() {
            guard let seconds = curve.histogram.seconds(at: mark.share) else { continue }
            svg.mark(
              x.position(-log10(1 - mark.share)), y.position(seconds), series: curve.series,
              tip: "\(curve.name): \(mark.label)% within \(Figure.seconds(seconds))")
          }
        }
      }
      return svg
    }
    var table = HTMLTable(
      caption: "Percentiles at \(stage.name)",
      columns: ["subject", "requests"] + marks.dropFirst().map { "\($0.label)%" })
    for curve in curves {
      table.rows.append(
        [
          .init(curve.name),
          .init(Figure.grouped(curve.histogram.total), key: Double(curve.histogram.total)),
        ]
          + marks.dropFirst().map { mark in
            let seconds = curve.histogram.seconds(at: mark.share)
            return .init(seconds.map(Figure.seconds) ?? "–", key: seconds)
          })
    }
    return Plot(
      id: "percentiles-\(data.comparison.stages.firstIndex { $0.name == stage.name } ?? 0)",
      title: "Percentiles, \(ReportData.title(stage))",
      description: "Latency at each percentile, all rounds together, for"
        + " \(curves.map(\.name).joined(separator: ", ")).",
      draw: draw, table: table, legend: data.legend)
  }
}
