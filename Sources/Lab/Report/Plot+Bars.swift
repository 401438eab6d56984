// Bars: where CPU time goes, and how many system calls, turns and switches a request takes. Every
// bar says its figure beside it, so that no axis is needed.

/// Bars under headings, one or several segments each.
struct BarChart {
  struct Segment {
    let value: Double
    let style: String
  }
  struct Bar {
    let name: String
    let segments: [Segment]
    let text: String
    var total: Double { segments.reduce(0) { $0 + $1.value } }
  }
  struct Group {
    let heading: String
    var bars: [Bar]
  }

  var groups: [Group]
  /// One scale for all groups, or one for each.
  var sharesScale: Bool

  /// Name, bar and figure in a row; on a narrow page the names stand above their bars.
  func draw(_ width: Double) -> SVG {
    let isWide = width > 500
    let rowHeight = isWide ? 24.0 : 42.0
    let height = groups.reduce(8.0) { $0 + 30 + Double($1.bars.count) * rowHeight + 6 }
    var svg = SVG(width: width, height: height)
    let bars = groups.flatMap(\.bars)
    let figure = bars.map { TextMetrics.width($0.text, size: SVG.textSize) }.max() ?? 0
    let name = bars.map { TextMetrics.width($0.name, size: SVG.textSize) }.max() ?? 0
    let left = isWide ? min(name, width * 0.3) + 10 : 0
    let right = max(left + 40, width - figure - 10)
    let greatest = bars.map(\.total).max() ?? 1
    var y = 8.0
    for group in groups {
      svg.text(0, y + 16, TextMetrics.fit(group.heading, into: width, size: 13), .start, "heading")
      y += 26
      let most = sharesScale ? greatest : group.bars.map(\.total).max() ?? 1
      for bar in group.bars {
        let label = TextMetrics.fit(bar.name, into: isWide ? left - 10 : width, size: SVG.textSize)
        svg.text(
          isWide ? left - 8 : 0, y + (isWide ? 14 : 12), label, isWide ? .end : .start, "",
          full: bar.name)
        let top = y + (isWide ? 2 : 16)
        var x = left
        for segment in bar.segments {
          let length = most > 0 ? (right - left) * segment.value / most : 0
          svg.rectangle(x, top, length, 16, segment.style, tip: "\(bar.name): \(bar.text)")
          x += length
        }
        svg.text(x + 6, top + 12, bar.text, .start, "figure")
        y += rowHeight
      }
      y += 10
    }
    return svg
  }
}

extension Plot {
  static func cpu(_ data: ReportData) -> Plot? {
    var groups: [BarChart.Group] = []
    var table = HTMLTable(
      caption: "CPU time per request",
      columns: [
        "subject", "stage", "user (sampled)", "system (sampled)", "process (exact)",
        "whole machine",
      ])
    for stage in data.mainStages {
      var group = BarChart.Group(heading: ReportData.title(stage), bars: [])
      for (_, subject) in data.subjects {
        let row = data.row(subject, stage)
        guard let process = row.median(.cpuPerRequest) else { continue }
        let user = row.median(.userPerRequest) ?? 0
        let system = row.median(.systemPerRequest) ?? 0
        let machine = row.median(.machinePerRequest)
        // Medians of parts do not add up to the median of the whole; the bar's length is the whole.
        let scale = user + system > 0 ? process / (user + system) : 0
        group.bars.append(
          .init(
            name: subject.name,
            segments: scale > 0
              ? [
                .init(value: user * scale, style: "bar user"),
                .init(value: system * scale, style: "bar system"),
              ]
              : [.init(value: process, style: "bar system")],
            text: Figure.seconds(process)))
        if let machine {
          group.bars.append(
            .init(
              name: "… whole machine", segments: [.init(value: machine, style: "bar machine")],
              text: Figure.seconds(machine)))
        }
        table.rows.append([
          .init(subject.name), .init(stage.name), .init(Figure.seconds(user * scale), key: user),
          .init(Figure.seconds(system * scale), key: system),
          .init(Figure.seconds(process), key: process),
          .init(machine.map(Figure.seconds) ?? "–", key: machine),
        ])
      }
      if !group.bars.isEmpty { groups.append(group) }
    }
    guard !groups.isEmpty else { return nil }
    let chart = BarChart(groups: groups, sharesScale: true)
    return Plot(
      id: "cpu", title: "CPU time per request",
      description:
        "User and system time of the proxy's processes, and busy time of the whole machine,"
        + " per request.",
      draw: chart.draw, table: table,
      note:
        "The length of a process's bar is exact; its split into user and system time is sampled by the"
        + " kernel timer. The whole machine includes the load, the origin, kernel threads and"
        + " interrupts.",
      key: [
        ("bar user", "user"), ("bar system", "system"), ("bar machine", "whole machine"),
      ])
  }

  static func counts(_ data: ReportData) -> Plot? {
    let quantities: [Quantity] = [
      .systemCallsPerRequest, .turnsPerRequest, .completionsPerTurn, .switchesPerRequest,
      .copiedPerRequest, .recordsPerCommit,
    ]
    guard let stage = data.mainStages.first else { return nil }
    var groups: [BarChart.Group] = []
    var table = HTMLTable(
      caption: "Per request, \(ReportData.title(stage))", columns: ["subject", "quantity", "value"])
    for quantity in quantities {
      var group = BarChart.Group(heading: quantity.label, bars: [])
      for (series, subject) in data.subjects {
        guard let value = data.row(subject, stage).median(quantity) else { continue }
        group.bars.append(
          .init(
            name: subject.name,
            segments: [.init(value: value, style: "bar s\(series % Series.count)")],
            text: Figure.value(value, of: quantity)))
        table.rows.append([
          .init(subject.name), .init(quantity.label),
          .init(Figure.value(value, of: quantity), key: value),
        ])
      }
      if !group.bars.isEmpty { groups.append(group) }
    }
    let overflows = BarChart.Group(
      heading: "CQ overflows, all measurements",
      bars: data.subjects.compactMap { overflowed($1, $0, data) })
    if !overflows.bars.isEmpty { groups.append(overflows) }
    guard !groups.isEmpty else { return nil }
    let chart = BarChart(groups: groups, sharesScale: false)
    return Plot(
      id: "counts", title: "System calls and turns",
      description:
        "System calls, loop turns, completions per turn, context switches, bytes copied and audit"
        + " records per commit.",
      draw: chart.draw, table: table,
      note: "At \(ReportData.title(stage)). A subject without a bar does not report the figure."
        + " These figures do not count as better or worse.")
  }

  /// How often the completion queue was full: not per request, because once is already a fault of its
  /// size. Only a ring has one.
  private static func overflowed(
    _ subject: SubjectFacts, _ series: Int, _ data: ReportData
  ) -> BarChart.Bar? {
    guard subject.engine == "io_uring" else { return nil }
    let counts = data.comparison.measurements.filter { $0.subject == subject.name }
      .compactMap(\.completionQueueOverflows)
    guard !counts.isEmpty else { return nil }
    let sum = counts.reduce(0, +)
    return BarChart.Bar(
      name: subject.name,
      segments: [.init(value: Double(sum), style: "bar s\(series % Series.count)")], text: "\(sum)")
  }
}
