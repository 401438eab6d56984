// The prepare lane keeps segments in reserve, as many as reservations need, and one of them ready.
// One in reserve is created under another name, given the disk space of a whole segment, synced, and
// renamed to its own name, durably; it is empty. When its turn comes its front is filled with newlines
// and synced. The lane refuses to count on a segment whose space is not certain; what fails is removed
// and tried again at a later time.
//
// TRAP: (file) the steps are this machine's own, one operation at a time by lane; a result of the
// kernel decides which step follows, by value.

internal import Glibc
internal import MillraceEngine

extension Journal {
  /// At shutdown only what is still to be written justifies another segment.
  private var endNeedsSegment: Bool {
    !ready.isOpen && !pool.isEmpty && (stalled || !active.isOpen)
  }

  /// True if another segment should be made now.
  var wantsSegment: Bool {
    if isLost { return false }
    if shuttingDown { return endNeedsSegment && reserved.count == 0 }
    if !ready.isOpen && reserved.count == 0 { return true }
    return !reserved.isFull && dependableDisk - promisedDisk < headroom
  }

  /// True if the oldest segment in reserve should become the ready one.
  var wantsReady: Bool {
    !isLost && !ready.isOpen && reserved.count > 0 && (!shuttingDown || endNeedsSegment)
  }

  mutating func nextPrepareOperation(_ now: Int64) -> JournalOperation? {
    if prepare.submitted { return nil }
    if prepare.step == .idle && !startPreparing(now) { return nil }
    prepare.submitted = true
    switch prepare.step {
    case .openDirectory:
      return .open(path: paths.directory, flags: O_RDONLY | O_DIRECTORY | O_CLOEXEC, mode: 0)
    case .openFile:
      prepare.isDirect = usesDirectIO
      let direct = usesDirectIO ? Self.directFlag : 0
      // A name that exists is none of this run's: it is removed, never opened, nor followed.
      return .open(
        path: preparingPath,
        flags: O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | direct, mode: 0o640)
    case .allocate:
      return .allocate(file: prepare.file, offset: 0, length: prepare.size)
    case .prefill, .fillFront:
      let count = min(prefill.capacity, prepare.fillEnd - prepare.written)
      return .write(
        file: prepare.file, buffer: prefill.lend(), count: count,
        offset: prepare.written, durable: false)
    case .sync, .syncFront:
      // The size and the extents are new, and fdatasync covers what is needed to read them back.
      return .sync(file: prepare.file, dataOnly: true)
    case .rename:
      return .rename(from: preparingPath, to: preparedPath)
    case .syncDirectory:
      return .sync(file: prepare.directory, dataOnly: false)
    case .closeFailed:
      return .close(file: prepare.file)
    case .unlinkFailed:
      return .unlink(path: prepare.renamed ? preparedPath : preparingPath)
    case .closeDirectory:
      return .close(file: prepare.directory)
    case .idle:
      preconditionFailure("a started preparation has a step")
    }
  }

  /// O_DIRECT, which differs between architectures.
  static var directFlag: Int32 {
    #if arch(arm64)
      0o200000
    #else
      0o40000
    #endif
  }

  private var preparingPath: UnsafePointer<CChar> {
    paths.segment(.preparing, worker: configuration.worker, number: prepare.number)
  }

  private var preparedPath: UnsafePointer<CChar> {
    paths.segment(.prepared, worker: configuration.worker, number: prepare.number)
  }

