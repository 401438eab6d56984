// The watch lane looks once a second whether the directory and the live segment still have their
// names. A file that was deleted takes writes for as long as it is open, so without a look answers
// would go on into files that have no name any more. It acts as a full disk does, and recovers alone.

internal import Glibc
public import MillraceEngine

extension Journal {
  /// Between two looks while the log is lost: service comes back as soon as the directory does.
  private static var lostInterval: Int64 { 100_000_000 }

  mutating func nextWatchOperation(_ now: Int64) -> JournalOperation? {
    if watch.submitted || shuttingDown || configuration.watchNanoseconds == 0 { return nil }
    if watch.step == .idle {
      guard now >= watch.nextAt else { return nil }
      watch.nextAt = now + (isLost ? Self.lostInterval : configuration.watchNanoseconds)
      watch.step = .directory
    }
    watch.submitted = true
    if watch.step == .directory { return .status(path: paths.directory) }
    return .status(
      path: paths.segment(.watch, worker: configuration.worker, number: watch.number))
  }

  /// Reports the completion of the watch lane's operation.
  /// - Parameters:
  ///   - result: 0, or −errno.
  ///   - status: what the call brought, where it brought something.
  public mutating func completedWatch(result: Int32, status: FileStatus?) {
    // TRAP: one operation of the lane at a time, and one completion for each: the engine's
    // contract.
    precondition(watch.submitted, "a completion without an operation")
    watch.submitted = false
    if shuttingDown {
      watch.step = .idle
      return
    }
    switch watch.step {
    case .directory: sawDirectory(result, status)
    case .segment: sawSegment(result, status)
    // TRAP: the step was set when the operation that completed was submitted.
    case .idle: preconditionFailure("a completion without a look")
    }
  }

  private mutating func sawDirectory(_ result: Int32, _ status: FileStatus?) {
    watch.step = .idle
    guard let status, result >= 0 else {
      // Anything else, such as EACCES, says nothing about the open files.
      if result == -ENOENT || result == -ENOTDIR { lose(-result, isDirectory: true) }
      return
    }
    let isDirectory = status.mode & UInt16(S_IFMT) == UInt16(S_IFDIR)
    if watch.directoryInode == 0 && isDirectory { watch.directoryInode = status.inode }
    if !isDirectory || status.inode != watch.directoryInode {
      lose(isDirectory ? ENOENT : ENOTDIR, isDirectory: true)
      // Another directory in its place: it is used once this process holds it.
      if isDirectory && !isLosing && !hasOpenFiles { candidateInode = status.inode }
      return
    }
    if isLost {
      if !isLosing && !hasOpenFiles { find(status.inode) }
      return
    }
    let segment = active.isOpen ? active : ready
    guard segment.isOpen else { return }
    if watch.number != segment.number { watch.segmentInode = 0 }
    watch.number = segment.number
    watch.step = .segment
  }

  private mutating func sawSegment(_ result: Int32, _ status: FileStatus?) {
    watch.step = .idle
    // It may have been retired meanwhile, and removed if it was empty.
    guard !isLost, watch.number == active.number || watch.number == ready.number else { return }
    if result == -ENOENT { return lose(ENOENT, isDirectory: false) }
    guard let status, result >= 0 else { return }
    if watch.segmentInode == 0 { watch.segmentInode = status.inode }
    if status.inode != watch.segmentInode || status.links == 0 {
      lose(ENOENT, isDirectory: false)
    }
  }

  /// Nothing more is granted; the segments are given up when no commit uses them.
  private mutating func lose(_ code: Int32, isDirectory: Bool) {
    if isLost { return }
    isLost = true
    isLosing = true
    // With its directory in place the log has room again as soon as another segment is made: requests
    // wait for that. Without it, `when_full` acts at once.
    if isDirectory { lastPrepareError = code }
    watch.nextAt = 0
    counters.lostLogs &+= 1
    notices.push(.logLost(code: code, isDirectory: isDirectory, last: committedSequence))
    giveUpSegments()
  }

  /// Gives up the segments of a log that is lost. Called again while a commit is still in flight.
  mutating func giveUpSegments() {
    guard isLosing, commit.step == .idle else { return }
    isLosing = false
    if active.isOpen { retireLost(active) }
    active = .none
    if ready.isOpen { retireLost(ready) }
    ready = .none
    commit.opensSegment = false
  }

  private mutating func retireLost(_ segment: OpenSegment) {
    // There is room: a segment is opened only while the queue has some for it and for the ready one.
    retired.push(
      RetiredSegment(
        file: segment.file, number: segment.number, used: segment.used, isLost: true))
  }

  /// True while files of the lost directory are open.
  private var hasOpenFiles: Bool {
    prepare.directory >= 0 || prepare.step != .idle || reserved.count > 0
  }

  private mutating func find(_ inode: UInt64) {
    isLost = false
    lastPrepareError = 0
    prepare.retryAt = 0
    watch.directoryInode = inode
    candidateInode = 0
    notices.push(.logFound)
  }

  /// True when another directory has the place of the lost one: the caller takes it for this process
  /// and reports with `adoptDirectory`.
  public var wantsDirectory: Bool { candidateInode != 0 }

  /// The answer to `wantsDirectory`. If the directory could not be taken, it is asked again after the
  /// next look.
  public mutating func adoptDirectory(_ isTaken: Bool) {
    let inode = candidateInode
    candidateInode = 0
    if isTaken && inode != 0 && isLost { find(inode) }
  }
}
