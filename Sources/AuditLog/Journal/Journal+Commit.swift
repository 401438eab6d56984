// When a batch is committed, into which segment, and what follows when it was or was not. The file
// operations in between are CommitLane's.

internal import Glibc
internal import MillraceEngine

extension Journal {
  mutating func nextCommitOperation(_ now: Int64) -> JournalOperation? {
    if commit.isSubmitted { return nil }
    if commit.isIdle && !startCommit(now) { return nil }
    if commitWaitsForFill { return nil }
    return commit.nextOperation(&pool, segments.active, paths, mode, now)
  }

  /// True while the fill lane uses the descriptor that is to be closed.
  private var commitWaitsForFill: Bool {
    commit.closesFile && fill.busy == segments.active.number
  }

  private var gatherDue: Int64 {
    schedule.due(used: pool.gatheringUsed, isShuttingDown: isShuttingDown)
  }

  /// When the lane may have something to do, in monotonic nanoseconds; Int64.max if at no such time.
  var commitDeadline: Int64 {
    if commit.isSubmitted || commitWaitsForFill { return Int64.max }
    if !commit.isIdle { return commit.retryAt }
    if schedule.gatherSince != 0 && !segments.isStalled { return gatherDue }
    let canRotate = segments.active.isOpen && segments.active.used > 0 && segments.ready.isOpen
    return canRotate && pool.isEmpty ? segments.active.rotateAt : Int64.max
  }

  /// Seals the oldest batch for its segment. False if none is due or no segment can take it.
  private mutating func startCommit(_ now: Int64) -> Bool {
    if presence == .losing { giveUpSegments() }
    if isLost {
      failPending(code: ENOENT)
      return false
    }
    if pool.gatheringUsed > 0 { schedule.beginGathering(now) }
    rotateByAge(now)
    if pool.waitingCount == 0 {
      if pool.gatheringUsed == 0 {
        schedule.endGathering()
        retireActiveAtShutdown()
        return false
      }
      guard now >= gatherDue, chooseSegment(now, for: pool.gatheringUsed) else { return false }
      pool.cut()
      schedule.endGathering()
    } else {
      guard chooseSegment(now, for: pool.oldestUsed) else { return false }
      if pool.gatheringUsed == 0 { schedule.endGathering() }
    }
    sealOldest(now)
    return true
  }

  private mutating func sealOldest(_ now: Int64) {
    pool.beginCommit()
    let active = segments.active
    let sealed = sealer.seal(
      pool.batchInFlight, at: pool.baseInFlight, opening: active.used == 0 ? active.number : nil,
      wallMicroseconds: appender.wallMicroseconds)
    commit.begin(sealed)
    schedule.beginCommit(now)
  }

  // MARK: Segments

  /// Makes the active segment one that can take a batch of `used` bytes.
  private mutating func chooseSegment(_ now: Int64, for used: Int) -> Bool {
    let disk = BatchPool.disk(used)
    if segments.hasRoom(disk) {
      // Rarely: the fill lane is a step behind, and its completion asks again.
      if !segments.isFilled(disk) { return stall() }
      segments.setStalled(false)
      return true
    }
    // A step of newlines is whole before another segment is begun: no crash can then leave half of one
    // anywhere but at the end of the chain, where recovery looks.
    if fill.isUnsettled(segments.active.number) {
      segments.setStalled(true)
      return false
    }
    guard segments.ready.isOpen, retire.mayOpen else { return stall() }
    rotate()
    segments.setStalled(false)
    segments.activateReady(rotateAt: now + configuration.segmentAgeNanoseconds)
    return true
  }

  /// A batch has to wait for a segment.
  /// - Returns: false.
  private mutating func stall() -> Bool {
    if segments.setStalled(true) { events.counters.stalls &+= 1 }
    return false
  }

  /// Retires the active segment, which another one follows.
  private mutating func rotate() {
    guard let active = segments.takeActive() else { return }
    retire.push(RetiredSegment(active))
    events.counters.rotations &+= 1
  }

  private mutating func rotateByAge(_ now: Int64) {
    let active = segments.active
    guard active.isOpen, active.used > 0, now >= active.rotateAt, !isShuttingDown,
      !fill.isUnsettled(active.number)
    else { return }
    if readyKeepsPromises && retire.mayOpen {
      rotate()
    } else {
      // What was promised counts on the rest of this segment: look again later.
      segments.postponeRotation(to: now + configuration.retryNanoseconds)
    }
  }

  private mutating func retireActiveAtShutdown() {
    guard isShuttingDown, promises.isEmpty, let active = segments.takeActive() else { return }
    retire.push(RetiredSegment(active))
  }

  // MARK: Outcomes

  mutating func completedCommit(_ result: Int32, _ buffer: consuming FileBuffer?, _ now: Int64) {
    let outcome = commit.completed(result, buffer, &pool, &segments, &mode, &events, now)
    switch outcome {
    case .pending: break
    case .committed(let sealed): succeedBatch(sealed)
    case .failed(let code): failBatch(code: code)
    }
  }

  private mutating func succeedBatch(_ sealed: SealedBatch) {
    let batch = pool.batchInFlight
    segments.commit(sealed.count)
    sealer.commit()
    marks.commit(through: batch.lastSequence)
    schedule.endCommit(records: batch.records)
    events.counters.addCommit(
      records: batch.records, bytes: UInt64(sealed.count), padding: UInt64(sealed.padding))
    pool.endCommit()
  }

  /// The batch is lost: what became of its blocks is unknown, so its segment takes no other batch.
  private mutating func failBatch(code: Int32) {
    let batch = pool.batchInFlight
    marks.fail(batch.firstSequence, through: batch.lastSequence)
    sealer.fail(batch.firstSequence, through: batch.lastSequence)
    events.counters.failedCommits &+= 1
    events.counters.failedRecords &+= batch.records
    events.add(.commitFailed(code: code, first: batch.firstSequence, last: batch.lastSequence))
    // There is room: a segment is opened only while the queue has some.
    if let active = segments.takeActive() { retire.push(RetiredSegment(active)) }
    pool.endCommit()
  }

  /// Everything in memory fails: its exchanges are closed unanswered.
  mutating func failPending(code: Int32) {
    while !pool.isEmpty {
      pool.beginAnyCommit()
      failBatch(code: code)
    }
    schedule.endGathering()
  }

  /// Gives up what could not be committed by the caller's deadline: it counts as failed.
  public mutating func abandonPending() {
    isShuttingDown = true
    if commit.isSubmitted {
      schedule.endGathering()
      return
    }
    commit.abandon()
    failPending(code: ECANCELED)
  }
}
