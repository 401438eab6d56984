// A run that is going to be compared with an earlier one: it is refused before it costs minutes, and gets
// the earlier one's rates and seconds, so that what decides is measured under the same load in both.

extension CompareRun {
  /// Refuses what would be refused once all was measured.
  mutating func checkEarlier() throws(CompareFailure) {
    guard let earlier = options.earlier else { return }
    chooseTiming(stages: 3, peerStages: 2)
    var planned = comparison
    planned.subjects = trials.map(\.facts)
    guard
      let refusal = ComparisonAgainst.refusal(
        beforehand: planned, rounds: wantsSlices ? 1000 : timing.rounds, against: earlier)
    else { return }
    throw CompareFailure("\(refusal)", hint: "")
  }

  /// The stages after the maximum: those that were asked for, or the earlier run's, or what follows
  /// from the maxima.
  func rateStages(
    _ maxima: [(name: String, rate: Double)], _ variants: [String]
  ) -> [(stage: StageFacts, variantsOnly: Bool)] {
    if options.rates.isEmpty, let earlier = options.earlier {
      let repeated = ComparisonAgainst.repeatedStages(of: earlier)
      if !repeated.isEmpty { return repeated }
    }
    return Schedule.rateStages(maxima: maxima, variants: variants, asked: options.rates)
  }

  /// The earlier run's seconds, unless others were asked for.
  var repeatedTiming: (counted: Double, warmUp: Double)? {
    guard let earlier = options.earlier else { return nil }
    let asked = options.duration ?? (options.isQuick ? timing.duration : nil)
    return ComparisonAgainst.repeatedTiming(of: earlier.workload, asked: asked)
  }

  /// Whether a variant worked in the earlier run that does not now.
  var failedSinceEarlier: Bool {
    guard let earlier = options.earlier else { return false }
    return trials.contains {
      $0.facts.kind == .variant && $0.facts.failure != nil
        && ComparisonAgainst.works($0.facts.name, earlier)
    }
  }
}
