// The commit lane: one batch at a time, sealed, padded and written into space that was prefilled.
// It decides when a batch is due, moves to the ready segment when the active one cannot take it,
// and turns the kernel's answers into durable or failed sequences. It never writes a block twice,
// except to go on with a write that came out short.
//
// TRAP: (file) the steps are this machine's own, one operation at a time by lane; a result of the
// kernel decides which step follows, by value. A batch keeps room for its seal (BatchPool).

internal import Glibc
internal import MillraceEngine

extension Journal {
  /// Attempts of one commit against EINTR, EAGAIN and ENOSPC before it counts as failed.
  private static var attemptsMaximum: Int { 8 }
  /// A previous batch with more records than this means load, and the gather window applies.
  private static var loadRecords: UInt64 { 4 }

  /// A segment is opened only while the queue behind it has room for it, for the one before it and
  /// for the ready one, so that retiring never finds the queue full.
  private static var retiredBeforeOpening: Int { 5 }

  mutating func nextCommitOperation(_ now: Int64) -> JournalOperation? {
    if commit.submitted { return nil }
    if commit.step == .idle && !startCommit(now) { return nil }
    if commitWaitsForFill { return nil }
    if now < commit.retryAt { return nil }
    commit.submitted = true
    switch commit.step {
    case .write:
      return .write(
        file: active.file, buffer: pool.lend(commit.batch),
        count: commit.count - commit.written, offset: active.used + commit.written,
        durable: usesDurableWrite && configuration.durability != .none)
    case .sync:
      return .sync(file: active.file, dataOnly: true)
    case .reopen:
      let path = paths.segment(
        .commit, worker: configuration.worker, number: active.number)
      return .open(path: path, flags: O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, mode: 0)
    case .closeOld:
      return .close(file: commit.oldFile)
    case .idle:
      preconditionFailure("a started commit has a step")
    }
  }

  /// True while the fill lane uses the descriptor that is to be closed.
  var commitWaitsForFill: Bool { commit.step == .closeOld && isFilling(active.number) }

  /// When the gathering batch is due, in monotonic nanoseconds.
  var gatherDue: Int64 {
    if shuttingDown { return gatherSince }
    switch configuration.durability {
    case .interval, .none:
      return gatherSince + configuration.intervalNanoseconds
    case .beforeResponse:
      let underLoad =
        commit.previousRecords > Self.loadRecords
        && pool.gatheringUsed < configuration.batchSize / 2
      return underLoad ? commit.startedAt + configuration.gatherWindowNanoseconds : gatherSince
    }
  }

  /// Seals the oldest batch for its segment. False if none is due or no segment can take it.
  private mutating func startCommit(_ now: Int64) -> Bool {
    if isLosing { giveUpSegments() }
    if isLost {
      failPending()
      return false
    }
    if pool.gatheringUsed > 0 && gatherSince == 0 { gatherSince = now }
    rotateByAge(now)
    if pool.waitingCount == 0 {
      if pool.gatheringUsed == 0 {
        gatherSince = 0
        finishActiveAtShutdown()
        return false
      }
      if now < gatherDue { return false }
      guard chooseSegment(now, for: pool.gatheringUsed) else { return false }
      pool.cut()
      gatherSince = 0
    } else {
      guard chooseSegment(now, for: pool.oldestUsed) else { return false }
      // The clock of what still gathers starts anew when it is next looked at.
      gatherSince = pool.gatheringUsed > 0 ? gatherSince : 0
    }
    seal(now)
    return true
  }

  /// Makes the active segment one that can take a batch of `used` bytes.
  private mutating func chooseSegment(_ now: Int64, for used: Int) -> Bool {
    if active.isOpen && BatchPool.disk(used) <= active.size - active.used {
      // Rarely: the fill lane is a step behind, and its completion asks again.
      let isFilled = BatchPool.disk(used) <= active.filled - active.used
      if !isFilled && !stalled { counters.stalls &+= 1 }
      stalled = !isFilled
      return isFilled
    }
    // A step of newlines is whole before another segment is begun: no crash can then leave half of one
    // anywhere but at the end of the chain, where recovery looks.
    if isFillUnsettled {
      stalled = true
      return false
    }
    guard ready.isOpen, retired.count < Self.retiredBeforeOpening else {
      if !stalled { counters.stalls &+= 1 }
      stalled = true
      return false
    }
    retireActive()
    stalled = false
    active = ready
    ready = .none
    active.rotateAt = now + configuration.segmentAgeNanoseconds
    commit.opensSegment = true
    return true
  }

