// How long things take, counted in buckets that are the same everywhere: 100 µs is below what a request
// over a network takes, and 10 s is beyond what anybody waits for. Writing is a few comparisons, two loads and
// two stores.

import Metrics

enum LatencyHistogram {
  /// The buckets, the last one of which has no bound.
  static var buckets: Int { 16 }
  /// Cells: the buckets, and the sum in nanoseconds.
  static var width: Int { buckets + 1 }

  /// Upper bounds in nanoseconds, as `bucket` has them.
  static let bounds: [Int64] = [
    100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000,
    100_000_000, 250_000_000, 500_000_000, 1_000_000_000, 2_500_000_000, 10_000_000_000,
  ]

  /// The bucket of a time in nanoseconds: a tree, since most requests are in the first few.
  @inline(__always)
  static func bucket(_ time: Int64) -> Int {
    if time <= 5_000_000 {
      if time <= 500_000 { return time <= 100_000 ? 0 : time <= 250_000 ? 1 : 2 }
      return time <= 1_000_000 ? 3 : time <= 2_500_000 ? 4 : 5
    }
    if time <= 100_000_000 {
      if time <= 25_000_000 { return time <= 10_000_000 ? 6 : 7 }
      return time <= 50_000_000 ? 8 : 9
    }
    if time <= 1_000_000_000 { return time <= 250_000_000 ? 10 : time <= 500_000_000 ? 11 : 12 }
    return time <= 2_500_000_000 ? 13 : time <= 10_000_000_000 ? 14 : 15
  }

  /// - Parameter cell: the first of its cells.
  @inline(__always)
  static func count(_ time: Int64, in block: MetricBlock, at cell: Int) {
    block[cell + bucket(time)] += 1
    block[cell + buckets] &+= Int(time)
  }

  /// - Parameter name: of what it counts, without a unit: `upstream_connect`.
  static func columns(_ name: String, _ help: String) -> [MetricColumn] {
    let family = MetricFamily(name + "_bucket", "events", help)
    let labels = bounds.map { "\($0)" } + ["more"]
    return labels.map { MetricColumn(family, MetricColumn.Label("nanoseconds", $0)) }
      + [MetricColumn(MetricFamily(name + "_sum", "nanoseconds", help))]
  }
}
