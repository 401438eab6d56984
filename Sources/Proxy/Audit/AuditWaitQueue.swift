// The connections whose request waits for room in the audit log, first come, first served. They are
// looked at in rounds: one that has to wait on is appended again, for the next round.

/// A queue of connection slots, read in rounds.
struct AuditWaitQueue {
  private var waiting: [UInt32] = []
  private var round: [UInt32] = []
  private var next = 0

  var isEmpty: Bool { waiting.isEmpty }

  mutating func append(_ slot: UInt32) { waiting.append(slot) }

  /// Begins a round of all that wait now; the last one must have been taken to its end.
  mutating func beginRound() {
    assert(next == round.count, "a round that was not finished")
    round.removeAll(keepingCapacity: true)
    swap(&waiting, &round)
    next = 0
  }

  /// The next of the round, or nil at its end.
  mutating func take() -> UInt32? {
    guard next < round.count else { return nil }
    defer { next += 1 }
    return round[next]
  }
}
