// The report for a terminal: tables of at most 100 columns, and the verdict last, where the eye is
// when the command ends.

/// A comparison as plain text.
public enum ComparisonText {
  static let columns = 100

  /// Tables of every stage, ratios, and the verdict.
  public static func render(_ comparison: Comparison) -> String {
    let data = ReportData(comparison)
    var out = comparison.findings.isEmpty ? "" : "Limitations of this machine:\n"
    for finding in comparison.findings { out += wrap(finding.text, "  - ") }
    if !comparison.findings.isEmpty { out += "\n" }
    for stage in comparison.stages { out += rows(stage, data) + counts(stage, data) + "\n" }
    var seen: [(String, String)] = []
    for ratio in comparison.ratios
    where !seen.contains(where: { $0 == (ratio.subject, ratio.baseline) }) {
      seen.append((ratio.subject, ratio.baseline))
      out += ratios(ratio.subject, ratio.baseline, data) + "\n"
    }
    return out + verdict(comparison.verdict)
  }

  private static func rows(_ stage: StageFacts, _ data: ReportData) -> String {
    let processors = busyNames(data)
    var table = TextTable([
      "", "requests/s", "p50", "p99", "p99.9", "CPU", "machine", "memory",
      "busy: \(processors.map(\.name).joined(separator: ", "))",
    ])
    for subject in data.comparison.subjects {
      let row = data.row(subject, stage)
      if subject.failure != nil {
        table.add([subject.name] + Array(repeating: "–", count: 8))
        continue
      }
      // Peers do not run the saturation stage.
      if row.measurements.isEmpty { continue }
      func cell(_ quantity: Quantity) -> String {
        row.median(quantity).map { Figure.value($0, of: quantity) } ?? "–"
      }
      let mark = row.isLoadBound ? " load-bound" : row.missedRate ? " rate not sustained" : ""
      table.add([
        subject.name, Figure.rate(row.completedRate), cell(.p50), cell(.p99), cell(.p999),
        cell(.cpuPerRequest), cell(.machinePerRequest), cell(.memory),
        // Whole percents, rounded down: 95% is what is not load-bound.
        processors.map { "\(Figure.wholePercent($0.share(row)))" }.joined(separator: ", ") + mark,
      ])
    }
    return TextTable.cut(plain(ReportData.title(stage)), to: columns) + "\n"
      + table.text(width: columns)
  }

  /// Each CPU by its number; where they would not fit, those of the proxy and those of the load, each
  /// as their mean.
  private static func busyNames(_ data: ReportData) -> [(name: String, share: (Row) -> Double)] {
    let machine = data.comparison.machine
    func mean(_ numbers: [Int]) -> (Row) -> Double {
      { row in
        let shares = row.processorBusy.filter { numbers.contains(Int($0.processor) ?? -1) }
        return shares.isEmpty ? 0 : shares.map(\.share).reduce(0, +) / Double(shares.count)
      }
    }
    let all = (machine.proxyProcessors + machine.loadProcessors).sorted()
    guard all.count > 4 || all.isEmpty else {
      return all.enumerated().map { place, number in
        (place == 0 ? "CPU \(number)" : "\(number)", mean([number]))
      }
    }
    return [
      ("proxy", { $0.proxyBusy }), ("load", mean(machine.loadProcessors)),
    ]
  }

  /// What a request takes besides time; a subject that reports none of it has no line.
  private static func counts(_ stage: StageFacts, _ data: ReportData) -> String {
    var table = TextTable([
      "per request", "calls", "wake-ups", "switches", "turns", "events", "per turn",
      "copied", "rec/commit", "overflows",
    ])
    var isEmpty = true
    for subject in data.comparison.subjects where subject.failure == nil {
      let row = data.row(subject, stage)
      func cell(_ quantity: Quantity) -> String { row.median(quantity).map(Figure.three) ?? "–" }
      let overflows = row.measurements.compactMap(\.completionQueueOverflows)
      let cells = [
        cell(.systemCallsPerRequest), cell(.wakeUpsPerRequest), cell(.switchesPerRequest),
        cell(.turnsPerRequest), cell(.completionsPerRequest), cell(.completionsPerTurn),
        row.median(.copiedPerRequest).map(Figure.bytes) ?? "–", cell(.recordsPerCommit),
        subject.engine != "io_uring" || overflows.isEmpty ? "–" : "\(overflows.reduce(0, +))",
      ]
      guard cells.contains(where: { $0 != "–" }) else { continue }
      isEmpty = false
      table.add([subject.name] + cells)
    }
    return isEmpty ? "" : table.text(width: columns)
  }