  /// What would be written into a lost log fails: its exchanges are closed unanswered.
  private mutating func failPending() {
    while !pool.isEmpty {
      if pool.waitingCount == 0 { pool.cut() }
      commit.batch = pool.launch()
      failBatch(code: ENOENT)
    }
    gatherSince = 0
  }

  private mutating func retireActive() {
    guard active.isOpen else { return }
    retired.push(RetiredSegment(file: active.file, number: active.number, used: active.used))
    active = .none
    counters.rotations &+= 1
  }

  private mutating func rotateByAge(_ now: Int64) {
    guard active.isOpen, active.used > 0, now >= active.rotateAt, !shuttingDown,
      !isFillUnsettled
    else { return }
    if readyKeepsPromises && retired.count < Self.retiredBeforeOpening {
      retireActive()
    } else {
      // What was promised counts on the rest of this segment: look again later.
      active.rotateAt = now + configuration.retryNanoseconds
    }
  }

  private mutating func finishActiveAtShutdown() {
    guard shuttingDown, promisedRecords == 0, active.isOpen else { return }
    retired.push(RetiredSegment(file: active.file, number: active.number, used: active.used))
    active = .none
  }

  /// Adds the header where the batch opens a segment, the seal and the padding.
  private mutating func seal(_ now: Int64) {
    let index = pool.launch()
    let base = pool.base(index)
    let batch = pool.batch(index)
    var used = batch.used
    if commit.opensSegment { used += insertHeader(base, used, batch.firstSequence) }
    digest.begin(after: previousSeal)
    digest.update(UnsafeRawBufferPointer(start: base, count: used))
    let hash = digest.finish()
    var cursor = ByteCursor(base: base + used, capacity: configuration.batchSize - used)
    Seal(
      firstSequence: batch.firstSequence, lastSequence: batch.lastSequence,
      bytes: UInt64(used), previous: previousSeal, hash: hash
    ).write(into: &cursor)
    used += cursor.position
    let padded = BatchPool.roundUp(used)
    precondition(padded <= configuration.batchSize, "a batch without room for its seal")
    memset(base + used, 0x0A, padded - used)
    commit.step = .write
    commit.batch = index
    commit.count = padded
    commit.padding = padded - used
    commit.written = 0
    commit.attempts = 0
    commit.retryAt = 0
    commit.seal = hash
    commit.startedAt = now
  }

  private mutating func insertHeader(
    _ base: UnsafeMutableRawPointer, _ used: Int, _ firstSequence: UInt64
  ) -> Int {
    // SAFETY: records leave SegmentHeader.maximum bytes of every batch free, so that they can move
    // up by the header's length.
    let header = SegmentHeader(
      run: configuration.run, worker: configuration.worker, segment: active.number,
      createdMicroseconds: wallMicroseconds, nextSequence: firstSequence, previous: previousSeal,
      lostFirst: lostFirst, lostLast: lostLast)
    var measure = ByteCursor(base: base, capacity: 0)
    header.write(into: &measure)
    let length = measure.position
    memmove(base + length, base, used)
    var cursor = ByteCursor(base: base, capacity: length)
    header.write(into: &cursor)
    return length
  }

  mutating func completedCommit(
    _ result: Int32, _ buffer: consuming FileBuffer?, _ now: Int64
  ) {
    precondition(commit.submitted, "a completion without an operation")
    commit.submitted = false
    if let buffer = buffer.take() { pool.giveBack(buffer, to: commit.batch) }
    switch commit.step {
    case .write: completedWrite(result, now)
    case .sync:
      if result == 0 { succeedBatch() } else { retryOrFail(-result, now) }
    case .reopen:
      if result >= 0 {
        commit.oldFile = active.file
        active.file = result
        active.isDirect = false
        commit.step = .closeOld
      } else {
        retryOrFail(-result, now)
      }
    case .closeOld:
      commit.oldFile = -1
      commit.step = .write
    case .idle:
      preconditionFailure("a completion without a commit")
    }
  }

