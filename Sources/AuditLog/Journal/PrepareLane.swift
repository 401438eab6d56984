// PrepareLane keeps segments in reserve, as many as reservations need, and one of them ready.
// One in reserve is created under another name, given the disk space of a whole segment, synced, and
// renamed to its own name, durably; it is empty. When its turn comes its front is filled with newlines
// and synced. The lane refuses to count on a segment whose space is not certain; what fails is removed
// and tried again at a later time.
//
// TRAP: (file) the steps are this machine's own, one operation at a time by lane; a result of the
// kernel decides which step follows, by value.

internal import Glibc
internal import MillraceEngine

struct PrepareLane: ~Copyable {
  private enum Step {
    /// From a name for work in progress to a segment in reserve.
    case openDirectory, openFile, allocate, prefill, sync, rename, syncDirectory
    /// From the oldest in reserve to the ready one.
    case fillFront, syncFront
    case idle, closeFailed, unlinkFailed, closeDirectory
  }

  /// The segment that the lane works on.
  private struct Work {
    var file: Int32 = -1
    var number: UInt64 = 0
    var size = 0
    /// Where the newlines end that are being written.
    var fillEnd = 0
    var written = 0
    /// Prefill writes of less than a block since the last one that took more.
    var zeroProgressWrites = 0
    var isRenamed = false
    var isDirect = false
  }

  private let segmentSize: Int
  private let firstSegmentSize: Int
  /// The first batch finds this much of its segment filled; the fill lane goes on from there.
  private let front: Int
  private let retryNanoseconds: Int64
  private let prefill: FilePrefill
  private var step = Step.idle
  private(set) var isSubmitted = false
  private var work = Work()
  /// The name was taken, and what had it was removed.
  private var hasCollided = false
  private var reserve: SegmentReserve
  private var nextSegment: UInt64
  /// False until one segment of this run was made: the first is smaller.
  private var hasMadeOne = false
  /// False once fallocate was refused.
  private var reservesSpace = true
  /// The descriptor of the log's directory, or -1.
  private var directory: Int32 = -1
  /// Monotonic time before which nothing is begun.
  private(set) var retryAt: Int64 = 0
  /// Attempts that failed, one after another, while records waited for the segment.
  private(set) var failuresInARow = 0

  /// - Parameter nextSegment: the number of the first segment.
  init(_ configuration: JournalConfiguration, nextSegment: UInt64) {
    segmentSize = configuration.segmentSize
    firstSegmentSize = min(configuration.firstSegmentSize, configuration.segmentSize)
    front = SegmentName.roundUp(max(configuration.batchSize, configuration.prefillStep))
    retryNanoseconds = configuration.retryNanoseconds
    prefill = FilePrefill(capacity: configuration.prefillChunk)
    reserve = SegmentReserve(
      capacity: configuration.reservedSegments, batchSize: configuration.batchSize)
    self.nextSegment = nextSegment
  }

  /// What promises may count on in the segments in reserve.
  var dependableDisk: Int { reserve.dependableDisk }
  /// True while files of the directory are open.
  var hasOpenFiles: Bool { directory >= 0 || step != .idle || !reserve.isEmpty }

  /// True if the lane would begin something now, or at `retryAt`.
  func isWanted(_ demand: SegmentDemand) -> Bool {
    !isSubmitted && step == .idle && (wantsSegment(demand) || wantsReady(demand))
  }

  /// True at the end, when the ready segment is not needed and nothing in reserve is left: the caller
  /// takes it out.
  func dropsReady(_ demand: SegmentDemand) -> Bool {
    demand.isShuttingDown && demand.isSettled && demand.hasReady && !demand.isLost
      && !isSubmitted && step == .idle && reserve.isEmpty
  }

  /// Begins again without waiting for `retryAt`.
  mutating func retryNow() { retryAt = 0 }

  /// True if another segment should be made now.
  private func wantsSegment(_ demand: SegmentDemand) -> Bool {
    if demand.isLost { return false }
    if demand.isShuttingDown { return demand.endNeedsSegment && reserve.isEmpty }
    if !demand.hasReady && reserve.isEmpty { return true }
    return !reserve.isFull && demand.lacksRoom
  }

  /// True if the oldest segment in reserve should become the ready one.
  private func wantsReady(_ demand: SegmentDemand) -> Bool {
    !demand.isLost && !demand.hasReady && !reserve.isEmpty
      && (!demand.isShuttingDown || demand.endNeedsSegment)
  }

  // MARK: Operations

