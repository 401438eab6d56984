// The recommendation. Its rule, in the order in which it is applied:
//
// 1. Four quantities decide: p99 and CPU per request (of the process, and of the whole machine) at the
//    lowest equal load, and throughput at the maximum; or those that were chosen (`--decide-by`).
// 2. A variant is recommended if at least one of them is better than the baseline's and none is
//    worse. A change has to pay: a mixture is named as a trade, and the baseline stays.
// 3. Of several winners, the one that gains most; but if a simpler one (with fewer options set) is not
//    distinguishable from it, the simpler one.
// 4. What the target does not allow is not recommended, whatever it brings.
// 5. Nothing is said that the intervals do not hold: undecided is said to be so, with the number of
//    rounds that would decide it.

extension Comparison {
  /// Fills `ratios` and `verdict` from the measurements. The same measurements and seed give the
  /// same values.
  public mutating func conclude() {
    let judge = Judge(self)
    ratios = judge.candidates.flatMap(\.ratios) + judge.peers.flatMap(\.ratios)
    verdict = judge.verdict()
  }
}

struct Judge {
  let comparison: Comparison
  let paired: PairedRatios
  let baseline: SubjectFacts?
  /// Every other variant against the baseline.
  let candidates: [Candidate]
  /// The recommended variant, or the baseline's own, against each peer.
  private(set) var peers: [Candidate] = []

  init(_ comparison: Comparison) {
    self.comparison = comparison
    let paired = PairedRatios(comparison)
    self.paired = paired
    let measured = comparison.subjects.filter { $0.failure == nil }
    let baseline =
      measured.first { $0.name == comparison.baseline }
      ?? measured.first { $0.kind == .variant } ?? measured.first
    self.baseline = baseline
    guard let baseline else {
      self.candidates = []
      return
    }
    self.candidates = measured.filter { $0.kind == .variant && $0.name != baseline.name }
      .map { Candidate($0, against: baseline, paired) }
    let champion = self.winner?.subject ?? baseline
    self.peers = measured.filter { $0.kind == .peer && $0.name != champion.name }
      .filter { !(champion.name != baseline.name && $0.name == baseline.name) }
      .map { Candidate(champion, against: $0, paired) }
  }

  func refusal(of subject: SubjectFacts) -> String? { comparison.target?.refusal(of: subject) }

  var winners: [Candidate] {
    candidates.filter { $0.standing == .wins }.sorted { $0.score > $1.score }
  }

  /// Rule 3 and 4.
  var winner: Candidate? {
    let allowed = winners.filter { refusal(of: $0.subject) == nil }
    guard let best = allowed.first else { return nil }
    for simpler in allowed.dropFirst().sorted(by: {
      $0.subject.options.count < $1.subject.options.count
    }) where simpler.subject.options.count < best.subject.options.count {
      let direct = Candidate(best.subject, against: simpler.subject, paired)
      if direct.standing != .wins { return simpler }
    }
    return best
  }

  func verdict() -> Verdict {
    var verdict = Verdict()
    let sentences = Sentences(self)
    guard let baseline, !(candidates.isEmpty && peers.isEmpty) else {
      verdict.headline = "No verdict: fewer than two subjects were measured."
      verdict.reasons = sentences.failures()
      return verdict
    }
    let main = winner ?? leading
    if let main {
      (verdict.headline, verdict.recommended) = headline(main, baseline, sentences)
      verdict.grade = grade(main)
      verdict.reasons =
        sentences.decisive(main) + sentences.stakes(main)
        + sentences.certain(main)
      verdict.reasons += sentences.costs(main)
      verdict.reasons += candidates.filter { $0.subject.name != main.subject.name }
        .map(sentences.summary)
    } else {
      verdict.headline =
        "Only \(baseline.name) was measured, against \(sentences.list(peers.map(\.other.name)))."
    }
    verdict.reasons.insert(contentsOf: sentences.choice(), at: 0)
    verdict.reasons += peers.map(sentences.peer)
    verdict.reasons += sentences.failures() + sentences.targets() + sentences.limits()
    verdict.reasons += sentences.noise()
    verdict.wouldChange = Prospects(self).sentences(main)
    return verdict
  }

