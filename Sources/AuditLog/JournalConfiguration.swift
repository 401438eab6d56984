// JournalConfiguration holds what one worker's journal is told at its creation. It owns the limits
// and their defaults; what `when_full` does is decided by the caller of `reserve`.
//
// TRAP: (file) the sizes are constants but for the segment's, whose range and alignment the
// configuration's reader has checked.

/// When a record has to be on the device.
public enum Durability: Sendable {
  /// Before the response that it describes is released.
  case beforeResponse
  /// At most one interval later.
  case interval
  /// When the kernel likes: survives the end of the process, not of the machine.
  case none
}

/// The settings of one worker's journal.
public struct JournalConfiguration: Sendable {
  public static let segmentSizeMinimum = 1 << 20

  /// The directory, without a trailing slash.
  public var directory: String
  /// 0 to 999.
  public var worker: Int
  public var run: RunIdentity
  public var durability = Durability.beforeResponse
  /// Between commits with `interval` and `none`.
  public var intervalNanoseconds: Int64 = 200_000_000
  /// Bytes of a segment, a multiple of 4096 and at least `2 * batchSize + 8192`.
  public var segmentSize = 64 << 20
  /// Bytes of a run's first segment: it is prefilled before the first request can be granted, and
  /// 4 MiB take a few milliseconds where 64 MiB would take a start's whole budget of 100 ms.
  public var firstSegmentSize = 4 << 20
  public var segmentAgeNanoseconds: Int64 = 3_600_000_000_000
  /// Bytes of one batch, a multiple of 4096: the largest single write.
  public var batchSize = 256 << 10
  /// Batches in memory, at least 3. Untouched ones cost address space only, and freed ones are
  /// reused last-in first-out, so the default bounds a backlog at 16 MiB and normally touches
  /// three.
  public var batchCount = 64
  /// The longest single record in bytes, at most half a batch: a target of 8 KiB, each byte of it
  /// escaped to six, fits.
  public var recordMaximum = 64 << 10
  /// Under load, the least time between the starts of two commits. A commit costs 10 to 23 µs of
  /// CPU (DESIGN, measured), so 200 µs bound that at about a tenth of one CPU.
  public var gatherWindowNanoseconds: Int64 = 200_000
  /// Bytes of one prefill write, a multiple of 4096.
  public var prefillChunk = 1 << 20
  /// Between attempts after ENOSPC and other failures.
  public var retryNanoseconds: Int64 = 250_000_000
  /// Tries O_DIRECT first.
  public var usesDirectIO = true

  public init(directory: String, worker: Int, run: RunIdentity) {
    self.directory = directory
    self.worker = worker
    self.run = run
  }

  func checkPreconditions() {
    let block = SegmentName.blockSize
    precondition(worker >= 0 && worker <= 999, "worker")
    precondition(batchSize % block == 0 && batchSize >= 2 * block, "batchSize")
    precondition(batchCount >= 3, "batchCount")
    precondition(recordMaximum > 0 && recordMaximum <= batchSize / 2, "recordMaximum")
    for size in [segmentSize, firstSegmentSize] {
      precondition(size % block == 0 && size >= 2 * batchSize + 2 * block, "segmentSize")
    }
    precondition(prefillChunk > 0 && prefillChunk % block == 0, "prefillChunk")
    precondition(intervalNanoseconds > 0 && retryNanoseconds > 0, "interval")
  }
}
