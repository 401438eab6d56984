// Journal turns records into sealed batches in segments, as a state machine without I/O: the
// worker's loop asks each lane for its next file operation and reports its completion. It owns the
// batches in memory, the chain and the open segments. It refuses what it could not keep: space is
// promised before it is used, and no block that was written is written again.
//
// How it works
//  1. `reserve` claims memory and disk for an exchange's worst case; `append` draws on the claim.
//  2. Lane `commit` writes one batch at a time: records, a seal, newlines up to the next block.
//  3. Lane `prepare` keeps one segment ready and as many in reserve as reservations need; lane
//     `retire` cuts and closes used ones.
//  4. Lane `fill` prefills the active segment ahead of the writer; lane `watch` looks whether the
//     log is still where it was.
//  5. After each completion of lane `commit` the caller first closes the exchanges that
//     `failedThrough` newly covers, and then releases those that `durableSequence` covers.

internal import Glibc
public import MillraceEngine

/// One worker's audit journal.
public struct Journal: ~Copyable {
  let configuration: JournalConfiguration
  var pool: BatchPool
  var digest = SealDigest()
  let paths: JournalPaths
  let prefill: FilePrefill
  let fillBlock: FilePrefill
  var commit = CommitState()
  var prepare = PrepareState()
  var retire = RetireState()
  var fill = FillState()
  var watch = WatchState()
  var active = OpenSegment.none
  var ready = OpenSegment.none
  /// Segments behind the ready one, oldest first, empty, with their space reserved.
  var reserved: FixedQueue<OpenSegment>
  /// What promises may count on in them.
  var reservedDisk = 0
  var retired = FixedQueue(capacity: 8, filler: RetiredSegment(file: -1, number: 0, used: 0))
  var notices = FixedQueue(capacity: 32, filler: JournalNotice.prepareFailed(code: 0))

  var nextSequence: UInt64
  var committedSequence: UInt64
  var nextSegment: UInt64
  var previousSeal: SealHash
  var lostFirst: UInt64 = 0
  var lostLast: UInt64 = 0
  var promisedBytes = 0
  var promisedRecords = 0
  /// The part of `promisedBytes` that large exchanges have.
  var promisedLarge = 0
  /// Drops that no `loss` record has told yet.
  var untoldDrops: UInt64 = 0
  var wallMicroseconds: Int64 = 0
  /// Monotonic time at which the gathering batch was first seen with something in it, or 0.
  var gatherSince: Int64 = 0
  var usesDirectIO: Bool
  var usesDurableWrite: Bool
  /// False once fallocate was refused.
  var reservesSpace = true
  var stalled = false
  /// The directory or the live segment has gone; `isLosing` until its segments are given up.
  var isLost = false
  var isLosing = false
  /// The inode of a directory that could be used instead, or 0.
  var candidateInode: UInt64 = 0
  /// A batch has failed since the caller looked.
  var hasNewFailure = false
  var hasReadiedOne = false
  var shuttingDown = false

  /// Every record up to this sequence has been committed, except those that a failure reported
  /// before covers. With `beforeResponse` and `interval` that is on the device.
  public internal(set) var durableSequence: UInt64
  /// The latest range that failed: its exchanges are to be closed unanswered. 0 and 0 if none did.
  public internal(set) var failedFirst: UInt64 = 0
  public internal(set) var failedThrough: UInt64 = 0
  public internal(set) var counters = JournalCounters()
  /// The positive errno of the last failed preparation; 0 once one succeeded.
  public internal(set) var lastPrepareError: Int32 = 0

  /// - Parameters:
  ///   - configuration: out-of-range values trap; see its members.
  ///   - recovered: where the worker's chain stands, from `Recovery`.
  public init(configuration: JournalConfiguration, recovered: ChainState) {
    configuration.checkPreconditions()
    // TRAP: recovery made the chain for this worker.
    precondition(recovered.worker == configuration.worker, "the chain of another worker")
    self.configuration = configuration
    pool = BatchPool(
      size: configuration.batchSize, count: configuration.batchCount,
      recordMaximum: configuration.recordMaximum)
    paths = JournalPaths(directory: configuration.directory)
    prefill = FilePrefill(capacity: configuration.prefillChunk)
    fillBlock = FilePrefill(capacity: configuration.prefillStep)
    reserved = FixedQueue(capacity: configuration.reservedSegments, filler: .none)
    nextSequence = recovered.nextSequence
    committedSequence = recovered.nextSequence - 1
    durableSequence = recovered.nextSequence - 1
    nextSegment = recovered.nextSegment
    previousSeal = recovered.previousSeal
    usesDirectIO = configuration.usesDirectIO && configuration.durability != .none
    usesDurableWrite = true
  }

  // MARK: Records

