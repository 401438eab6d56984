// A percentile of all requests of a subject, whichever slice they came in, against another subject's, from the
// histograms of batches. What happens in few slices only, a stall every other second, is in it; the typical slice
// does not show it (SliceSeries cuts it off).
//
// The error is that of the share of requests below the percentile, from what the shares of consecutive batches
// differ by, and is carried over to the percentile by the histogram itself: Woodruff, "Confidence intervals for medians and
// other position measures", JASA 47 (1952). Where the percentile lies between two kinds of requests, those that a
// stall has met and the others, a little more of one kind moves it far: so the difference is never surer than that of
// the shares below one value. The two subjects count as independent, which errs to the wide side.

import Glibc

enum PooledPercentile {
  /// Requests beyond the percentile, at least.
  private static let fewestBeyond = 10.0
  /// The error of what lies anywhere within a hundredth, as places of a histogram do (`coarsened`).
  private static let resolution = 0.003

  /// - Parameters:
  ///   - ours: a histogram for each batch, in the order of time, as pairs of a value and how often it came.
  ///   - theirs: those of the subject that it is compared with.
  ///   - share: of the percentile, 0.99 for p99.
  /// - Returns: the logarithm of the ratio; nil where too little was measured.
  static func estimate(
    _ ours: [[[Int]]], _ theirs: [[[Int]]], at share: Double
  ) -> SeriesEstimate? {
    guard let a = PooledRequests(ours), let b = PooledRequests(theirs),
      min(a.total, b.total) * (1 - share) >= fewestBeyond,
      let ourError = a.error(at: share), let theirError = b.error(at: share)
    else { return nil }
    let mean = log(Double(a.value(at: share))) - log(Double(b.value(at: share)))
    var error = max(resolution, (ourError * ourError + theirError * theirError).squareRoot())
    let middle = PooledRequests.value(at: share, in: (a.places + b.places).sorted())
    let (ourShare, ourVariance) = a.share(below: middle, at: share)
    let (theirShare, theirVariance) = b.share(below: middle, at: share)
    let zScore = abs(ourShare - theirShare) / (ourVariance + theirVariance).squareRoot()
    // Below one deviation it is not significant, however far below.
    error = max(error, abs(mean) / max(zScore, 1))
    return SeriesEstimate(
      mean: mean, error: error, degrees: min(a.groups.count, b.groups.count) - 1)
  }
}

/// All requests of a subject, in groups of consecutive batches.
private struct PooledRequests {
  /// Groups that an error is taken of, at most.
  private static let groupsMaximum = 32

  /// A place of a histogram: a value, and how often it came.
  struct Place: Comparable {
    let value: Int
    let count: Int

    static func < (left: Place, right: Place) -> Bool { left.value < right.value }
  }

  /// In ascending order.
  let places: [Place]
  let groups: [[Place]]
  let total: Double

  init?(_ batches: [[[Int]]]) {
    // A file may hold anything.
    let batches = batches.map { batch in
      batch.filter { $0.count == 2 && $0[0] > 0 && $0[1] > 0 }
        .map { Place(value: $0[0], count: $0[1]) }
    }.filter { !$0.isEmpty }
    let size = (batches.count + Self.groupsMaximum - 1) / Self.groupsMaximum
    guard batches.count >= SliceSeries.fewest else { return nil }
    groups = stride(from: 0, to: batches.count, by: size).map {
      Array(batches[$0..<min($0 + size, batches.count)].joined())
    }
    places = batches.joined().sorted()
    total = Self.count(places)
    guard total > 0, groups.count >= SliceSeries.fewest else { return nil }
  }

  private static func count(_ places: [Place]) -> Double {
    places.reduce(0) { $0 + Double($1.count) }
  }

  /// - Parameter places: ascending, not empty.
  static func value(at share: Double, in places: [Place]) -> Int {
    let wanted = share * count(places)
    var seen = 0.0
    for place in places {
      seen += Double(place.count)
      if seen >= wanted { return place.value }
    }
    return places[places.count - 1].value
  }

  func value(at share: Double) -> Int { Self.value(at: share, in: places) }

  /// The share of requests up to a value, and its variance: not less than that of independent requests.
  func share(below value: Int, at share: Double) -> (share: Double, variance: Double) {
    let counts = groups.map { group in
      (all: Self.count(group), below: Self.count(group.filter { $0.value <= value }))
    }
    let below = counts.reduce(0) { $0 + $1.below } / total
    let squares = counts.reduce(0) {
      $0 + ($1.below - below * $1.all) * ($1.below - below * $1.all)
    }
    let number = Double(counts.count)
    return (
      below,
      max(squares * number / (number - 1) / (total * total), share * (1 - share) / total)
    )
  }

  /// The error of the percentile's logarithm; nil where one deviation reaches beyond the largest value.
  func error(at share: Double) -> Double? {
    let deviation = self.share(below: value(at: share), at: share).variance.squareRoot()
    guard share + deviation < 1, share > deviation else { return nil }
    return (log(Double(value(at: share + deviation))) - log(Double(value(at: share - deviation))))
      / 2
  }
}