  mutating func nextOperation(
    _ demand: SegmentDemand, _ segments: inout LiveSegments, _ paths: borrowing JournalPaths,
    _ mode: WriteMode, _ now: Int64
  ) -> JournalOperation? {
    if isSubmitted { return nil }
    if step == .idle && !start(demand, &segments, now) { return nil }
    isSubmitted = true
    switch step {
    case .openDirectory:
      return .open(path: paths.directory, flags: O_RDONLY | O_DIRECTORY | O_CLOEXEC, mode: 0)
    case .openFile:
      work.isDirect = mode.usesDirectIO
      // A name that exists is none of this run's: it is removed, never opened, nor followed.
      return .open(
        path: paths.segment(.preparing, number: work.number),
        flags: O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | mode.openFlags,
        mode: 0o640)
    case .allocate:
      return .allocate(file: work.file, offset: 0, length: work.size)
    case .prefill, .fillFront:
      let count = min(prefill.capacity, work.fillEnd - work.written)
      return .write(
        file: work.file, buffer: prefill.lend(), count: count, offset: work.written,
        durable: false)
    case .sync, .syncFront:
      // The size and the extents are new, and fdatasync covers what is needed to read them back.
      return .sync(file: work.file, dataOnly: true)
    case .rename:
      return .rename(
        from: paths.segment(.preparing, number: work.number),
        to: paths.segment(.prepared, number: work.number))
    case .syncDirectory:
      return .sync(file: directory, dataOnly: false)
    case .closeFailed:
      return .close(file: work.file)
    case .unlinkFailed:
      return .unlink(
        path: paths.segment(work.isRenamed ? .prepared : .preparing, number: work.number))
    case .closeDirectory:
      return .close(file: directory)
    case .idle:
      preconditionFailure("no step in a preparation that was started")
    }
  }

  private mutating func start(
    _ demand: SegmentDemand, _ segments: inout LiveSegments, _ now: Int64
  ) -> Bool {
    if demand.isLost { return startGivingUp(demand) }
    var demand = demand
    if wantsReady(demand), now >= retryAt, let next = reserve.oldest {
      work = Work(
        file: next.file, number: next.number, size: next.size, fillEnd: min(next.size, front),
        written: next.filled, isRenamed: true, isDirect: next.isDirect)
      step = .fillFront
      if work.written < work.fillEnd { return true }
      // It was filled as a whole.
      publish(&segments)
      demand.hasReady = true
    }
    if demand.isShuttingDown && !wantsSegment(demand) { return startClosing(demand) }
    guard wantsSegment(demand), now >= retryAt else { return false }
    let size = hasMadeOne ? segmentSize : firstSegmentSize
    work = Work(number: nextSegment, size: size, fillEnd: size)
    step = directory < 0 ? .openDirectory : .openFile
    return true
  }

  /// The log is lost: what was in reserve goes, and then the directory's descriptor.
  private mutating func startGivingUp(_ demand: SegmentDemand) -> Bool {
    if demand.isLosing { return false }
    return removeReserved() || closeDirectory()
  }

  /// At the end: the ready segment is not needed, and then neither is the directory.
  private mutating func startClosing(_ demand: SegmentDemand) -> Bool {
    guard demand.isSettled else { return false }
    if removeReserved() { return true }
    return demand.hasReady ? false : closeDirectory()
  }

  /// Begins to remove the oldest segment in reserve, if there is one.
  private mutating func removeReserved() -> Bool {
    guard let next = reserve.pop() else { return false }
    work.number = next.number
    work.file = next.file
    work.isRenamed = true
    step = .closeFailed
    return true
  }

  private mutating func closeDirectory() -> Bool {
    guard directory >= 0 else { return false }
    step = .closeDirectory
    return true
  }

  // MARK: Completions

  mutating func completed(
    _ result: Int32, _ buffer: consuming FileBuffer?, _ demand: SegmentDemand,
    _ segments: inout LiveSegments, _ mode: inout WriteMode, _ events: inout JournalEvents,
    _ now: Int64
  ) {
    precondition(isSubmitted, "a completion without an operation")
    isSubmitted = false
    if let buffer = buffer.take() { prefill.giveBack(buffer) }
    if result == -EINTR && step != .closeFailed && step != .closeDirectory { return }
    if result < 0 && isHarmless(-result) { reservesSpace = false }
    if result == -EAGAIN && isPublishing { return }
    // Noted before anything else: what fails or is not needed later goes by its new name.
    if step == .rename && result >= 0 { work.isRenamed = true }
    switch step {
    case .closeFailed:
      work.file = -1
      // A lost log's names are not this run's any more.
      step = demand.isLost ? .idle : .unlinkFailed
    case .unlinkFailed:
      step = .idle
    case .closeDirectory:
      directory = -1
      step = .idle
    default:
      if result < 0 && !isHarmless(-result) {
        failuresInARow = demand.isWaiting ? failuresInARow + 1 : 0
        fail(-result, &mode, &events, now)
      } else if demand.isLost || (isEnd(demand) && !isPublishing) {
        giveUp(max(result, 0))
      } else if isPublishing && demand.isShuttingDown && !demand.endNeedsSegment {
        dropPublished()
      } else {
        advance(max(result, 0), &segments, &mode, &events, now)
      }
    }
  }

