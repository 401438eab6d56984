// From measurements to ratios: each subject against another within the same round, so that what the
// machine did in that minute falls out; then an interval, and what it allows to be said.
//
// An interval of 99% is wrong once in a hundred times, and a comparison has dozens. A difference is
// therefore declared only if (1) the interval excludes "equal" even when it is widened for the number
// of quantities of its family, (2) the estimate lies outside the equivalence bound. There are two
// families per pair of subjects: the decisive quantities, and the secondary ones.

import Glibc

/// The measurements of a comparison, ready to be paired.
struct PairedRatios {
  /// Inside it there is no difference that matters: 2% up or down.
  static let bound = 0.02
  /// Below this share of busy time at the maximum, the load was the limit and not the proxy.
  static let busyEnough = 0.95
  /// The share of rounds that may be lost (failed or load-bound) with the rest still speaking for a
  /// quantity. More, and what is left is a selection.
  static let lossesAllowed = 0.2
  /// Where an interval is cut off: this far beyond equality and its estimate.
  static let widest = 1000.0

  let comparison: Comparison
  /// Resamples of each interval.
  let resamples: Int
  private var byPlace: [String: Measurement] = [:]
  private let rounds: [Int]
  private let hasSlices: Bool
  /// What decides where that was chosen.
  private let chosen: [DecidingQuantity]

  init(_ comparison: Comparison, resamples: Int = Bootstrap.resamples) {
    self.comparison = comparison
    self.resamples = resamples
    self.chosen = comparison.course.decidedBy.compactMap { DecidingQuantity($0) }
    for measurement in comparison.measurements {
      byPlace[Self.place(measurement.subject, measurement.stage, measurement.round)] = measurement
    }
    self.hasSlices = comparison.measurements.contains { !$0.slices.isEmpty }
    self.rounds = Set(comparison.measurements.map(\.round)).sorted()
  }

  private static func place(_ subject: String, _ stage: String, _ round: Int) -> String {
    "\(subject)\u{0}\(stage)\u{0}\(round)"
  }

  func measurement(_ subject: String, _ stage: String, _ round: Int) -> Measurement? {
    byPlace[Self.place(subject, stage, round)]
  }

  /// All measurements of a subject at a stage, in the order of rounds.
  func measurements(_ subject: String, _ stage: String) -> [Measurement] {
    rounds.compactMap { measurement(subject, stage, $0) }
  }

  /// The lowest of the equal loads: the stage whose latency and CPU decide.
  var firstRate: StageFacts? {
    comparison.stages.filter { $0.kind == .rate }
      .min { ($0.rate ?? .infinity) < ($1.rate ?? .infinity) }
  }

  /// The stage at which latency and CPU decide: the first rate, or the maximum if there is no rate.
  var decisiveStage: StageFacts? { firstRate ?? comparison.stages.first { $0.kind == .maximum } }

  func weight(_ quantity: Quantity, _ stage: StageFacts) -> Quantity.Weight? {
    let isFirst = stage.name == decisiveStage?.name
    let usual = quantity.weight(stage.kind, isFirstRate: isFirst)
    guard !chosen.isEmpty else { return usual }
    let isChosen = chosen.contains {
      $0.quantity == quantity && ($0.kind == .rate ? isFirst : stage.kind == .maximum)
    }
    if isChosen { return .decisive }
    return usual == .decisive ? .secondary : usual
  }

  /// Whether anything is decided at a stage.
  func decides(_ stage: StageFacts) -> Bool {
    Quantity.allCases.contains { weight($0, stage) == .decisive }
  }

  /// Every quantity at every stage, for one pair of subjects.
  func ratios(_ subject: String, to baseline: String) -> [Ratio] {
    var pairs: [Pair] = []
    for stage in comparison.stages {
      for quantity in Quantity.allCases {
        guard let weight = weight(quantity, stage) else { continue }
        // In rounds it is p99, which has its own row.
        if quantity == .p99OfAll && !hasSlices && weight != .decisive { continue }
        let pair = self.pair(quantity, weight, stage, subject, baseline)
        // What no engine or peer reports is left out, unless the verdict needs it.
        if pair.values.isEmpty && pair.losses.isEmpty && weight != .decisive { continue }
        pairs.append(pair)
      }
    }
    let decisive = pairs.count { $0.weight == .decisive && $0.reason == nil }
    let secondary = pairs.count { $0.weight == .secondary && $0.reason == nil }
    return pairs.map {
      $0.judged(
        family: $0.weight == .decisive ? decisive : secondary,
        minutes: comparison.course.seconds / 60)
    }
  }

