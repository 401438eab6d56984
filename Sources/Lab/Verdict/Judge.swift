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

struct Judge {
  let comparison: Comparison
  let paired: PairedRatios
  let baseline: SubjectFacts?
  /// Every other variant against the baseline.
  let candidates: [Candidate]
  /// The recommended variant, or the baseline's own, against each peer.
  private(set) var peers: [Candidate] = []

  init(_ comparison: Comparison, resamples: Int = Bootstrap.resamples) {
    self.comparison = comparison
    let paired = PairedRatios(comparison, resamples: resamples)
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

  /// Without a winner: the candidate that the headline speaks of, most telling first.
  var leading: Candidate? {
    let order: [Candidate.Standing] = [.trades, .undecided, .loses, .same, .unmeasured]
    if let refused = winners.first { return refused }
    for standing in order {
      if let found = candidates.first(where: { $0.standing == standing }) { return found }
    }
    return nil
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
