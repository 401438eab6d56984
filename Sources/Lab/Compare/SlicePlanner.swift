// Which slices come next: pure arithmetic over a seed. Time goes to what is undecided; within a batch all
// its subjects run in a random order and then in the reverse of it, so that what drifts steadily falls
// on all alike.

/// Subjects that are compared with each other at a stage, as long as something is open between them.
struct SliceNeed: Equatable {
  var stage: String
  /// Whether peers are among them.
  var hasPeers = false
  var subjects: [String]
  /// Its share of the time, beside the others'.
  var weight = 1.0
  /// Whether nothing is decided there.
  var isInformational = false

  fileprivate var key: String { stage + (hasPeers ? "\u{0}peers" : "") }
}

struct SlicePlanner {
  private var numbers: SeededNumbers
  /// Seconds that were spent on each need.
  private var spent: [String: Double] = [:]

  init(seed: UInt64) { numbers = SeededNumbers(seed: seed) }

  /// The need that has had the least time for its weight; of equals a random one.
  ///
  /// - Parameter seconds: of a slice and what comes with it.
  mutating func choose(_ needs: [SliceNeed], seconds: Double) -> SliceNeed? {
    func had(_ need: SliceNeed) -> Double { spent[need.key, default: 0] / need.weight }
    guard let least = needs.map(had).min() else { return nil }
    let candidates = needs.filter { had($0) <= least }
    let chosen = candidates[Int(numbers.next() >> 33) % candidates.count]
    spent[chosen.key, default: 0] += seconds * Double(chosen.subjects.count * Self.blocks)
    // The variants' own need has part of it, too.
    if let own = needs.first(where: { $0.stage == chosen.stage && !$0.hasPeers }), chosen.hasPeers {
      spent[own.key, default: 0] += seconds * Double(own.subjects.count * Self.blocks)
    }
    return chosen
  }

  /// Blocks of a batch: an order and its reverse.
  static let blocks = 2

  mutating func orders(_ subjects: [String]) -> [[String]] {
    let order = subjects.shuffled(using: &numbers)
    return [order, order.reversed()]
  }

  mutating func seed() -> UInt64 { numbers.next() >> 16 }
}

/// How long a slice is: as short as it can be. What disturbs a machine for a moment then falls into few of them, and
/// a percentile of a longer one is that of its worst part. Slices of 600 ms would save overhead worth a fifth of the
/// variance (docs/lab.md).
enum SliceLength {
  static let shortest = 0.2
  private static let longest = 1.0
  /// Slices of each subject in the pilot.
  static let pilotSlices = 2

  /// - Parameters:
  ///   - latency: the median latency in seconds at the equal load: a slice is ten of them, or it would be
  ///     mostly its end.
  ///   - rate: requests per second there: a slice has a p99 of its own, if it can.
  static func choose(latency: Double, rate: Double?) -> Double {
    var length = max(shortest, latency * 10)
    if let rate, rate > 0 {
      // A tenth more, since the number of requests varies.
      let needed = 1.1 * Quantity.requestsForP99 / rate
      if needed <= longest { length = max(length, needed) }
    }
    return min(longest, length)
  }
}

/// When a slice is left out, fixed beforehand.
enum SliceRule {
  /// Of the machine's CPU time, what the hypervisor gave to others. A tick of 10 ms is 2% of the
  /// 260 ms of a slice and its lead-in on two CPUs: two of them may be.
  static let stolen = 0.05
  /// No more than this share of all slices: where most are disturbed, that is how the machine is.
  static let most = 1.0 / 3

  static func leavesOut(stolen: Double, leftOut: Int, of count: Int) -> Bool {
    stolen > Self.stolen && Double(leftOut + 1) <= most * Double(count + 3)
  }
}
