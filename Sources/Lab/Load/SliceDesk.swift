// A load in slices: the threads stay connected and warm, and each order is a short load with a pace, a
// lead-in and a counted part of its own. A slice ends when its last response is there, so that no request
// belongs to two. Between slices the threads wait and send nothing.

import MillraceEngine
import Synchronization

/// One slice, as it is ordered.
public struct LoadSlice: Sendable, Equatable {
  /// Requests per second; nil: closed loop.
  public var rate: Double?
  public var gapsAreRandom = false
  /// Nanoseconds of load that are not counted, before those that are.
  public var warmUpNanoseconds: Int64
  public var durationNanoseconds: Int64
  public var seed: UInt64

  public init(
    rate: Double?, gapsAreRandom: Bool = false, warmUpNanoseconds: Int64,
    durationNanoseconds: Int64, seed: UInt64
  ) {
    self.rate = rate
    self.gapsAreRandom = gapsAreRandom
    self.warmUpNanoseconds = warmUpNanoseconds
    self.durationNanoseconds = durationNanoseconds
    self.seed = seed
  }

  /// The order as a line: `slice RATE GAPS LEAD-IN COUNTED SEED`, rate 0 for a closed loop.
  public var line: String {
    "slice \(Decimals.text(rate ?? 0, places: 3)) \(gapsAreRandom ? "poisson" : "constant")"
      + " \(warmUpNanoseconds) \(durationNanoseconds) \(seed)"
  }

  /// nil where the line is none, or no load can be made of it.
  public init?(line: String) {
    let words = line.split(separator: " ")
    guard words.count == 6, words[0] == "slice", let rate = Double(words[1]),
      rate >= 0, rate <= 1e8, words[2] == "constant" || words[2] == "poisson",
      let warmUp = Int64(words[3]), (0...Self.longest).contains(warmUp),
      let duration = Int64(words[4]), (1_000_000...Self.longest).contains(duration),
      let seed = UInt64(words[5])
    else { return nil }
    self.init(
      rate: rate > 0 ? rate : nil, gapsAreRandom: words[2] == "poisson", warmUpNanoseconds: warmUp,
      durationNanoseconds: duration, seed: seed)
  }

  /// A minute: what is longer is no slice.
  private static let longest: Int64 = 60_000_000_000

  /// The plan with this pace and these seconds.
  func plan(_ plan: LoadPlan) -> LoadPlan {
    var plan = plan
    plan.pacing = rate.map { gapsAreRandom ? .poisson(rate: $0) : .constant(rate: $0) } ?? .closed
    plan.warmUpNanoseconds = warmUpNanoseconds
    plan.durationNanoseconds = durationNanoseconds
    plan.requestLimit = nil
    plan.seed = seed
    return plan
  }
}

/// Who orders slices, and takes what they gave.
public struct LoadSliceService {
  /// Called once all connections stand.
  var ready: () -> Void
  /// Blocks until there is an order; nil ends the run.
  var next: () -> LoadSlice?
  /// Called when the last response of a slice is there, before its result is made.
  var drained: () -> Void
  var deliver: (LoadResult) -> Void

  public init(
    ready: @escaping () -> Void, next: @escaping () -> LoadSlice?, drained: @escaping () -> Void,
    deliver: @escaping (LoadResult) -> Void
  ) {
    self.ready = ready
    self.next = next
    self.drained = drained
    self.deliver = deliver
  }
}

/// A slice as the threads get it.
struct SliceOrder: Sendable {
  var plan: LoadPlan
  var source: PacingSource
  /// Monotonic nanoseconds at which the lead-in begins.
  var startAt: Int64
}

/// Where orders lie, and the tallies of the threads.
final class SliceDesk: Sendable {
  /// Number of the newest order; 0: none yet.
  let number = Atomic<Int>(0)
  /// Threads that have delivered the newest one.
  let delivered = Atomic<Int>(0)
  private let order = Mutex<SliceOrder?>(nil)
  private let tallies = Mutex<TallyBox>(TallyBox(count: 0))

  func publish(_ made: SliceOrder) {
    order.withLock { $0 = made }
    tallies.withLock { $0 = TallyBox(count: 0) }
    delivered.store(0, ordering: .relaxed)
    number.add(1, ordering: .releasing)
  }

  var current: SliceOrder? { order.withLock { $0 } }

  func deliver(_ tally: consuming LoadTally) {
    let box = tallies.withLock { $0 }
    box.add(tally)
    delivered.add(1, ordering: .releasing)
  }

  func result(_ plan: LoadPlan, _ kind: EngineKind, _ board: LoadBoard) -> LoadResult {
    let box = tallies.withLock { $0 }
    var result = box.result(plan, kind, board)
    // A slice has no course.
    result.intervals = []
    return result
  }
}
