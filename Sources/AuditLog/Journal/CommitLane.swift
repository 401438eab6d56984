// CommitLane writes one sealed batch at a time into space that was prefilled. It owns the steps of the
// commit in flight and how often each is tried. It never writes a block twice, except to go on with a
// write that came out short, and it tells what became of the batch.
//
// TRAP: (file) the steps are this machine's own, one operation at a time by lane; a result of the
// kernel decides which step follows, by value.

internal import Glibc
internal import MillraceEngine

/// What a completion of the lane means for the batch in flight.
enum CommitOutcome {
  case pending
  case committed(SealedBatch)
  /// What became of its blocks is unknown, so its segment takes no other batch.
  case failed(code: Int32)
}

struct CommitLane: ~Copyable {
  private enum Step { case idle, write, sync, reopen, closeOld }

  /// Attempts of one commit against EINTR, EAGAIN and ENOSPC before it counts as failed.
  private static var attemptsMaximum: Int { 8 }

  private let retryNanoseconds: Int64
  private var step = Step.idle
  private(set) var isSubmitted = false
  private var batch = SealedBatch(count: 0, padding: 0)
  /// Bytes of it that are written.
  private var written = 0
  private var attempts = 0
  /// Monotonic time before which the step is not tried again.
  private(set) var retryAt: Int64 = 0
  /// The descriptor that `closeOld` closes.
  private var oldFile: Int32 = -1

  init(retryNanoseconds: Int64) {
    self.retryNanoseconds = retryNanoseconds
  }

  var isIdle: Bool { step == .idle }
  /// True while the segment's previous descriptor is to be closed.
  var closesFile: Bool { step == .closeOld }

  /// Begins to commit the pool's batch in flight.
  mutating func begin(_ batch: SealedBatch) {
    self.batch = batch
    step = .write
    written = 0
    attempts = 0
    retryAt = 0
  }

  /// Gives up the batch in flight, if there is one; no operation is out.
  mutating func abandon() { step = .idle }

  mutating func nextOperation(
    _ pool: inout BatchPool, _ segment: OpenSegment, _ paths: borrowing JournalPaths,
    _ mode: WriteMode, _ now: Int64
  ) -> JournalOperation? {
    if now < retryAt { return nil }
    isSubmitted = true
    switch step {
    case .write:
      return .write(
        file: segment.file, buffer: pool.lend(), count: batch.count - written,
        offset: segment.used + written, durable: mode.writesDurably)
    case .sync:
      return .sync(file: segment.file, dataOnly: true)
    case .reopen:
      let path = paths.segment(.commit, number: segment.number)
      return .open(path: path, flags: O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, mode: 0)
    case .closeOld:
      return .close(file: oldFile)
    case .idle:
      preconditionFailure("no step in a commit that was started")
    }
  }

  mutating func completed(
    _ result: Int32, _ buffer: consuming FileBuffer?, _ pool: inout BatchPool,
    _ segments: inout LiveSegments, _ mode: inout WriteMode, _ events: inout JournalEvents,
    _ now: Int64
  ) -> CommitOutcome {
    precondition(isSubmitted, "a completion without an operation")
    isSubmitted = false
    if let buffer = buffer.take() { pool.giveBack(buffer) }
    switch step {
    case .write:
      if result < 0 { return refused(-result, segments.active.isDirect, &mode, &events, now) }
      // A write that takes nothing would be repeated for ever.
      if result == 0 { return retryOrFail(EIO, now) }
      return wrote(Int(result), pool, mode, &events, now)
    case .sync:
      return result == 0 ? succeed() : retryOrFail(-result, now)
    case .reopen:
      if result < 0 { return retryOrFail(-result, now) }
      oldFile = segments.reopen(result)
      step = .closeOld
    case .closeOld:
      oldFile = -1
      step = .write
    case .idle:
      preconditionFailure("a completion without an operation of the commit lane")
    }
    return .pending
  }

  private mutating func wrote(
    _ count: Int, _ pool: borrowing BatchPool, _ mode: WriteMode, _ events: inout JournalEvents,
    _ now: Int64
  ) -> CommitOutcome {
    if written + count < batch.count {
      events.counters.shortWrites &+= 1
      // It goes on at a block, as O_DIRECT needs; what was taken of that block is written again
      // alike. The rest moves to the front of the buffer, where a write begins.
      let taken = count & ~(SegmentName.blockSize - 1)
      written += taken
      let base = pool.baseInFlight
      memmove(base, base + taken, batch.count - written)
      // With RWF_DSYNC the parts are durable one by one, so all of them are in the end.
      return count < SegmentName.blockSize ? retryOrFail(EAGAIN, now) : .pending
    }
    written = batch.count
    if !mode.needsSync { return succeed() }
    step = .sync
    attempts = 0
    return .pending
  }

  private mutating func refused(
    _ code: Int32, _ isDirect: Bool, _ mode: inout WriteMode, _ events: inout JournalEvents,
    _ now: Int64
  ) -> CommitOutcome {
    if code == EINVAL && isDirect {
      mode.giveUpDirectIO(code, &events)
      step = .reopen
    } else if (code == EOPNOTSUPP || code == EINVAL) && mode.writesDurably {
      mode.giveUpDurableWrite(code, &events)
      // Parts that were written before without effect on the device are covered by the sync.
    } else {
      return retryOrFail(code, now)
    }
    return .pending
  }

  private mutating func retryOrFail(_ code: Int32, _ now: Int64) -> CommitOutcome {
    attempts += 1
    // A sync that failed has dropped the dirty pages; to try it again would report a success that
    // did not happen (the fsync behaviour of Linux since 4.13). Only EINTR left it undone.
    let isRetriable =
      code == EINTR || (step != .sync && (code == EAGAIN || code == ENOSPC || code == EDQUOT))
    if isRetriable && attempts < Self.attemptsMaximum {
      if code == EAGAIN { retryAt = now + 1_000_000 }
      if code == ENOSPC || code == EDQUOT { retryAt = now + retryNanoseconds }
      return .pending
    }
    step = .idle
    return .failed(code: code)
  }

  private mutating func succeed() -> CommitOutcome {
    step = .idle
    return .committed(batch)
  }
}
