// JournalEvents owns what an operator is told: the totals, the notices that wait to be taken and why
// no segment can be made. Every part of a journal adds to it; none decides by it.

struct JournalEvents: ~Copyable {
  var counters = JournalCounters()
  private var notices = FixedQueue(capacity: 32, filler: JournalNotice.prepareFailed(code: 0))
  /// The positive errno of the last failed preparation; 0 once one succeeded.
  private(set) var lastPrepareError: Int32 = 0

  /// Keeps a notice; it is dropped if too many wait.
  mutating func add(_ notice: JournalNotice) { notices.push(notice) }

  /// The oldest notice.
  mutating func take() -> JournalNotice? { notices.pop() }

  /// A segment could not be made. One notice for a lasting cause, not one per attempt.
  mutating func addPrepareFailure(_ code: Int32) {
    addFillFailure(code)
    lastPrepareError = code
  }

  /// The active segment could not be filled; another one may still be made.
  mutating func addFillFailure(_ code: Int32) {
    counters.prepareFailures &+= 1
    if lastPrepareError != code { notices.push(.prepareFailed(code: code)) }
  }

  /// Nothing can be made where the directory is gone.
  mutating func setPrepareError(_ code: Int32) { lastPrepareError = code }

  mutating func clearPrepareError() { lastPrepareError = 0 }
}
