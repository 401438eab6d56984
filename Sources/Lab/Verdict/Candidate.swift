// A subject as the verdict sees it: its ratios to another subject, and where that leaves it.

import Glibc

/// One subject against another.
struct Candidate {
  enum Standing {
    /// At least one decisive quantity is better, and none is worse.
    case wins
    /// At least one is worse, and none is better.
    case loses
    /// Better in one, worse in another.
    case trades
    /// Every decisive quantity that was measured lies inside the bound.
    case same
    case undecided
    /// No decisive quantity has an interval.
    case unmeasured
  }

  let subject: SubjectFacts
  let other: SubjectFacts
  let ratios: [Ratio]
  /// The ratios that the recommendation reads: throughput at the maximum; p99, CPU and machine time at
  /// the lowest equal load; or those of `CourseFacts.decidedBy`.
  let decisive: [Ratio]
  let secondary: [Ratio]

  init(_ subject: SubjectFacts, against other: SubjectFacts, _ paired: PairedRatios) {
    self.subject = subject
    self.other = other
    let ratios = paired.ratios(subject.name, to: other.name)
    func weight(_ ratio: Ratio) -> Quantity.Weight? {
      guard let quantity = Quantity(rawValue: ratio.quantity),
        let stage = paired.comparison.stages.first(where: { $0.name == ratio.stage })
      else { return nil }
      return paired.weight(quantity, stage)
    }
    self.ratios = ratios
    self.decisive = ratios.filter { weight($0) == .decisive }
    self.secondary = ratios.filter { weight($0) == .secondary }
  }

  var gains: [Ratio] { decisive.filter { $0.outcome == .better } }
  var losses: [Ratio] { decisive.filter { $0.outcome == .worse } }
  var undecided: [Ratio] { decisive.filter { $0.outcome == .undecided } }

  /// Undecided, and likely better or worse.
  var likelyGains: [Ratio] { undecided.filter { $0.likely == .better } }
  var likelyLosses: [Ratio] { undecided.filter { $0.likely == .worse } }

  var standing: Standing {
    switch (gains.isEmpty, losses.isEmpty) {
    case (false, true): return .wins
    case (true, false): return .loses
    case (false, false): return .trades
    case (true, true): break
    }
    if !undecided.isEmpty { return .undecided }
    return decisive.contains { $0.outcome == .same } ? .same : .unmeasured
  }

  /// How much better it is in what was declared: the sum of the logarithms. It only orders winners.
  var score: Double {
    (gains + losses).reduce(0) { sum, ratio in
      let size = abs(log(ratio.estimate ?? 1))
      return sum + (ratio.outcome == .better ? size : -size)
    }
  }

  /// What more rounds would decide, and what no sensible number of them would.
  var decidable: [Ratio] { undecided.filter { RoundsNeeded.more($0) != nil } }
  var undecidable: [Ratio] { undecided.filter { RoundsNeeded.more($0) == nil } }

  /// Rounds that would decide what is decidable; nil where nothing is.
  var roundsNeeded: Int? { decidable.compactMap { RoundsNeeded.more($0) }.max() }

  /// Decisive quantities without an interval.
  var unmeasured: [Ratio] { decisive.filter { $0.outcome == .none } }
}

extension Ratio {
  /// The outcome as a row shows it.
  var grade: String {
    if outcome == .none { return "no ratio" }
    return likely == .none ? outcome.rawValue : "likely \(likely.rawValue)"
  }

  /// What it says in a few words: "p99 −11%", "+18% throughput".
  var inWords: String {
    guard let quantity = Quantity(rawValue: quantity), let estimate else { return self.quantity }
    if quantity == .throughput { return "\(Figure.change(estimate)) throughput" }
    return "\(quantity.label) \(Figure.change(estimate))"
  }

  /// "−11% (99% interval −14% to −8%)".
  var withInterval: String {
    guard let estimate, let low, let high else { return reason ?? "not measured" }
    return
      "\(Figure.change(estimate)) (99% interval \(Figure.change(low)) to \(Figure.change(high)))"
  }
}
