// CommitSchedule owns when the gathering batch is due: at once, after the gather window under load, or
// after the interval. It refuses to know what is in the batch or where it goes.

struct CommitSchedule {
  /// A previous batch with more records than this means load, and the gather window applies.
  private static var loadRecords: UInt64 { 4 }

  private let durability: Durability
  private let intervalNanoseconds: Int64
  private let windowNanoseconds: Int64
  private let batchSize: Int
  /// Monotonic time at which the gathering batch was first seen with something in it, or 0.
  private(set) var gatherSince: Int64 = 0
  private var startedAt = Int64.min / 2
  private var previousRecords: UInt64 = 0

  init(_ configuration: JournalConfiguration) {
    durability = configuration.durability
    intervalNanoseconds = configuration.intervalNanoseconds
    windowNanoseconds = configuration.gatherWindowNanoseconds
    batchSize = configuration.batchSize
  }

  /// When the gathering batch is due, in monotonic nanoseconds.
  /// - Parameter used: bytes in it.
  func due(used: Int, isShuttingDown: Bool) -> Int64 {
    if isShuttingDown { return gatherSince }
    switch durability {
    case .interval, .none: return gatherSince + intervalNanoseconds
    case .beforeResponse:
      let isUnderLoad = previousRecords > Self.loadRecords && used < batchSize / 2
      return isUnderLoad ? startedAt + windowNanoseconds : gatherSince
    }
  }

  /// The gathering batch has something in it.
  mutating func beginGathering(_ now: Int64) {
    if gatherSince == 0 { gatherSince = now }
  }

  /// The gathering batch is empty.
  mutating func endGathering() { gatherSince = 0 }

  mutating func beginCommit(_ now: Int64) { startedAt = now }

  /// A commit of this many records has succeeded.
  mutating func endCommit(records: UInt64) { previousRecords = records }
}
