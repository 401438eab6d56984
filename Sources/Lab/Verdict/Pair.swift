// One quantity of two subjects: the logarithms of its ratios, an interval, and the grade of what it
// allows to be said: decided (99%, widened for what is judged together), likely (90%), the same (the
// whole interval inside of the bound), or undecided with the time that would decide it.

import Glibc

/// The rounds or slices of one quantity, and their interval.
struct Pair {
  let subject: String
  let baseline: String
  let stage: String
  let quantity: Quantity
  let weight: Quantity.Weight
  /// Logarithms of the ratios, one a round or block.
  var values: [Double] = []
  /// Why a round does not count.
  var losses: [String] = []
  /// Whether they are slices, and the last look that they came before.
  var isSliced = false
  var look = 0
  private var interval: LogInterval?
  /// Set beforehand for a percentile of all requests together.
  var series: SeriesEstimate?
  /// Why there is no interval.
  private(set) var reason: String?

  init(
    subject: String, baseline: String, stage: String, quantity: Quantity, weight: Quantity.Weight
  ) {
    self.subject = subject
    self.baseline = baseline
    self.stage = stage
    self.quantity = quantity
    self.weight = weight
  }

  /// The reason where nothing was measured, and nothing excluded.
  static let notMeasured = "not measured"

  /// The reason where a percentile of all requests cannot be told from what there is.
  static let tooFewBeyond = "too few requests lie beyond it, or in too few batches"

  private var units: String { isSliced ? "slices" : "rounds" }

  mutating func conclude(seed: UInt64, resamples: Int) {
    let all = values.count + losses.count
    if Double(losses.count) > PairedRatios.lossesAllowed * Double(all) {
      let most = losses.max { count($0) < count($1) } ?? ""
      reason = "\(losses.count) of \(all) \(isSliced ? "batches" : "rounds") are excluded; \(most)"
      return
    }
    if isSliced && quantity.pooledShare == nil {
      let trim =
        quantity.isLatency ? SliceSeries.latencyTrim(of: values.count) : SliceSeries.costTrim
      series = SliceSeries.estimate(values, trim: trim)
    } else if !isSliced {
      var random = SeededRandom(seed: seed, name: "\(subject)/\(baseline)/\(stage)/\(quantity)")
      interval = Bootstrap.mean(values, resamples: resamples, random: &random)
    }
    if interval == nil && series == nil {
      reason =
        values.isEmpty
        ? Self.notMeasured
        : isSliced && quantity.pooledShare != nil && values.count >= SliceSeries.fewest
          ? Self.tooFewBeyond
          : "\(values.count) \(units); a 99% interval needs \(Bootstrap.fewestValues) or more"
    }
  }

  /// Losses with the same words but other figures count as the same.
  private func count(_ loss: String) -> Int {
    losses.count { $0.prefix(12) == loss.prefix(12) }
  }

  private var estimate: Double? { series?.mean ?? interval?.estimate }

  /// Half of the width of the interval that misses with this probability, divided among `family`.
  private func half(missing miss: Double, family: Int = 1) -> Double {
    if let series { return series.half(missing: miss * Looks.share(look) / Double(family)) }
    guard let interval else { return .infinity }
    let all = 1 - Bootstrap.confidence
    let wide = interval.half * Family.widening(of: family, values: values.count)
    guard abs(miss - all) > 1e-9 else { return wide }
    return wide * StudentT.twoSided(1 - miss, degrees: values.count - 1)
      / StudentT.twoSided(1 - all, degrees: values.count - 1)
  }

  /// How probable the sign is.
  private var probability: Double {
    if let series { return series.probability() }
    guard let interval, interval.half > 0 else { return 1 }
    let degrees = values.count - 1
    let t =
      abs(interval.estimate) / interval.half
      * StudentT.twoSided(Bootstrap.confidence, degrees: degrees)
    return (1 + StudentT.inside(t, degrees: degrees)) / 2
  }

  /// - Parameters:
  ///   - family: quantities that are judged together.
  ///   - minutes: of the course so far; 0 where it is not known.
  func judged(family: Int, minutes: Double) -> Ratio {
    var ratio = Ratio()
    ratio.subject = subject
    ratio.baseline = baseline
    ratio.stage = stage
    ratio.quantity = quantity.rawValue
    ratio.pairs = values.count
    ratio.reason = reason
    guard let estimate else { return ratio }
    let half = half(missing: 0.01)
    ratio.estimate = exp(estimate)
    // One round that is far off among few makes an interval of any width: beyond this it is only wide.
    let reach = log(PairedRatios.widest)
    ratio.low = exp(max(estimate - half, min(estimate, 0) - reach))
    ratio.high = exp(min(estimate + half, max(estimate, 0) + reach))
    guard weight != .informative else {
      ratio.reason = "for information"
      return ratio
    }
    (ratio.outcome, ratio.reason) = outcome(estimate, half: half, family: max(family, 1))
    guard ratio.outcome == .undecided else { return ratio }
    ratio.probability = probability
    if abs(estimate) > max(self.half(missing: 0.1), log(1 + PairedRatios.bound)) {
      ratio.likely = side(estimate)
    }
    if isSliced, minutes > 0, let factor = TimeNeeded.factor(estimate: estimate, half: half) {
      ratio.minutes = factor * minutes
    }
    return ratio
  }

  private func side(_ estimate: Double) -> Ratio.Outcome {
    (estimate > 0) == quantity.prefersMore ? .better : .worse
  }

  private func outcome(
    _ estimate: Double, half: Double, family: Int
  ) -> (Ratio.Outcome, String?) {
    let bound = log(1 + PairedRatios.bound)
    let lost =
      losses.isEmpty || isSliced
      ? nil : "\(losses.count) of \(values.count + losses.count) rounds excluded"
    if estimate - half >= -bound && estimate + half <= bound { return (.same, lost) }
    guard abs(estimate) > bound else { return (.undecided, "the interval crosses the ±2% bound") }
    guard abs(estimate) > half else { return (.undecided, "the interval contains 1") }
    guard abs(estimate) > self.half(missing: 0.01, family: family) else {
      return (
        .undecided,
        "the 99% interval excludes 1, but among \(family) quantities that is not significant"
      )
    }
    return (side(estimate), lost)
  }
}