  private mutating func startPreparing(_ now: Int64) -> Bool {
    if isLost { return startGivingUp() }
    if wantsReady, now >= prepare.retryAt, let next = reserved.peek() {
      prepare.number = next.number
      prepare.file = next.file
      prepare.isDirect = next.isDirect
      prepare.renamed = true
      prepare.written = next.filled
      prepare.fillEnd = min(next.size, front)
      prepare.fruitless = 0
      prepare.step = .fillFront
      if prepare.written < prepare.fillEnd { return true }
      // It was filled as a whole.
      publish()
    }
    if shuttingDown && !wantsSegment { return startClosing() }
    guard wantsSegment, now >= prepare.retryAt else { return false }
    prepare.step = prepare.directory < 0 ? .openDirectory : .openFile
    prepare.number = nextSegment
    prepare.size =
      hasReadiedOne
      ? configuration.segmentSize : min(configuration.firstSegmentSize, configuration.segmentSize)
    prepare.fillEnd = prepare.size
    prepare.written = 0
    prepare.fruitless = 0
    prepare.renamed = false
    return true
  }

  /// The first batch finds this much of its segment filled; the fill lane goes on from there.
  private var front: Int {
    BatchPool.roundUp(max(configuration.batchSize, configuration.prefillStep))
  }

  /// The log is lost: what was in reserve goes, and then the directory's descriptor.
  private mutating func startGivingUp() -> Bool {
    if isLosing { return false }
    if takeReserved() { return true }
    guard prepare.directory >= 0 else { return false }
    prepare.step = .closeDirectory
    return true
  }

  /// Begins to remove the oldest segment in reserve, if there is one.
  private mutating func takeReserved() -> Bool {
    guard let next = popReserved() else { return false }
    prepare.number = next.number
    prepare.file = next.file
    prepare.renamed = true
    prepare.step = .closeFailed
    return true
  }

  private mutating func popReserved() -> OpenSegment? {
    guard let next = reserved.pop() else { return nil }
    reservedDisk -= dependable(next)
    return next
  }

  /// At the end: the ready segment is not needed, and then neither is the directory.
  private mutating func startClosing() -> Bool {
    guard pool.isEmpty, promisedRecords == 0 else { return false }
    if takeReserved() { return true }
    if ready.isOpen {
      if retired.push(RetiredSegment(file: ready.file, number: ready.number, used: 0)) {
        ready = .none
      }
      return false
    }
    guard prepare.directory >= 0 else { return false }
    prepare.step = .closeDirectory
    return true
  }

  mutating func completedPrepare(
    _ result: Int32, _ buffer: consuming FileBuffer?, _ now: Int64
  ) {
    precondition(prepare.submitted, "a completion without an operation")
    prepare.submitted = false
    if let buffer = buffer.take() { prefill.giveBack(buffer) }
    if result == -EINTR && prepare.step != .closeFailed && prepare.step != .closeDirectory {
      return
    }
    if result < 0 && isHarmless(-result) { reservesSpace = false }
    if result == -EAGAIN && isPublishing { return }
    // Said before anything else: what fails or is not needed later goes by its new name.
    if prepare.step == .rename && result >= 0 { prepare.renamed = true }
    switch prepare.step {
    case .closeFailed:
      prepare.file = -1
      // A lost log's names are not this run's any more.
      prepare.step = isLost ? .idle : .unlinkFailed
    case .unlinkFailed:
      prepare.step = .idle
    case .closeDirectory:
      prepare.directory = -1
      prepare.step = .idle
    default:
      if result < 0 && !isHarmless(-result) {
        failPreparation(-result, now)
      } else if isLost || (shuttingDown && !wantsSegment && !isPublishing) {
        giveUpPreparation(max(result, 0))
      } else if isPublishing && shuttingDown && !endNeedsSegment {
        dropPublished()
      } else {
        advancePreparation(max(result, 0), now)
      }
    }
  }

  /// True while the oldest segment in reserve becomes the ready one.
  private var isPublishing: Bool { prepare.step == .fillFront || prepare.step == .syncFront }

  /// Not needed any more: the journal is shutting down, or its directory has gone.
  private mutating func giveUpPreparation(_ result: Int32) {
    switch prepare.step {
    case .openDirectory:
      prepare.directory = result
      prepare.step = .idle
    case .openFile:
      prepare.file = result
      prepare.step = .closeFailed
    case .fillFront, .syncFront: dropPublished()
    default: prepare.step = .closeFailed
    }
  }