  private func grade(_ main: Candidate) -> String {
    switch main.standing {
    case .wins, .loses, .trades: return "decided"
    case .same: return "same"
    case .undecided, .unmeasured:
      return main.likelyGains.isEmpty && main.likelyLosses.isEmpty ? "undecided" : "likely"
    }
  }

  /// Without a winner: the candidate that the headline speaks of, most telling first.
  private var leading: Candidate? {
    let order: [Candidate.Standing] = [.trades, .undecided, .loses, .same, .unmeasured]
    if let refused = winners.first { return refused }
    for standing in order {
      if let found = candidates.first(where: { $0.standing == standing }) { return found }
    }
    return nil
  }

  private func headline(
    _ main: Candidate, _ baseline: SubjectFacts, _ sentences: Sentences
  ) -> (String, String?) {
    let name = main.subject.name
    let base = baseline.name
    if let why = refusal(of: baseline), main.subject.name != winner?.subject.name {
      return (
        "No recommendation: \(sentences.targetName) does not support \(base) (\(why)), the baseline of the"
          + " comparison, and no supported variant was found to be better.", nil
      )
    }
    switch main.standing {
    case .wins:
      let brings = sentences.list(main.gains.headlineOrder.map(\.inWords))
      guard let refusal = refusal(of: main.subject) else {
        let but = sentences.likelyAgainst(main, isWin: true)
        return (
          "\(name): \(brings) against \(base)\(but)\(sentences.whereAllowed(main.subject)).", name
        )
      }
      return (
        "Stay with \(base): \(name) would give \(brings), but \(sentences.targetName) does not support it"
          + " (\(refusal)).", base
      )
    case .trades:
      return (
        "Stay with \(base), unless \(sentences.list(main.gains.map(\.label))) matters more than"
          + " \(sentences.list(main.losses.map(\.label))): \(name) gives"
          + " \(sentences.list(main.gains.headlineOrder.map(\.inWords))), and costs"
          + " \(sentences.list(main.losses.headlineOrder.map(\.inWords)))"
          + "\(sentences.likelyBesides(main)).", base
      )
    case .loses:
      return (
        "Stay with \(base): with \(name) it is"
          + " \(sentences.list(main.losses.headlineOrder.map(\.inWords)))"
          + "\(sentences.likelyAgainst(main, isWin: false)).", base
      )
    case .same:
      let but = sentences.unmeasured(main)
      return (
        "No relevant difference between \(name) and \(base)\(but): stay with \(base).", nil
      )
    case .undecided:
      if let likely = sentences.likely(main) { return (likely, nil) }
      return (
        "Undecided between \(name) and \(base)\(sentences.moreRounds(main))."
          + sentences.certainInShort(main), nil
      )
    case .unmeasured:
      let why = main.decisive.compactMap(\.reason).first ?? "nothing was measured"
      return ("No verdict on \(name) against \(base): \(why).", nil)
    }
  }
}

extension Ratio {
  var label: String { Quantity(rawValue: quantity)?.label ?? quantity }
}

extension [Ratio] {
  /// As a reader expects them: throughput, latency, CPU; the machine's time only where it tells
  /// something that the process's does not.
  var headlineOrder: [Ratio] {
    let order: [Quantity] = [.throughput, .p99, .cpuPerRequest, .machinePerRequest]
    let sorted =
      order.flatMap { quantity in filter { $0.quantity == quantity.rawValue } }
      + filter { ratio in !order.contains { $0.rawValue == ratio.quantity } }
    return sorted.filter { ratio in
      ratio.quantity != Quantity.machinePerRequest.rawValue
        || !sorted.contains {
          $0.quantity == Quantity.cpuPerRequest.rawValue && $0.stage == ratio.stage
        }
    }
  }
}
