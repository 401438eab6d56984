// CommitMarks owns what became of the records: up to which sequence they are durable, and which range
// was lost. It is what the caller releases and closes exchanges by.

/// How far records are settled.
public struct CommitMarks: Sendable {
  /// Every record up to this sequence has been committed, except those that a failure reported
  /// before covers.
  public private(set) var durableSequence: UInt64
  /// The latest range that failed; 0 and 0 if none did.
  public private(set) var failedFirst: UInt64 = 0
  public private(set) var failedThrough: UInt64 = 0
  /// A batch has failed since the caller looked.
  private var hasNewFailure = false

  /// - Parameter sequence: the last record of the chain so far.
  init(through sequence: UInt64) {
    durableSequence = sequence
  }

  mutating func commit(through sequence: UInt64) { durableSequence = sequence }

  mutating func fail(_ first: UInt64, through last: UInt64) {
    // One range, where one failure follows another before the caller has looked.
    if !hasNewFailure || failedThrough + 1 != first { failedFirst = first }
    failedThrough = last
    hasNewFailure = true
  }

  /// True once after batches failed.
  mutating func takeFailure() -> Bool {
    defer { hasNewFailure = false }
    return hasNewFailure
  }
}
