// How it was measured: the method in words, the machine, every configuration, the data. Enough to
// repeat the run, and to doubt it.

struct MethodSections {
  private let data: ReportData
  private var comparison: Comparison { data.comparison }

  init(_ data: ReportData) { self.data = data }

  var all: String { method + machine + configurations + raw }

  private var method: String {
    let machine = comparison.machine
    let rounds = Set(comparison.measurements.map(\.round)).count
    let course = comparison.course
    let isSliced = course.method == "slices"
    let proxy = machine.proxyProcessors.map(String.init).joined(separator: ", ")
    let load = machine.loadProcessors.map(String.init).joined(separator: ", ")
    var sentences = [
      isSliced
        ? "All subjects ran at once, and the load moved between them: \(course.slices) slices of"
          + " \(Figure.seconds(comparison.workload.countedSeconds)) in \(rounds) batches, in random order"
          + " and its reverse (seed \(comparison.seed)), \(Figure.three(comparison.seconds)) s in all. A"
          + " slice ends when its last response is there; what a subject used between its first request"
          + " and that moment is divided by all of its responses." + peers
        : "\(rounds) rounds in \(Figure.three(comparison.seconds)) s; in each round every variant ran every"
          + " stage, in random order (seed \(comparison.seed))." + peers,
      "Latency is measured from the planned send time of a request, not from the actual one:"
        + " a stalled server cannot hide it. \u{201c}p99 from sending\u{201d} in the tables is measured from the"
        + " actual send time.",
      "CPU time of the proxy's processes is exact; its split into user and system time is sampled. Busy time"
        + " of the whole machine includes kernel threads, interrupts, the load and the origin.",
      isSliced
        ? "Ratios are formed between slices that follow each other, and averaged as logarithms, without the"
          + " outermost tenth at each end (of percentiles, fifth; two fifths from 100 pairs). The error is that of"
          + " the means of consecutive slices. Ratios of p99.9 and of \u{201c}p99 of all requests\u{201d} are those of"
          + " all slices together; the tables show medians of batches. \(Looks.count) looks"
          + " share the error of 1%, so that a run may stop at each."
        : "Ratios are formed within a round and averaged as logarithms; their 99% intervals use the symmetric"
          + " bootstrap-t with \(Bootstrap.resamples) resamples.",
      "A difference is declared if the interval, widened for the number of quantities that are judged"
        + " together, excludes equality, and the estimate lies outside ±2%. An interval inside ±2% is called"
        + " the same. Everything else is undecided; it is called likely if the 90% interval excludes"
        + " equality and the estimate lies outside ±2%.",
      "What decides: \(deciding). A variant is recommended if it is better in at least one of these and"
        + " worse in none.",
    ]
    if !proxy.isEmpty {
      sentences.insert(
        "The proxy was pinned to CPU \(proxy), load and origin to CPU \(load).", at: 1)
    }
    let items = sentences.map { "<li>\(HTML.escape($0))</li>" }.joined()
    return "<h2>Method</h2>\n<ul>\(items)</ul>\n<p>Command:</p>"
      + "<pre>\(HTML.escape(comparison.command.joined(separator: " ")))</pre>\n" + stages
  }

  private var deciding: String {
    let chosen = comparison.course.decidedBy.compactMap { DecidingQuantity($0)?.words }
    guard chosen.isEmpty else { return chosen.joined(separator: ", ") + " (--decide-by)" }
    return
      "p99 and CPU per request (process and whole machine) at the lowest equal load, and throughput at"
      + " the maximum"
  }

  /// Who ran less often than the variants, and where.
  private var peers: String {
    guard comparison.subjects.contains(where: { $0.kind == .peer && $0.failure == nil }) else {
      return ""
    }
    let names = Set(comparison.subjects.filter { $0.kind == .peer }.map(\.name))
    let theirs = comparison.measurements.filter { names.contains($0.subject) }
    let without = comparison.stages.map(\.name).filter { name in
      !theirs.contains { $0.stage == name }
    }
    let besides = without.isEmpty ? "" : ", and not at \(without.joined(separator: ", "))"
    return " Peers ran in \(Set(theirs.map(\.round)).count) of them\(besides)."
  }

  private var stages: String {
    var table = HTMLTable(caption: "Stages", columns: ["stage", "rate", "selection"])
    for stage in comparison.stages {
      table.rows.append([
        .init(stage.name),
        .init(stage.rate.map { "\(Figure.rate($0))/s" } ?? "maximum"),
        .init(stage.reason, style: "words"),
      ])
    }
    return table.html
  }

  private func definitions(_ pairs: [(String, String)]) -> String {
    let items = pairs.filter { !$0.1.isEmpty }
      .map { "<dt>\(HTML.escape($0.0))</dt><dd>\(HTML.escape($0.1))</dd>" }
    return items.isEmpty ? "" : "<dl>\(items.joined())</dl>\n"
  }

  private var machine: String {
    let facts = comparison.machine
    var out =
      "<h2>Machine</h2>\n"
      + definitions(
        [
          ("kernel", facts.kernel), ("distribution", facts.distribution),
          ("processor", facts.processor),
          ("CPUs", facts.processors.map(String.init).joined(separator: ", ")),
          ("memory", facts.memoryBytes > 0 ? Figure.bytes(Double(facts.memoryBytes)) : ""),
        ] + facts.settings.keys.sorted().map { ($0, facts.settings[$0] ?? "") })
    if !facts.features.isEmpty {
      out += "<h3>Kernel features</h3>\n"
      out += definitions(facts.features.keys.sorted().map { ($0, facts.features[$0] ?? "") })
    }
    if let target = comparison.target {
      out += "<h3>Target: \(HTML.escape(target.name))</h3>\n"
      out += definitions(target.features.keys.sorted().map { ($0, target.features[$0] ?? "") })
    }
    return out
  }

  private var configurations: String {
    let workload = comparison.workload
    var out = "<h2>Workload and configurations</h2>\n<h3>Workload</h3>\n"
    out += definitions([
      ("name", workload.name), ("what", workload.description),
      ("load", workload.loadArguments.joined(separator: " ")),
      ("origin", workload.originArguments.joined(separator: " ")),
    ])
    out += files(workload.files)
    for subject in comparison.subjects {
      out += "<h3>\(HTML.escape(subject.name))</h3>\n"
      out += definitions([
        ("program", subject.program), ("version", subject.version),
        ("engine", subject.engine ?? ""),
        (
          "options",
          subject.options.keys.sorted().map { "\($0)=\(subject.options[$0] ?? "")" }.joined(
            separator: " ")
        ),
        ("arguments", subject.arguments.joined(separator: " ")),
        (
          "settings",
          subject.kind == .variant
            ? ""
            : subject.isTuned ? "tuned by \(subject.source ?? "its documentation")" : "its defaults"
        ),
        ("not measured", subject.failure ?? ""),
      ])
      out += files(subject.configurations)
    }
    return out
  }

  private func files(_ files: [String: String]) -> String {
    files.keys.sorted().map { name in
      "<details class=\"print\"><summary>\(HTML.escape(name))</summary>"
        + "<pre>\(HTML.escape(files[name] ?? ""))</pre></details>\n"
    }.joined()
  }

  private var raw: String {
    """
    <h2>Data</h2>
    <p>Every measurement with its histograms is in this file, as JSON in its second-to-last element.
    <button id="save" class="tool" type="button" hidden>Save as comparison.json</button></p>
    <p class="soft">Made by millrace \(HTML.escape(comparison.version)), \(HTML.escape(comparison.started)).</p>

    """
  }
}