  /// The oldest segment in reserve is whole: it becomes the ready one.
  private mutating func publish() {
    if var segment = popReserved() {
      segment.filled = prepare.fillEnd
      ready = segment
    }
    prepare.file = -1
    prepare.step = .idle
  }

  /// The oldest segment in reserve is closed and removed instead of becoming the ready one.
  private mutating func dropPublished() {
    _ = popReserved()
    prepare.step = .closeFailed
  }

  /// Without fallocate a segment is filled as a whole, which reserves its space as well.
  private func isHarmless(_ code: Int32) -> Bool {
    prepare.step == .allocate && (code == EOPNOTSUPP || code == ENOSYS)
  }

  private mutating func advancePreparation(_ result: Int32, _ now: Int64) {
    switch prepare.step {
    case .openDirectory:
      prepare.directory = result
      prepare.step = .openFile
    case .openFile:
      prepare.file = result
      prepare.collided = false
      prepare.step = reservesSpace ? .allocate : .prefill
    case .allocate:
      prepare.step = reservesSpace ? .sync : .prefill
    case .prefill, .fillFront:
      prefilled(Int(result), now)
    case .sync:
      prepare.step = .rename
    case .rename:
      prepare.step = .syncDirectory
    case .syncDirectory:
      var segment = OpenSegment(
        file: prepare.file, number: prepare.number, size: prepare.size, filled: prepare.written)
      segment.isDirect = prepare.isDirect
      reserved.push(segment)
      reservedDisk += dependable(segment)
      prepare.file = -1
      nextSegment = prepare.number + 1
      hasReadiedOne = true
      lastPrepareError = 0
      prepare.step = .idle
    case .syncFront:
      publish()
    case .idle, .closeFailed, .unlinkFailed, .closeDirectory:
      preconditionFailure("no such transition in a preparation")
    }
  }

  /// Prefill writes of less than a block, one after the other, that end a preparation.
  static var fruitlessWrites: Int { 3 }

  private mutating func prefilled(_ count: Int, _ now: Int64) {
    let block = SegmentName.blockSize
    let left = prepare.fillEnd - prepare.written
    if count < min(prefill.capacity, left) {
      counters.shortWrites &+= 1
      // No progress by whole blocks may be chance once or twice, and then it would be for ever.
      if count < block {
        prepare.fruitless += 1
        if prepare.fruitless == Self.fruitlessWrites { failPreparation(EIO, now) }
        return
      }
    }
    prepare.fruitless = 0
    prepare.written += count & ~(block - 1)
    if prepare.written == prepare.fillEnd {
      prepare.step = prepare.step == .fillFront ? .syncFront : .sync
    }
  }

  private mutating func failPreparation(_ code: Int32, _ now: Int64) {
    if code == EEXIST && prepare.step == .openFile && !prepare.collided {
      // Something of the name of work in progress: it goes, and the name is tried again at once.
      prepare.collided = true
      prepare.step = .unlinkFailed
      return
    }
    // Where it could not be removed, that is tried again with the next attempt.
    prepare.collided = false
    let directRefused =
      code == EINVAL && prepare.isDirect
      && (prepare.step == .openFile || prepare.step == .prefill || prepare.step == .fillFront)
    if directRefused {
      giveUpDirectIO(code)
    } else {
      counters.prepareFailures &+= 1
      // One line for a lasting cause, not one per attempt.
      if lastPrepareError != code { notices.push(.prepareFailed(code: code)) }
      lastPrepareError = code
      prepare.retryAt = now + configuration.retryNanoseconds
    }
    switch prepare.step {
    case .openDirectory: prepare.step = .idle
    case .openFile: prepare.step = .idle
    case .fillFront, .syncFront: dropPublished()
    default: prepare.step = .closeFailed
    }
  }
}
