// Journal turns records into sealed batches in segments, as a state machine without I/O: the
// worker's loop asks each lane for its next file operation and reports its completion. It is the
// place where its parts meet: each keeps its own state and tells what happened, and what that means
// for another part stands here and in `Journal+Commit`, `Journal+Segments` and `Journal+Space`.
//
// How it works
//  1. `reserve` claims memory and disk for an exchange's worst case (`Promises`); `append` draws on
//     the claim and writes into the batch that gathers (`RecordAppender`, `BatchPool`).
//  2. `CommitLane` writes one batch at a time: records, a seal, newlines up to the next block
//     (`BatchSealer`), when `CommitSchedule` says so.
//  3. `PrepareLane` keeps one segment ready and as many in reserve as reservations need;
//     `RetireLane` cuts and closes used ones.
//  4. `FillLane` prefills the active segment ahead of the writer; `WatchLane` looks whether the
//     log is still where it was.
//  5. After each completion of lane `commit` the caller first closes the exchanges that
//     `failedThrough` newly covers, and then releases those that `durableSequence` covers.

public import MillraceEngine

/// One worker's audit journal.
public struct Journal: ~Copyable {
  /// Whether the log is where it was.
  enum Presence {
    case present
    /// The directory or the live segment has gone; a commit still uses the segments.
    case losing
    /// Its segments are given up.
    case lost
  }

  private let inPlace = InPlace()
  let configuration: JournalConfiguration
  /// Free room below which another segment is made, in bytes; asked for in every turn.
  let headroom: Int
  let paths: JournalPaths
  var pool: BatchPool
  var appender: RecordAppender
  var promises: Promises
  var schedule: CommitSchedule
  var sealer: BatchSealer
  var segments: LiveSegments
  var mode: WriteMode
  var commit: CommitLane
  var prepare: PrepareLane
  var retire = RetireLane()
  var fill: FillLane
  var watch: WatchLane
  var events = JournalEvents()
  var presence = Presence.present
  var isShuttingDown = false
  /// Which records are settled. With `beforeResponse` and `interval` durable is on the device.
  public internal(set) var marks: CommitMarks

  /// - Parameters:
  ///   - configuration: out-of-range values trap; see its members.
  ///   - recovered: where the worker's chain stands, from `Recovery`.
  public init(configuration: JournalConfiguration, recovered: ChainState) {
    configuration.checkPreconditions()
    // TRAP: recovery made the chain for this worker.
    precondition(recovered.worker == configuration.worker, "the chain of another worker")
    self.configuration = configuration
    headroom = configuration.headroom
    paths = JournalPaths(directory: configuration.directory, worker: configuration.worker)
    pool = BatchPool(
      size: configuration.batchSize, count: configuration.batchCount,
      recordMaximum: configuration.recordMaximum)
    appender = RecordAppender(nextSequence: recovered.nextSequence)
    promises = Promises(
      ordinaryBytes: JournalConfiguration.ordinaryBytes, largeMaximum: configuration.largeBytes)
    schedule = CommitSchedule(configuration)
    sealer = BatchSealer(
      run: configuration.run, worker: configuration.worker, batchSize: configuration.batchSize,
      previousSeal: recovered.previousSeal)
    segments = LiveSegments(batchSize: configuration.batchSize)
    mode = WriteMode(
      durability: configuration.durability, usesDirectIO: configuration.usesDirectIO)
    commit = CommitLane(retryNanoseconds: configuration.retryNanoseconds)
    prepare = PrepareLane(configuration, nextSegment: recovered.nextSegment)
    fill = FillLane(batchSize: configuration.batchSize, stepSize: configuration.prefillStep)
    watch = WatchLane(interval: configuration.watchNanoseconds)
    marks = CommitMarks(through: recovered.nextSequence - 1)
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
    let (sequence, length) = appender.append(
      kind, exchangeID: exchangeID, requestPart: requestPart, response: response,
      wallMicroseconds: wallMicroseconds, to: &pool)
    promises.charge(length, to: &reservation)
    return sequence
  }

