// The tallies of all threads, added up.

import MillraceEngine
import Synchronization

/// Where the threads leave what they have counted.
final class TallyBox: Sendable {
  private struct Sum: ~Copyable, Sendable {
    var tally: LoadTally?
    /// CPU nanoseconds of the busiest thread over those of its counted part.
    var busiest = 0.0
  }

  private let sum = Mutex(Sum())

  init(count: Int) {}

  func add(_ tally: consuming LoadTally) {
    var given: LoadTally? = consume tally
    sum.withLock { sum in
      guard let tally = given.take() else { return }
      if tally.countedNanoseconds > 0 {
        sum.busiest = max(
          sum.busiest, Double(tally.threadNanoseconds) / Double(tally.countedNanoseconds))
      }
      if sum.tally == nil { sum.tally = consume tally } else { sum.tally!.add(tally) }
    }
  }

  /// The result of all threads.
  func result(_ plan: LoadPlan, _ kind: EngineKind, _ board: LoadBoard) -> LoadResult {
    sum.withLock { sum in
      var result = LoadResult()
      if let tally = sum.tally.take() { result.fill(tally, plan, kind, board) }
      result.busiestThread = sum.busiest
      return result
    }
  }
}
