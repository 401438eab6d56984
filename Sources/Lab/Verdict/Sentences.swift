// The verdict in words: each reason is one sentence, and each figure in it is a ratio with its
// interval. A loss is told in the same words as a win.

struct Sentences {
  let judge: Judge
  var comparison: Comparison { judge.comparison }
  /// Whether the load moved between subjects in slices.
  var isSliced: Bool { comparison.course.method == "slices" }

  init(_ judge: Judge) { self.judge = judge }

  /// "a, b and c".
  func list(_ words: [String]) -> String {
    guard words.count > 1 else { return words.first ?? "" }
    return words.dropLast().joined(separator: ", ") + " and " + words[words.count - 1]
  }

  var targetName: String {
    guard let name = comparison.target?.name, !name.isEmpty else { return "the target" }
    return name
  }

  func whereAllowed(_ subject: SubjectFacts) -> String {
    guard subject.engine == "io_uring" else { return "" }
    guard let target = comparison.target else {
      return ", on a kernel and container that support it"
    }
    guard target.allowsUring else {
      return ", if \(targetName) supports it: the profile does not say"
    }
    return ", and \(targetName) supports it"
  }

  /// "p99 at 9,000 requests/s: −11% (99% interval −14% to −8%): better."
  func decisive(_ candidate: Candidate) -> [String] {
    candidate.decisive.map { ratio in
      let outcome: String
      switch ratio.outcome {
      case .better: outcome = "better"
      case .worse: outcome = "worse"
      case .same: outcome = "no relevant difference (inside ±2%)"
      case .undecided: outcome = open(ratio)
      case .none: return "\(place(ratio)): no ratio, \(ratio.reason ?? "not measured")."
      }
      return "\(place(ratio)): \(ratio.withInterval): \(outcome)."
    }
  }

  /// The quantity and where: "p99 at 9,000 requests/s".
  func place(_ ratio: Ratio) -> String {
    let label = ratio.label.prefix(1).uppercased() + ratio.label.dropFirst()
    let name = ratio.label.hasPrefix("p") ? ratio.label : label
    guard let stage = comparison.stages.first(where: { $0.name == ratio.stage }) else {
      return name
    }
    guard let rate = stage.rate else { return "\(name) at the maximum" }
    return "\(name) at \(Figure.rate(rate)) requests/s"
  }

  /// What else it costs and brings.
  func costs(_ candidate: Candidate) -> [String] {
    let name = candidate.subject.name
    var sentences: [String] = []
    let worse = candidate.secondary.filter { $0.outcome == .worse }
    if !worse.isEmpty {
      sentences.append("Other costs of \(name): \(list(worse.map(detail))).")
    }
    let better = candidate.secondary.filter { $0.outcome == .better }
    if !better.isEmpty {
      sentences.append("Other gains of \(name): \(list(better.map(detail))).")
    }
    return sentences
  }

  private func detail(_ ratio: Ratio) -> String {
    let stage = comparison.stages.first { $0.name == ratio.stage }
    let at = stage?.rate.map { " at \(Figure.rate($0))/s" } ?? " at the maximum"
    return ratio.inWords + (ratio.quantity == Quantity.memory.rawValue ? "" : at)
  }

  /// One sentence on a variant that the headline does not speak of.
  func summary(_ candidate: Candidate) -> String {
    let (name, base) = (candidate.subject.name, candidate.other.name)
    let gains = list(candidate.gains.headlineOrder.map(\.inWords))
    let losses = list(candidate.losses.headlineOrder.map(\.inWords))
    switch candidate.standing {
    case .wins: return "\(name) is also better than \(base): \(gains)."
    case .loses: return "\(name) is worse than \(base): \(losses)."
    case .trades: return "\(name) against \(base) is a trade-off: \(gains), but \(losses)."
    case .same:
      return "\(name) shows no relevant difference from \(base)\(unmeasured(candidate))."
    case .undecided:
      return likely(candidate) ?? "\(name) against \(base) is undecided\(moreRounds(candidate))."
    case .unmeasured:
      return "\(name) has no verdict: \(candidate.decisive.compactMap(\.reason).first ?? "")."
    }
  }