  private func pair(
    _ quantity: Quantity, _ weight: Quantity.Weight, _ stage: StageFacts, _ subject: String,
    _ baseline: String
  ) -> Pair {
    var pair = Pair(
      subject: subject, baseline: baseline, stage: stage.name, quantity: quantity, weight: weight)
    var histograms: (ours: [[[Int]]], theirs: [[[Int]]]) = ([], [])
    for round in rounds {
      guard let ours = measurement(subject, stage.name, round),
        let theirs = measurement(baseline, stage.name, round)
      else { continue }
      if let failed = [ours, theirs].first(where: { $0.failure != nil }) {
        pair.losses.append("\(failed.subject): \(failed.failure ?? "")")
      } else if quantity == .throughput,
        let idle = [ours, theirs].first(where: { $0.proxyBusy < Self.busyEnough })
      {
        pair.losses.append(
          "load-bound: the CPU of \(idle.subject) was only \(Figure.percent(idle.proxyBusy)) busy")
      } else {
        // Not of the quotient, which overflows where no logarithm does.
        pair.values += values(quantity, ours, theirs).map { log($0.ours) - log($0.theirs) }
        pair.look = max(pair.look, ours.look, theirs.look)
        if !ours.slices.isEmpty { pair.isSliced = true }
        if quantity.pooledShare != nil {
          histograms.ours.append(ours.load.latency.histogram)
          histograms.theirs.append(theirs.load.latency.histogram)
        }
      }
    }
    if pair.isSliced, let share = quantity.pooledShare {
      pair.series = PooledPercentile.estimate(histograms.ours, histograms.theirs, at: share)
    }
    pair.conclude(seed: comparison.seed, resamples: resamples)
    return pair
  }

  /// What is paired of two measurements: their slices block by block, or each as a whole.
  private func values(
    _ quantity: Quantity, _ ours: Measurement, _ theirs: Measurement
  ) -> [(ours: Double, theirs: Double)] {
    if quantity.isOfSlices {
      let pairs = ours.slices.compactMap { slice -> (ours: Double, theirs: Double)? in
        guard let other = theirs.slices.first(where: { $0.block == slice.block }),
          let a = quantity.value(slice), let b = quantity.value(other)
        else { return nil }
        return (a, b)
      }
      // Where slices are too small for a percentile, the batch has it.
      if !pairs.isEmpty || !quantity.isLatency && !ours.slices.isEmpty { return pairs }
    }
    guard let a = quantity.value(ours), let b = quantity.value(theirs) else { return [] }
    return [(a, b)]
  }
}

/// Quantities that are judged together share one error of 1 in 100 (Bonferroni).
enum Family {
  /// How much wider an interval gets when its error is divided among `count`: the ratio of Student's
  /// quantiles, since the bootstrap's own tail is too coarse out there with so few rounds.
  static func widening(of count: Int, values: Int) -> Double {
    let error = 1 - Bootstrap.confidence
    return StudentT.twoSided(1 - error / Double(count), degrees: values - 1)
      / StudentT.twoSided(1 - error, degrees: values - 1)
  }
}

/// How much longer a comparison has to be to decide what is undecided.
enum TimeNeeded {
  /// How many times as long, by the observed spread; nil where the estimate lies on the bound.
  static func factor(estimate: Double, half: Double) -> Double? {
    let bound = log(1 + PairedRatios.bound)
    let distance = abs(estimate)
    // Either the interval has to fit inside the bound, or it has to shrink off 1 even when widened
    // for its family.
    let room = max(bound - distance, distance > bound ? distance / 1.3 : 0)
    guard room > bound / 50, half > 0 else { return nil }
    return max(1, (half / room) * (half / room))
  }
}

/// How many more rounds would decide what is undecided.
enum RoundsNeeded {
  /// Rounds beyond those that were run, by the observed spread: a half-width falls with the square
  /// root of their number. nil where it would take more than ten times as many: then the difference is
  /// too close to the bound to be worth it.
  static func more(_ ratio: Ratio) -> Int? {
    guard ratio.outcome == .undecided, let estimate = ratio.estimate, let high = ratio.high,
      ratio.pairs > 0
    else { return nil }
    let bound = log(1 + PairedRatios.bound)
    let distance = abs(log(estimate))
    let half = log(high) - log(estimate)
    // Either the interval has to fit inside the bound, or it has to shrink off 1 even when widened
    // for its family (by up to 1.5 with a dozen rounds or more).
    let room = max(bound - distance, distance > bound ? distance / 1.5 : 0)
    guard room > 0 else { return nil }
    let needed = Double(ratio.pairs) * (half / room) * (half / room)
    guard needed <= 10 * Double(ratio.pairs) else { return nil }
    return max(1, Int(needed.rounded(.up)) - ratio.pairs)
  }

  /// Of a ratio that no sensible number of rounds decides: whether its spread would do for another
  /// estimate, so that it is the estimate that lies too close to the bound.
  static func isTooClose(_ ratio: Ratio) -> Bool {
    guard let estimate = ratio.estimate, let high = ratio.high else { return false }
    return log(high / estimate) <= log(1 + PairedRatios.bound) * 10.0.squareRoot()
  }
}