  /// Counts one exchange that `when_full: drop` leaves unrecorded; the next batch tells of it.
  public mutating func countDropped() {
    events.counters.dropped &+= 1
    appender.countDropped()
  }

  // MARK: Lanes

  /// The lane's next file operation; nil if there is nothing to do now. Call it for each lane at
  /// the end of every turn of the loop, after the turn's appends.
  /// - Parameter now: monotonic time in nanoseconds, positive.
  public mutating func nextOperation(_ lane: JournalLane, now: Int64) -> JournalOperation? {
    switch lane {
    case .commit: return nextCommitOperation(now)
    case .prepare: return nextPrepareOperation(now)
    case .retire: return retire.nextOperation(busy: fill.busy, paths)
    case .fill: return fill.nextOperation(segments.active, isLost: isLost, now)
    case .watch:
      return isShuttingDown ? nil : watch.nextOperation(isLost: isLost, paths, now)
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
    case .retire: retire.completed(result, &events)
    case .fill: fill.completed(result, buffer, &segments, &events, now)
    case .watch: completedWatch(result: result, status: nil)
    }
  }

  /// True once after batches failed: the exchanges from `failedFirst` to `failedThrough` are to be
  /// closed. Ask after each completion and after `nextOperation` of lane `commit`.
  public mutating func takeFailure() -> Bool { marks.takeFailure() }

  /// The next event for the operator, oldest first. At most 32 are kept; later ones are dropped.
  public mutating func takeNotice() -> JournalNotice? { events.take() }

  /// Monotonic time at which `nextOperation` may have something to do although nothing completed
  /// and nothing was appended; nil if there is no such time. Ask after `nextOperation`.
  public var nextDeadline: Int64? {
    var deadline = commitDeadline
    if prepare.isWanted(demand) { deadline = min(deadline, prepare.retryAt) }
    if !fill.isSubmitted && fill.retryAt != 0 && segments.isStalled {
      deadline = min(deadline, fill.retryAt)
    }
    if !isShuttingDown, let look = watch.deadline { deadline = min(deadline, look) }
    return deadline == Int64.max ? nil : deadline
  }

  // MARK: What is known

  /// Every record up to this sequence has been committed, except those that a failure reported
  /// before covers.
  @inlinable
  public var durableSequence: UInt64 { marks.durableSequence }
  /// The latest range that failed: its exchanges are to be closed unanswered. 0 and 0 if none did.
  @inlinable
  public var failedFirst: UInt64 { marks.failedFirst }
  @inlinable
  public var failedThrough: UInt64 { marks.failedThrough }
  public var counters: JournalCounters { events.counters }
  /// The positive errno of the last failed preparation; 0 once one succeeded.
  public var lastPrepareError: Int32 { events.lastPrepareError }
  var isLost: Bool { presence != .present }

  /// Where the chain stands, as one line of JSON without a newline, for `verify --anchor`; nil
  /// before the first commit of a chain.
  /// - Parameter workers: how many workers this run has.
  public func anchor(workers: Int) -> String? {
    if sealer.previousSeal == .zero { return nil }
    return Anchor(
      run: configuration.run, worker: configuration.worker, workers: workers,
      sequence: marks.durableSequence, seal: sealer.previousSeal
    ).text
  }

  // MARK: End

  /// Stops granting. What is reserved may still be appended; what was appended is committed, the
  /// segment is cut and everything is closed.
  public mutating func beginShutdown() {
    isShuttingDown = true
  }

  /// True when nothing is in memory, in flight or open.
  public var isShutDown: Bool {
    isShuttingDown && pool.isEmpty && commit.isIdle && !segments.active.isOpen
      && !segments.ready.isOpen && retire.isIdle && !prepare.hasOpenFiles && !fill.isSubmitted
      && !watch.isSubmitted
  }
}
