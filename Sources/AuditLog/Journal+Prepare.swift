// The prepare lane keeps one segment ready: created under another name, given its extents, filled
// with newlines, synced, and only then renamed to its own name, durably. It refuses to show a
// segment that is not whole; what fails is removed and tried again at a later time.
//
// TRAP: (file) the steps are this machine's own, one operation at a time by lane; a result of the
// kernel decides which step follows, by value.

internal import Glibc
internal import MillraceEngine

extension Journal {
  /// True if a segment should be made now.
  var wantsSegment: Bool {
    if ready.isOpen { return false }
    // At shutdown only what is still to be written justifies another one.
    return !shuttingDown || (!pool.isEmpty && (stalled || !active.isOpen))
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
      return .open(
        path: preparingPath, flags: O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | direct, mode: 0o640)
    case .allocate:
      return .allocate(file: prepare.file, offset: 0, length: prepare.size)
    case .prefill:
      let count = min(prefill.capacity, prepare.size - prepare.written)
      return .write(
        file: prepare.file, buffer: prefill.lend(), count: count,
        offset: prepare.written, durable: false)
    case .sync:
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
    paths.segment(.preparing, worker: configuration.worker, number: nextSegment)
  }

  private var preparedPath: UnsafePointer<CChar> {
    paths.segment(.prepared, worker: configuration.worker, number: nextSegment)
  }

  private mutating func startPreparing(_ now: Int64) -> Bool {
    if shuttingDown && !wantsSegment { return startClosing() }
    guard wantsSegment, now >= prepare.retryAt else { return false }
    prepare.step = prepare.directory < 0 ? .openDirectory : .openFile
    prepare.size =
      hasReadiedOne
      ? configuration.segmentSize : min(configuration.firstSegmentSize, configuration.segmentSize)
    prepare.written = 0
    prepare.fruitless = 0
    prepare.renamed = false
    return true
  }

  /// At the end: the ready segment is not needed, and then neither is the directory.
  private mutating func startClosing() -> Bool {
    guard pool.isEmpty, promisedRecords == 0 else { return false }
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
    // Said before anything else: what fails or is not needed later goes by its new name.
    if prepare.step == .rename && result >= 0 { prepare.renamed = true }
    switch prepare.step {
    case .closeFailed:
      prepare.file = -1
      prepare.step = .unlinkFailed
    case .unlinkFailed:
      prepare.step = .idle
    case .closeDirectory:
      prepare.directory = -1
      prepare.step = .idle
    default:
      if result < 0 && !isHarmless(-result) {
        failPreparation(-result, now)
      } else if !wantsSegment && prepare.step != .openDirectory && prepare.step != .openFile {
        // Not needed any more: the journal is shutting down.
        prepare.step = .closeFailed
      } else {
        advancePreparation(max(result, 0), now)
      }
    }
  }

  /// fallocate is a favour to the file system's layout; the prefill is what counts.
  private func isHarmless(_ code: Int32) -> Bool {
    prepare.step == .allocate && (code == EOPNOTSUPP || code == ENOSYS)
  }

  private mutating func advancePreparation(_ result: Int32, _ now: Int64) {
    switch prepare.step {
    case .openDirectory:
      prepare.directory = result
      prepare.step = wantsSegment ? .openFile : .idle
    case .openFile:
      prepare.file = result
      prepare.step = wantsSegment ? .allocate : .closeFailed
    case .allocate:
      prepare.step = .prefill
    case .prefill:
      prefilled(Int(result), now)
    case .sync:
      prepare.step = .rename
    case .rename:
      prepare.step = .syncDirectory
    case .syncDirectory:
      ready = OpenSegment(file: prepare.file, number: nextSegment, size: prepare.size)
      ready.isDirect = prepare.isDirect
      prepare.file = -1
      nextSegment += 1
      hasReadiedOne = true
      lastPrepareError = 0
      prepare.step = .idle
    case .idle, .closeFailed, .unlinkFailed, .closeDirectory:
      preconditionFailure("no such transition in a preparation")
    }
  }

  /// Prefill writes of less than a block, one after the other, that end a preparation.
  private static var fruitlessWrites: Int { 3 }

  private mutating func prefilled(_ count: Int, _ now: Int64) {
    let block = SegmentName.blockSize
    let left = prepare.size - prepare.written
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
    if prepare.written == prepare.size { prepare.step = .sync }
  }

  private mutating func failPreparation(_ code: Int32, _ now: Int64) {
    let directRefused =
      code == EINVAL && prepare.isDirect
      && (prepare.step == .openFile || prepare.step == .prefill)
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
    default: prepare.step = .closeFailed
    }
  }
}
