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
  public static var segmentSizeMinimum: Int { 1 << 20 }

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
  /// reused last-in first-out: normally three are touched. `fit` sizes them for what may be open.
  public var batchCount = 64
  /// Batches that may wait for the device before nothing more is granted: 16 MiB of backlog.
  public var backlogBatches = 64
  /// The longest single record in bytes, at most half a batch: the longest that `RecordWriter` makes
  /// (38.6 KiB), rounded up.
  public var recordMaximum = 40 << 10
  /// Bytes of disk that exchanges with more than `ordinaryRequestPart` may have reserved together. What
  /// they take beyond that is taken from one another and from no ordinary exchange.
  public var largeBytes = 32 << 20
  /// Segments in reserve beside the ready one, at most; `fit` derives it.
  public var reservedSegments = 8
  /// Under load, the least time between the starts of two commits. A commit costs 10 to 23 µs of
  /// CPU (DESIGN, measured), so 200 µs bound that at about a tenth of one CPU.
  public var gatherWindowNanoseconds: Int64 = 200_000
  /// Bytes of one prefill write where a whole segment is filled before use, because its space cannot
  /// be reserved otherwise; a multiple of 4096.
  public var prefillChunk = 1 << 20
  /// Bytes by which the active segment is prefilled ahead of the writer, a multiple of 4096. A reader
  /// of the live log skips one batch and one step of newlines at most. A commit costs the same as into
  /// a segment that was filled as a whole (10.5 to 11.0 µs against 11.2, docs/performance.md).
  public var prefillStep = 256 << 10
  /// Between attempts after ENOSPC and other failures.
  public var retryNanoseconds: Int64 = 250_000_000
  /// Between two looks whether the log is still where it was; 0: it is never looked. Two calls a
  /// second cost nothing that can be measured.
  public var watchNanoseconds: Int64 = 1_000_000_000
  /// Tries O_DIRECT first.
  public var usesDirectIO = true

  public init(directory: String, worker: Int, run: RunIdentity) {
    self.directory = directory
    self.worker = worker
    self.run = run
  }

  /// Bytes of a request part up to which an exchange is ordinary: nearly all that are not attacks.
  public static var ordinaryRequestPart: Int { 1024 }
  /// Segments in reserve at the very most. Each is an open file.
  private static var reservedSegmentsMaximum: Int { 64 }

  /// The most that one ordinary exchange reserves.
  static var ordinaryBytes: Int {
    RecordWriter.exchangeMaximum(requestPart: ordinaryRequestPart)
  }
  /// The disk that it reserves: each record may have a batch of its own.
  private static var ordinaryDisk: Int {
    ordinaryBytes + RecordWriter.exchangeRecords * Promises.recordDiskOverhead
  }
  /// Bytes of a whole segment that reservations may count on.
  var dependableBytes: Int {
    max(SegmentName.blockSize, segmentSize - batchSize - SegmentName.blockSize)
  }

  /// Free room below which another segment is made: half of one, so that requests go on being
  /// granted meanwhile, and enough for the largest reservation.
  var headroom: Int {
    let largest =
      recordMaximum + 2 * (RecordWriter.framingMaximum + RecordWriter.responsePartMaximum)
      + RecordWriter.exchangeRecords * Promises.recordDiskOverhead
    return max(dependableBytes / 2, largest)
  }

  /// Sizes memory and segments so that this many ordinary exchanges can be open, all at their worst,
  /// and large ones beside them. Memory that is never used costs address space only.
  /// - Returns: how many can be; less than asked where `segmentSize` is small.
  @discardableResult
  public mutating func fit(exchanges: Int) -> Int {
    let bytes = exchanges * Self.ordinaryBytes + largeBytes
    batchCount = backlogBatches + 2 + (bytes + batchRoom - 1) / batchRoom
    let wanted = (disk(exchanges) + dependableBytes - 1) / dependableBytes
    reservedSegments = max(1, min(Self.reservedSegmentsMaximum, wanted))
    let left = reservedSegments * dependableBytes - disk(0)
    return max(0, min(exchanges, left / Self.ordinaryDisk))
  }

  /// The least `segmentSize` with which `fit` has room for this many.
  public func segmentSize(serving exchanges: Int) -> Int {
    let most = Self.reservedSegmentsMaximum
    return (disk(exchanges) + most - 1) / most + batchSize + 2 * SegmentName.blockSize
  }

  /// Disk for this many ordinary exchanges, and for the large ones beside them.
  private func disk(_ exchanges: Int) -> Int { exchanges * Self.ordinaryDisk + largeBytes }

  /// Bytes of records that one batch takes in any case.
  private var batchRoom: Int {
    batchSize - SegmentHeader.maximum - Seal.maximum - RecordWriter.lossMaximum - recordMaximum
  }

  func checkPreconditions() {
    let block = SegmentName.blockSize
    precondition(worker >= 0 && worker <= 999, "worker number out of range")
    precondition(batchSize % block == 0 && batchSize >= 2 * block, "batchSize out of range")
    precondition(batchCount >= 3, "batchCount out of range")
    precondition(recordMaximum > 0 && recordMaximum <= batchSize / 2, "recordMaximum out of range")
    for size in [segmentSize, firstSegmentSize] {
      precondition(
        size % block == 0 && size >= 2 * batchSize + 2 * block, "segmentSize out of range")
    }
    precondition(prefillChunk > 0 && prefillChunk % block == 0, "prefillChunk out of range")
    precondition(prefillStep > 0 && prefillStep % block == 0, "prefillStep out of range")
    precondition(
      backlogBatches > 0 && reservedSegments > 0 && largeBytes >= 0, "capacity out of range")
    precondition(intervalNanoseconds > 0 && retryNanoseconds > 0, "intervals must be positive")
  }
}