  private static func ratios(_ subject: String, _ baseline: String, _ data: ReportData) -> String {
    var table = TextTable(["", "at", "change", "99% interval", "pairs", "outcome"])
    for ratio in data.comparison.ratios
    where ratio.subject == subject && ratio.baseline == baseline && !data.isInformative(ratio) {
      let name = Quantity(rawValue: ratio.quantity)?.label ?? ratio.quantity
      let interval = ratio.low.flatMap { low in
        ratio.high.map { "\(Figure.change(low)) to \(Figure.change($0))" }
      }
      table.add([
        (data.isDecisive(ratio) ? "* " : "  ") + name, ratio.stage,
        ratio.estimate.map(Figure.change) ?? "–", interval ?? "–", String(ratio.pairs),
        ratio.grade,
      ])
    }
    return TextTable.cut(plain("\(subject) against \(baseline) (* decides)"), to: columns) + "\n"
      + table.text(width: columns)
  }

  private static func verdict(_ verdict: Verdict) -> String {
    var out = "Verdict\n"
    out += wrap(verdict.headline, "  ")
    if !verdict.reasons.isEmpty { out += "\nWhy\n" }
    for reason in verdict.reasons { out += wrap(reason, "  - ") }
    if !verdict.wouldChange.isEmpty { out += "\nWhat could change the verdict\n" }
    for sentence in verdict.wouldChange { out += wrap(sentence, "  - ") }
    return out
  }

  /// Words in lines; the first begins with `lead`, the others are indented as far.
  static func wrap(_ text: String, _ lead: String) -> String {
    var lines: [String] = []
    var line = lead
    let indent = String(repeating: " ", count: lead.count)
    for word in words(text, upTo: columns - lead.count) {
      let isFresh = line.count == lead.count
      if !isFresh && line.count + 1 + word.count > columns {
        lines.append(line)
        line = indent + word
      } else {
        line += isFresh ? String(word) : " \(word)"
      }
    }
    lines.append(line)
    return lines.joined(separator: "\n") + "\n"
  }

  /// Words; one that is longer than a line, as a path may be, is broken.
  private static func words(_ text: String, upTo most: Int) -> [Substring] {
    plain(text).split(whereSeparator: \.isWhitespace).flatMap { word in
      var rest = word
      var parts: [Substring] = []
      repeat {
        parts.append(rest.prefix(most))
        rest = rest.dropFirst(most)
      } while !rest.isEmpty
      return parts
    }
  }

  /// Without control characters: the last words of a program that failed must not steer the
  /// terminal.
  static func plain(_ text: String) -> String {
    var out = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\t", "\n", "\r": out.append(" ")
      case "\u{0}"..<" ", "\u{7f}"..<"\u{a0}", "\u{2028}", "\u{2029}": out.append("\u{fffd}")
      default: out.append(scalar)
      }
    }
    return String(out)
  }
}

/// Columns of text, the first one left, the others right.
struct TextTable {
  private var rows: [[String]]

  init(_ heads: [String]) { rows = [heads] }

  mutating func add(_ cells: [String]) { rows.append(cells.map(ComparisonText.plain)) }

  /// Lines of at most `width` characters: what is too much is taken from the first column, down to
  /// eight, and then from the widest ones.
  func text(width: Int) -> String {
    var widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    let all = widths.reduce(0, +) + 2 * (widths.count - 1) + 2
    if all > width { widths[0] = max(min(8, widths[0]), widths[0] - (all - width)) }
    for _ in 0..<max(0, widths.reduce(0, +) + 2 * widths.count - width) {
      guard let widest = widths.indices.max(by: { widths[$0] < widths[$1] }), widths[widest] > 1
      else { break }
      widths[widest] -= 1
    }
    return rows.map { row in
      let cells = row.enumerated().map { column, cell in
        let cell = Self.cut(cell, to: widths[column])
        let space = String(repeating: " ", count: widths[column] - cell.count)
        return column == 0 ? cell + space : space + cell
      }
      return "  " + cells.joined(separator: "  ") + "\n"
    }.joined()
  }

  static func cut(_ text: String, to width: Int) -> String {
    text.count <= width ? text : text.prefix(max(0, width - 1)) + "…"
  }
}