  private func isEnd(_ demand: SegmentDemand) -> Bool {
    demand.isShuttingDown && !wantsSegment(demand)
  }

  /// True while the oldest segment in reserve becomes the ready one.
  private var isPublishing: Bool { step == .fillFront || step == .syncFront }

  /// Not needed any more: the journal is shutting down, or its directory has gone.
  private mutating func giveUp(_ result: Int32) {
    switch step {
    case .openDirectory:
      directory = result
      step = .idle
    case .openFile:
      work.file = result
      step = .closeFailed
    case .fillFront, .syncFront: dropPublished()
    default: step = .closeFailed
    }
  }

  /// The oldest segment in reserve is whole: it becomes the ready one.
  private mutating func publish(_ segments: inout LiveSegments) {
    if var segment = reserve.pop() {
      segment.filled = work.fillEnd
      segments.setReady(segment)
      failuresInARow = 0
    }
    work.file = -1
    step = .idle
  }

  /// The oldest segment in reserve is closed and removed instead of becoming the ready one.
  private mutating func dropPublished() {
    _ = reserve.pop()
    step = .closeFailed
  }

  /// Without fallocate a segment is filled as a whole, which reserves its space as well.
  private func isHarmless(_ code: Int32) -> Bool {
    step == .allocate && (code == EOPNOTSUPP || code == ENOSYS)
  }

  private mutating func advance(
    _ result: Int32, _ segments: inout LiveSegments, _ mode: inout WriteMode,
    _ events: inout JournalEvents, _ now: Int64
  ) {
    switch step {
    case .openDirectory:
      directory = result
      step = .openFile
    case .openFile:
      work.file = result
      hasCollided = false
      step = reservesSpace ? .allocate : .prefill
    case .allocate:
      step = reservesSpace ? .sync : .prefill
    case .prefill, .fillFront:
      prefilled(Int(result), &mode, &events, now)
    case .sync:
      step = .rename
    case .rename:
      step = .syncDirectory
    case .syncDirectory:
      var segment = OpenSegment(
        file: work.file, number: work.number, size: work.size, filled: work.written)
      segment.isDirect = work.isDirect
      reserve.push(segment)
      work.file = -1
      nextSegment = work.number + 1
      hasMadeOne = true
      events.clearPrepareError()
      step = .idle
    case .syncFront:
      publish(&segments)
    case .idle, .closeFailed, .unlinkFailed, .closeDirectory:
      preconditionFailure("no such transition in a preparation")
    }
  }

  private mutating func prefilled(
    _ count: Int, _ mode: inout WriteMode, _ events: inout JournalEvents, _ now: Int64
  ) {
    let block = SegmentName.blockSize
    if count < min(prefill.capacity, work.fillEnd - work.written) {
      events.counters.shortWrites &+= 1
      // No progress by whole blocks may be chance once or twice, and then it would be for ever.
      if count < block {
        work.zeroProgressWrites += 1
        if work.zeroProgressWrites == FilePrefill.zeroProgressWritesMaximum {
          fail(EIO, &mode, &events, now)
        }
        return
      }
    }
    work.zeroProgressWrites = 0
    work.written += count & ~(block - 1)
    if work.written == work.fillEnd { step = step == .fillFront ? .syncFront : .sync }
  }

  private mutating func fail(
    _ code: Int32, _ mode: inout WriteMode, _ events: inout JournalEvents, _ now: Int64
  ) {
    if code == EEXIST && step == .openFile && !hasCollided {
      // Something of the name of work in progress: it goes, and the name is tried again at once.
      hasCollided = true
      step = .unlinkFailed
      return
    }
    // Where it could not be removed, that is tried again with the next attempt.
    hasCollided = false
    let isDirectRefused =
      code == EINVAL && work.isDirect
      && (step == .openFile || step == .prefill || step == .fillFront)
    if isDirectRefused {
      mode.giveUpDirectIO(code, &events)
    } else {
      events.addPrepareFailure(code)
      retryAt = now + retryNanoseconds
    }
    switch step {
    case .openDirectory, .openFile: step = .idle
    case .fillFront, .syncFront: dropPublished()
    default: step = .closeFailed
    }
  }
}
