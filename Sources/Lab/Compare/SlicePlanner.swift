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

/// How long a slice is, by a pilot: paired logarithms of CPU per request of short slices in a row.
enum SliceLength {
  /// Seconds of a slice in the pilot.
  static let shortest = 0.2
  static let pilotPairs = 12
  /// How many of the pilot's slices make one of the lengths to choose from.
  private static let multiples = [1, 2, 3]

  /// The length with which the mean has the least variance in the same time. Noise that does not know
  /// the moment before favours long slices, by what each of them costs beside its load; noise that lasts
  /// longer than a slice favours short ones.
  ///
  /// - Parameters:
  ///   - differences: of consecutive pairs of slices of `shortest` seconds.
  ///   - overhead: seconds that a slice takes beside its counted part.
  ///   - latency: the median latency in seconds: a slice is ten of them, up to a second, or it would be
  ///     mostly its end.
  static func choose(_ differences: [Double], overhead: Double, latency: Double) -> Double {
    var best = (length: shortest * 2, cost: Double.infinity)
    for multiple in multiples {
      let means = stride(from: 0, through: differences.count - multiple, by: multiple).map {
        differences[$0..<$0 + multiple].reduce(0, +) / Double(multiple)
      }
      guard means.count >= 3 else { continue }
      let length = shortest * Double(multiple)
      // Of twelve pairs a variance is known to a factor of two only: a longer slice has to win by more.
      let cost = Moments(means).variance * (length + overhead) * (multiple == 1 ? 1 : 1.1)
      if cost < best.cost { best = (length, cost) }
    }
    return min(longest, max(best.length, latency * 10))
  }

  private static let longest = 1.0
}

/// When a slice is left out, fixed beforehand.
enum SliceRule {
  /// Of the machine's CPU time, what the hypervisor gave to others. A tick of 10 ms is 1.4% of a slice
  /// of 350 ms on two CPUs: three of them.
  static let stolen = 0.05
  /// No more than this share of all slices: where most are disturbed, that is how the machine is.
  static let most = 1.0 / 3

  static func leavesOut(stolen: Double, leftOut: Int, of count: Int) -> Bool {
    stolen > Self.stolen && Double(leftOut + 1) <= most * Double(count + 3)
  }
}
