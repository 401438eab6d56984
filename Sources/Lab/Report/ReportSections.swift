// The report's sections in the order of a reader's questions: what is the answer, how sure is it, what
// was seen, on what, and with which settings.

struct ReportSections {
  private let data: ReportData
  private var comparison: Comparison { data.comparison }

  init(_ data: ReportData) { self.data = data }

  var title: String {
    let name = comparison.workload.name.isEmpty ? "comparison" : comparison.workload.name
    return "Millrace comparison: \(name), \(comparison.started)"
  }

  var all: String {
    verdict + ratios + plots + rows + MethodSections(data).all
  }

  private func list(_ sentences: [String], style: String = "") -> String {
    guard !sentences.isEmpty else { return "" }
    let open = style.isEmpty ? "<ul>" : "<ul class=\"\(style)\">"
    return open + sentences.map { "<li>\(HTML.escape($0))</li>" }.joined() + "</ul>\n"
  }

  private var verdict: String {
    let verdict = comparison.verdict
    var out =
      "<section class=\"verdict\" aria-label=\"Verdict\"><p class=\"headline\">"
      + "\(HTML.escape(verdict.headline))</p>"
    if !verdict.reasons.isEmpty { out += "<h3>Why</h3>" + list(verdict.reasons) }
    if !verdict.wouldChange.isEmpty {
      out += "<h3>What could change the verdict</h3>" + list(verdict.wouldChange)
    }
    out += "</section>\n"
    if !comparison.findings.isEmpty {
      out += "<h3>Limitations of this machine</h3>"
      out += list(
        comparison.findings.map {
          ($0.severity == .refusal ? "Overridden by --force: " : "") + $0.text
        },
        style: "warning")
    }
    return out
  }

  private var ratios: String {
    var pairs: [(String, String)] = []
    for ratio in comparison.ratios
    where !pairs.contains(where: { $0 == (ratio.subject, ratio.baseline) }) {
      pairs.append((ratio.subject, ratio.baseline))
    }
    let plots = pairs.compactMap { Plot.forest($0.0, $0.1, data) }
    guard !plots.isEmpty else { return "" }
    return "<h2>Ratios</h2>\n" + plots.map(\.html).joined()
  }

  private var plots: String {
    let latency = [Quantity.p50, .p99].compactMap { Plot.latency($0, data) }
    let percentiles = (data.rates + [data.maximum].compactMap { $0 })
      .compactMap { Plot.percentiles($0, data) }
    var out = ""
    if !(latency.isEmpty && percentiles.isEmpty) {
      out += "<h2>Latency</h2>\n" + (latency + percentiles).map(\.html).joined()
    }
    let cost = [Plot.cpu(data), Plot.counts(data), Plot.rounds(data)].compactMap { $0 }
    if !cost.isEmpty { out += "<h2>Cost</h2>\n" + cost.map(\.html).joined() }
    return out
  }

  /// One row for each stage and subject, with how busy every CPU was.
  private var rows: String {
    var out =
      "<h2>Results</h2>\n<p>Medians over the rounds. CPU is per request. A row at the maximum whose proxy"
      + " CPU was below \(Figure.percent(PairedRatios.busyEnough)) is load-bound: it gives no throughput ratio.</p>\n"
    for stage in comparison.stages {
      let rows = comparison.subjects.map { data.row($0, stage) }
      let processors = rows.flatMap(\.processorBusy).map(\.processor)
      let names = Set(processors).sorted { (Int($0) ?? 0) < (Int($1) ?? 0) }
      let reason = stage.reason.isEmpty ? "" : " (\(stage.reason))"
      var seen = HTMLTable(
        caption: ReportData.title(stage) + reason,
        columns: [
          "subject", "requests/s", "p50", "p90", "p99", "p99.9", "p99 from sending", "remarks",
        ])
      var cost = HTMLTable(
        caption: "\(stage.name): cost",
        columns: ["subject", "CPU", "machine", "memory", "proxy CPU busy"]
          + names.map { "CPU \($0) busy" })
      for row in rows {
        seen.rows.append(seenCells(row))
        if row.subject.failure == nil { cost.rows.append(costCells(row, names)) }
      }
      out += seen.html + cost.html
    }
    return out
  }

  private func cell(_ quantity: Quantity, _ row: Row) -> HTMLTable.Cell {
    let value = row.median(quantity)
    return .init(value.map { Figure.value($0, of: quantity) } ?? "–", key: value)
  }

  private func seenCells(_ row: Row) -> [HTMLTable.Cell] {
    let uncorrected = row.median {
      $0.load.uncorrected.p99 > 0 ? Double($0.load.uncorrected.p99) / 1e9 : nil
    }
    var remarks: [String] = []
    if let failure = row.subject.failure { remarks.append("not measured: \(failure)") }
    if row.isLoadBound { remarks.append("load-bound") }
    if row.missedRate { remarks.append("rate not sustained") }
    if row.failed > 0 { remarks.append("\(row.failed) of \(row.measurements.count) rounds failed") }
    let rate = row.completedRate
    return [
      .init(row.subject.name), .init(rate > 0 ? Figure.rate(rate) : "–", key: rate),
      cell(.p50, row),
      cell(.p90, row), cell(.p99, row), cell(.p999, row),
      .init(uncorrected.map(Figure.seconds) ?? "–", key: uncorrected),
      .init(remarks.joined(separator: "; "), style: "words bound"),
    ]
  }

  private func costCells(_ row: Row, _ processors: [String]) -> [HTMLTable.Cell] {
    let busy = row.processorBusy
    return [
      .init(row.subject.name), cell(.cpuPerRequest, row), cell(.machinePerRequest, row),
      cell(.memory, row),
      .init(
        Figure.percent(row.proxyBusy) + (row.isLoadBound ? " load-bound" : ""),
        style: row.isLoadBound ? "bound" : "", key: row.proxyBusy),
    ]
      + processors.map { name in
        let share = busy.first { $0.processor == name }?.share
        return .init(share.map(Figure.percent) ?? "–", key: share)
      }
  }
}
