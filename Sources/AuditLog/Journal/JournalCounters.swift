// JournalCounters and JournalNotice are what an operator sees of a journal: totals since the start,
// and events that deserve a log line. Neither allocates.

/// Totals since the journal's creation.
public struct JournalCounters: Equatable, Sendable {
  /// Records committed.
  public var records: UInt64 = 0
  /// Batches committed.
  public var commits: UInt64 = 0
  /// Bytes committed: records, seals and padding.
  public var bytes: UInt64 = 0
  /// Bytes of padding in them.
  public var padding: UInt64 = 0
  /// Times a batch had to wait for a segment.
  public var stalls: UInt64 = 0
  /// Batches, and records in them, whose commit failed.
  public var failedCommits: UInt64 = 0
  public var failedRecords: UInt64 = 0
  /// Exchanges that `when_full: drop` left unrecorded.
  public var dropped: UInt64 = 0
  /// Reservations refused for want of memory or of disk.
  public var refusedMemory: UInt64 = 0
  public var refusedDisk: UInt64 = 0
  /// Segments that followed another one.
  public var rotations: UInt64 = 0
  /// Attempts to prepare, or to cut and close, a segment that failed.
  public var prepareFailures: UInt64 = 0
  public var retireFailures: UInt64 = 0
  /// Times the directory or the live segment was found gone.
  public var lostLogs: UInt64 = 0
  /// Writes that took less than was asked.
  public var shortWrites: UInt64 = 0
  /// The largest number of records and of bytes in one batch.
  public var recordsPerBatchMax: UInt64 = 0
  public var bytesPerBatchMax: UInt64 = 0

  public init() {}

  /// Counts a batch that is committed.
  mutating func addCommit(records: UInt64, bytes: UInt64, padding: UInt64) {
    self.records &+= records
    commits &+= 1
    self.bytes &+= bytes
    self.padding &+= padding
    recordsPerBatchMax = max(recordsPerBatchMax, records)
    bytesPerBatchMax = max(bytesPerBatchMax, bytes)
  }
}

/// An event worth a log line. Codes are positive errno values.
public enum JournalNotice: Equatable, Sendable {
  /// The file system refuses O_DIRECT; writes are buffered and followed by fdatasync.
  case directIOUnavailable(code: Int32)
  /// The kernel or file system refuses RWF_DSYNC; writes are followed by fdatasync.
  case durableWriteUnavailable(code: Int32)
  /// A batch was lost; the exchanges in it are to be closed unanswered.
  case commitFailed(code: Int32, first: UInt64, last: UInt64)
  /// The next segment could not be made; it is tried again.
  case prepareFailed(code: Int32)
  /// A segment could not be cut or closed; its content is safe.
  case retireFailed(code: Int32)
  /// The directory, or the live segment in it, is not there any more: records up to `last` may be
  /// gone with it.
  case logLost(code: Int32, isDirectory: Bool, last: UInt64)
  /// The directory is there again.
  case logFound
}