  /// Appends one record and returns its sequence.
  /// - Parameters:
  ///   - requestPart: what `RecordWriter.writeRequestPart` wrote; empty for `end` and `abort`.
  ///   - response: nil for `begin`.
  ///   - wallMicroseconds: UTC, since 1970; the record's `time`.
  ///   - reservation: must cover the record; its bytes are deducted.
  public mutating func append(
    _ kind: RecordKind, exchangeID: UInt64, requestPart: UnsafeRawBufferPointer,
    response: ResponseFacts?, wallMicroseconds: Int64, charging reservation: inout Reservation
  ) -> UInt64 {
    // TRAP: an exchange reserves three records before it writes one, and writes at most three.
    precondition(reservation.records > 0, "a record without a reservation")
    self.wallMicroseconds = wallMicroseconds
    if untoldDrops != 0 { tellDrops() }
    let sequence = nextSequence
    var cursor = pool.cursor()
    RecordWriter.writeRecord(
      kind, sequence: sequence, exchangeID: exchangeID, wallMicroseconds: wallMicroseconds,
      requestPart: requestPart, response: response, into: &cursor)
    if cursor.overflowed {
      pool.cut()
      cursor = pool.cursor()
      RecordWriter.writeRecord(
        kind, sequence: sequence, exchangeID: exchangeID, wallMicroseconds: wallMicroseconds,
        requestPart: requestPart, response: response, into: &cursor)
      // TRAP: `RecordWriter`'s bounds are worst cases for the very bytes that are written: each
      // escapes to six at most.
      precondition(!cursor.overflowed, "a record that its reservation did not cover")
    }
    let length = cursor.position
    // TRAP: `RecordWriter`'s bounds are worst cases for the very bytes that are written: each
    // escapes to six at most.
    precondition(length <= reservation.bytes, "a record longer than its reservation")
    reservation.bytes -= length
    reservation.records -= 1
    promisedBytes -= length
    promisedRecords -= 1
    if reservation.isLarge { promisedLarge -= length + Self.recordDiskOverhead }
    pool.advance(length, sequence: sequence)
    nextSequence &+= 1
    return sequence
  }

  private mutating func tellDrops() {
    guard var cursor = pool.lossCursor() else { return }
    RecordWriter.writeLoss(
      sequence: nextSequence, wallMicroseconds: wallMicroseconds, dropped: untoldDrops,
      into: &cursor)
    if cursor.overflowed { return }
    pool.advance(cursor.position, sequence: nextSequence, isLoss: true)
    nextSequence &+= 1
    untoldDrops = 0
  }

  // MARK: Lanes

  /// The lane's next file operation; nil if there is nothing to do now. Call it for each lane at
  /// the end of every turn of the loop, after the turn's appends.
  /// - Parameter now: monotonic time in nanoseconds, positive.
  public mutating func nextOperation(_ lane: JournalLane, now: Int64) -> JournalOperation? {
    switch lane {
    case .commit: nextCommitOperation(now)
    case .prepare: nextPrepareOperation(now)
    case .retire: nextRetireOperation()
    case .fill: nextFillOperation(now)
    case .watch: nextWatchOperation(now)
    }
  }

  /// Reports the one completion of the lane's operation.
  /// - Parameters:
  ///   - result: bytes written, a descriptor, or 0; −errno on failure.
  ///   - buffer: the buffer of a write, nil for all else.
  public mutating func completed(
    _ lane: JournalLane, result: Int32, buffer: consuming FileBuffer?, now: Int64
  ) {
    switch lane {
    case .commit: completedCommit(result, buffer, now)
    case .prepare: completedPrepare(result, buffer, now)
    case .retire: completedRetire(result)
    case .fill: completedFill(result, buffer, now)
    case .watch: completedWatch(result: result, status: nil)
    }
  }

  /// True once after batches failed: the exchanges from `failedFirst` to `failedThrough` are to be
  /// closed. Ask after each completion and after `nextOperation` of lane `commit`.
  public mutating func takeFailure() -> Bool {
    defer { hasNewFailure = false }
    return hasNewFailure
  }

  /// The next event for the operator, oldest first. At most 32 are kept; later ones are dropped.
  public mutating func takeNotice() -> JournalNotice? {
    notices.pop()
  }

  /// Monotonic time at which `nextOperation` may have something to do although nothing completed
  /// and nothing was appended; nil if there is no such time. Ask after `nextOperation`.
  public var nextDeadline: Int64? {
    var deadline = Int64.max
    if !commit.submitted && !commitWaitsForFill {
      if commit.step != .idle {
        deadline = min(deadline, commit.retryAt)
      } else if gatherSince != 0 && !stalled {
        deadline = min(deadline, gatherDue)
      } else if active.isOpen && active.used > 0 && ready.isOpen && pool.isEmpty {
        deadline = min(deadline, active.rotateAt)
      }
    }
    if !prepare.submitted && prepare.step == .idle && (wantsSegment || wantsReady) {
      deadline = min(deadline, prepare.retryAt)
    }
    if !fill.submitted && fill.retryAt != 0 && stalled { deadline = min(deadline, fill.retryAt) }
    if !watch.submitted && !shuttingDown && configuration.watchNanoseconds > 0 {
      deadline = min(deadline, watch.nextAt)
    }
    return deadline == Int64.max ? nil : deadline
  }

  /// Where the chain stands, as one line of JSON without a newline, for `verify --anchor`; nil
  /// before the first commit of a chain.
  /// - Parameter workers: how many workers this run has.
  public func anchor(workers: Int) -> String? {
    if previousSeal == .zero { return nil }
    return Anchor(
      run: configuration.run, worker: configuration.worker, workers: workers,
      sequence: committedSequence, seal: previousSeal
    ).text
  }

  // MARK: End

  /// Stops granting. What is reserved may still be appended; what was appended is committed, the
  /// segment is cut and everything is closed.
  public mutating func beginShutdown() {
    shuttingDown = true
  }

  /// Gives up what could not be committed by the caller's deadline: it counts as failed.
  public mutating func abandonPending() {
    shuttingDown = true
    while !commit.submitted && !pool.isEmpty {
      if pool.inFlight < 0 {
        if pool.waitingCount == 0 { pool.cut() }
        commit.batch = pool.launch()
      }
      commit.step = .idle
      failBatch(code: ECANCELED)
    }
    gatherSince = 0
  }

  /// True when nothing is in memory, in flight or open.
  public var isShutDown: Bool {
    shuttingDown && pool.isEmpty && commit.step == .idle && !active.isOpen && !ready.isOpen
      && reserved.count == 0 && retired.count == 0 && retire.step == .idle
      && prepare.step == .idle && prepare.directory < 0 && !fill.submitted && !watch.submitted
  }
}