  func peer(_ candidate: Candidate) -> String {
    let name = candidate.subject.name
    let peer = described(candidate.other)
    let gains = list(candidate.gains.headlineOrder.map(\.inWords))
    let losses = list(candidate.losses.headlineOrder.map(\.inWords))
    let open =
      candidate.undecided.isEmpty ? "" : "; \(list(candidate.undecided.map(\.label))) undecided"
    let memory = candidate.secondary.filter {
      $0.quantity == Quantity.memory.rawValue && $0.outcome == .worse
    }
    let besides = memory.isEmpty ? "" : "; it uses \(list(memory.map(\.inWords)))"
    switch candidate.standing {
    case .wins: return "\(name) is ahead of \(peer): \(gains)\(open)\(besides)."
    case .loses: return "\(peer) is ahead of \(name), which has \(losses)\(open)."
    case .trades: return "\(name) against \(peer) is a trade-off: \(gains), but \(losses)\(open)."
    case .same:
      return "No relevant difference between \(name) and \(peer)\(unmeasured(candidate))."
    case .undecided:
      guard let likely = likelyPeer(candidate, peer) else {
        return "Undecided between \(name) and \(peer)\(moreRounds(candidate))."
      }
      return likely
    case .unmeasured:
      return "No verdict against \(peer): \(candidate.decisive.compactMap(\.reason).first ?? "")."
    }
  }

  private func described(_ subject: SubjectFacts) -> String {
    let named = subject.name.contains("tuned") || subject.name.contains("default")
    let version = Self.number(in: subject.version).map { " \($0)" } ?? ""
    return "\(subject.name)\(version)" + (named ? "" : subject.isTuned ? " (tuned)" : " (defaults)")
  }

  /// The version's number of what a program says of itself, "nginx version: nginx/1.22.1".
  static func number(in text: String) -> Substring? {
    text.split { $0 == " " || $0 == "/" || $0 == "\n" }.map {
      $0.first == "v" ? $0.dropFirst() : $0
    }
    .first { word in
      let parts = word.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
      return parts.count == 2 && Int(parts[0]) != nil && parts[1].first?.isNumber == true
    }
  }

  func moreRounds(_ candidate: Candidate) -> String {
    if isSliced { return moreMinutes(candidate) }
    let (near, far) = (candidate.decidable, candidate.undecidable)
    var clauses: [String] = []
    if let more = candidate.roundsNeeded {
      let what = far.isEmpty ? "" : ", for \(list(near.map(\.label)))"
      clauses.append("run more rounds, about \(more) more by the observed variance\(what)")
    }
    let close = far.filter(RoundsNeeded.isTooClose)
    let spread = far.filter { !RoundsNeeded.isTooClose($0) }
    for (ratios, why) in [(close, "too close to the ±2% bound"), (spread, "variance too high")]
    where !ratios.isEmpty {
      let verb = ratios.count == 1 ? "is" : "are"
      clauses.append(
        "\(list(ratios.map(\.label))) \(verb) not decidable with a reasonable number of rounds: \(why)"
      )
    }
    return " (\(list(candidate.undecided.map(\.label)))): " + clauses.joined(separator: "; ")
  }

  /// What "no difference" does not speak of.
  func unmeasured(_ candidate: Candidate) -> String {
    let open = candidate.unmeasured
    guard !open.isEmpty else { return "" }
    return " (\(list(open.map(\.label))) \(open.count == 1 ? "was" : "were") not measured)"
  }

  func failures() -> [String] {
    comparison.subjects.compactMap { subject in
      subject.failure.map { "\(subject.name) could not be measured: \($0)" }
    }
  }

  /// What the target refuses, of the variants that were measured.
  func targets() -> [String] {
    guard comparison.target != nil else { return [] }
    return comparison.subjects.compactMap { subject in
      judge.refusal(of: subject).map { "\(targetName) does not support \(subject.name): \($0)." }
    }
  }

  /// Where the figures end: load-bound rows, rates that were not held, failed measurements.
  func limits() -> [String] {
    var sentences: [String] = []
    for stage in comparison.stages {
      for subject in comparison.subjects where subject.failure == nil {
        let row = Row(subject, stage, judge.paired.measurements(subject.name, stage.name))
        if row.isLoadBound {
          sentences.append(
            "\(subject.name) was load-bound at the maximum (its CPU \(Figure.percent(row.proxyBusy))"
              + " busy\(row.loadHadRoom(comparison.machine.loadProcessors) ? ", and the load had room: it waited for the origin or the disk" : "")):"
              + " its maximum throughput is unknown.")
        }
        if row.missedRate {
          sentences.append(
            "\(subject.name) did not sustain \(Figure.rate(stage.rate ?? 0)) requests/s: its latency"
              + " there is that of a growing queue and depends on the duration of the stage.")
        }
        if row.failed > 0 {
          sentences.append(
            "\(subject.name) failed in \(row.failed) of \(row.measurements.count) rounds at"
              + " \(stage.name): \(row.failure ?? "").")
        }
      }
    }
    return sentences
  }
}