  private mutating func completedWrite(_ result: Int32, _ now: Int64) {
    if result < 0 {
      refusedWrite(-result, now)
      return
    }
    // A write that takes nothing would be repeated for ever.
    if result == 0 {
      retryOrFail(EIO, now)
      return
    }
    if commit.written + Int(result) < commit.count {
      counters.shortWrites &+= 1
      // It goes on at a block, as O_DIRECT needs; what was taken of that block is written again
      // alike. The rest moves to the front of the buffer, where a write begins.
      let taken = Int(result) & ~(SegmentName.blockSize - 1)
      commit.written += taken
      let base = pool.base(commit.batch)
      memmove(base, base + taken, commit.count - commit.written)
      // With RWF_DSYNC the parts are durable one by one, so all of them are in the end.
      if Int(result) < SegmentName.blockSize { retryOrFail(EAGAIN, now) }
      return
    }
    commit.written = commit.count
    if configuration.durability != .none && !usesDurableWrite {
      commit.step = .sync
      commit.attempts = 0
    } else {
      succeedBatch()
    }
  }

  private mutating func refusedWrite(_ code: Int32, _ now: Int64) {
    if code == EINVAL && active.isDirect {
      giveUpDirectIO(code)
      commit.step = .reopen
    } else if (code == EOPNOTSUPP || code == EINVAL) && usesDurableWrite
      && configuration.durability != .none
    {
      usesDurableWrite = false
      notices.push(.durableWriteUnavailable(code: code))
      // Parts that were written before without effect on the device are covered by the sync.
    } else {
      retryOrFail(code, now)
    }
  }

  /// Buffered writes and a sync from now on; said once.
  mutating func giveUpDirectIO(_ code: Int32) {
    if usesDirectIO { notices.push(.directIOUnavailable(code: code)) }
    usesDirectIO = false
    usesDurableWrite = false
  }

  private mutating func retryOrFail(_ code: Int32, _ now: Int64) {
    commit.attempts += 1
    // A sync that failed has dropped the dirty pages; to try it again would report a success that
    // did not happen (the fsync behaviour of Linux since 4.13). Only EINTR left it undone.
    let retriable =
      code == EINTR
      || (commit.step != .sync && (code == EAGAIN || code == ENOSPC || code == EDQUOT))
    if retriable && commit.attempts < Self.attemptsMaximum {
      if code == EAGAIN { commit.retryAt = now + 1_000_000 }
      if code == ENOSPC || code == EDQUOT { commit.retryAt = now + configuration.retryNanoseconds }
      return
    }
    failBatch(code: code)
  }

  private mutating func succeedBatch() {
    let batch = pool.batch(commit.batch)
    active.used += commit.count
    previousSeal = commit.seal
    committedSequence = batch.lastSequence
    durableSequence = batch.lastSequence
    counters.records &+= batch.records
    counters.commits &+= 1
    counters.bytes &+= UInt64(commit.count)
    counters.padding &+= UInt64(commit.padding)
    counters.recordsPerBatchMax = max(counters.recordsPerBatchMax, batch.records)
    counters.bytesPerBatchMax = max(counters.bytesPerBatchMax, UInt64(commit.count))
    commit.previousRecords = batch.records
    commit.step = .idle
    commit.opensSegment = false
    lostFirst = 0
    lostLast = 0
    pool.land()
  }

  /// The batch is lost: what became of its blocks is unknown, so its segment takes no other batch.
  mutating func failBatch(code: Int32) {
    let batch = pool.batch(commit.batch)
    // One range, where one failure follows another before the caller has looked.
    if !hasNewFailure || failedThrough + 1 != batch.firstSequence {
      failedFirst = batch.firstSequence
    }
    failedThrough = batch.lastSequence
    hasNewFailure = true
    if lostLast == 0 { lostFirst = batch.firstSequence }
    lostLast = batch.lastSequence
    counters.failedCommits &+= 1
    counters.failedRecords &+= batch.records
    notices.push(
      .commitFailed(code: code, first: batch.firstSequence, last: batch.lastSequence))
    // There is room: a segment is opened only while the queue has some.
    if active.isOpen {
      retired.push(RetiredSegment(file: active.file, number: active.number, used: active.used))
      active = .none
    }
    commit.step = .idle
    commit.opensSegment = false
    commit.retryAt = 0
    pool.land()
  }
}
