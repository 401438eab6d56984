// The journal's state as copyable values, because an expectation cannot capture the journal itself.

@testable import AuditLog

extension World {
  var durableSequence: UInt64 { journal.durableSequence }
  var failedFirst: UInt64 { journal.failedFirst }
  var failedThrough: UInt64 { journal.failedThrough }
  var counters: JournalCounters { journal.counters }
  var nextDeadline: Int64? { journal.nextDeadline }
  var isShutDown: Bool { journal.isShutDown }
  var lastPrepareError: Int32 { journal.lastPrepareError }
  var guaranteedBytes: Int { journal.pool.guaranteedBytes }
  var promised: [Int] { [journal.promises.bytes, journal.promises.records] }

  func takeNotice() -> JournalNotice? { journal.takeNotice() }

  func reserve(bytes: Int, records: Int = 1) -> ReservationResult {
    journal.reserve(bytes: bytes, records: records)
  }

  func spaceAvailable(bytes: Int, records: Int = 1) -> Bool {
    journal.spaceAvailable(bytes: bytes, records: records)
  }
}
