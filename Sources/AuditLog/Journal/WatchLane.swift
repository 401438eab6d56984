// WatchLane looks once a second whether the directory and the live segment still have their
// names. A file that was deleted takes writes for as long as it is open, so without a look answers
// would go on into files that have no name any more. It tells what it saw; what follows from it is
// decided by Journal.

internal import Glibc
internal import MillraceEngine

/// What a look of the lane has shown.
enum WatchFinding {
  /// Nothing that would change anything.
  case nothing
  /// The directory or the live segment has gone; `replacement` is the inode of another directory in
  /// its place, or 0.
  case gone(code: Int32, isDirectory: Bool, replacement: UInt64)
  /// The directory of a lost log is there.
  case back(inode: UInt64)
}

struct WatchLane: ~Copyable {
  private enum Step { case idle, directory, segment }

  /// Between two looks while the log is lost: service comes back as soon as the directory does.
  private static var lostInterval: Int64 { 100_000_000 }

  /// Between two looks; 0: there are none.
  private let interval: Int64
  private var step = Step.idle
  private(set) var isSubmitted = false
  /// Monotonic time of the next look.
  private var nextAt: Int64 = 0
  /// The directory's inode as first seen, or 0.
  private var directoryInode: UInt64 = 0
  /// The segment that is looked at, and its inode as first seen.
  private var number: UInt64 = 0
  private var segmentInode: UInt64 = 0
  /// The inode of a directory that could be used instead, or 0.
  private(set) var candidate: UInt64 = 0

  init(interval: Int64) {
    self.interval = interval
  }

  /// When the lane has something to do, in monotonic nanoseconds; nil if at no such time.
  var deadline: Int64? { isSubmitted || interval == 0 ? nil : nextAt }

  mutating func nextOperation(
    isLost: Bool, _ paths: borrowing JournalPaths, _ now: Int64
  ) -> JournalOperation? {
    if isSubmitted || interval == 0 { return nil }
    if step == .idle {
      guard now >= nextAt else { return nil }
      nextAt = now + (isLost ? Self.lostInterval : interval)
      step = .directory
    }
    isSubmitted = true
    if step == .directory { return .status(path: paths.directory) }
    return .status(path: paths.segment(.watch, number: number))
  }

  mutating func completed(
    _ result: Int32, _ status: FileStatus?, _ segments: LiveSegments, isLost: Bool,
    isShuttingDown: Bool
  ) -> WatchFinding {
    // TRAP: one operation of the lane at a time, and one completion for each: the engine's
    // contract.
    precondition(isSubmitted, "a completion without an operation")
    isSubmitted = false
    let looked = step
    step = .idle
    if isShuttingDown { return .nothing }
    switch looked {
    case .directory: return sawDirectory(result, status, segments, isLost)
    case .segment: return sawSegment(result, status, segments, isLost)
    // TRAP: the step was set when the operation that completed was submitted.
    case .idle: preconditionFailure("a completion without an operation of the watch lane")
    }
  }

  private mutating func sawDirectory(
    _ result: Int32, _ status: FileStatus?, _ segments: LiveSegments, _ isLost: Bool
  ) -> WatchFinding {
    guard let status, result >= 0 else {
      // Anything else, such as EACCES, says nothing about the open files.
      guard result == -ENOENT || result == -ENOTDIR else { return .nothing }
      return .gone(code: -result, isDirectory: true, replacement: 0)
    }
    guard status.mode & UInt16(S_IFMT) == UInt16(S_IFDIR) else {
      return .gone(code: ENOTDIR, isDirectory: true, replacement: 0)
    }
    if directoryInode == 0 { directoryInode = status.inode }
    if status.inode != directoryInode {
      return .gone(code: ENOENT, isDirectory: true, replacement: status.inode)
    }
    if isLost { return .back(inode: status.inode) }
    let segment = segments.active.isOpen ? segments.active : segments.ready
    guard segment.isOpen else { return .nothing }
    if number != segment.number { segmentInode = 0 }
    number = segment.number
    step = .segment
    return .nothing
  }

  private mutating func sawSegment(
    _ result: Int32, _ status: FileStatus?, _ segments: LiveSegments, _ isLost: Bool
  ) -> WatchFinding {
    // It may have been retired meanwhile, and removed if it was empty.
    guard !isLost, number == segments.active.number || number == segments.ready.number else {
      return .nothing
    }
    let gone = WatchFinding.gone(code: ENOENT, isDirectory: false, replacement: 0)
    if result == -ENOENT { return gone }
    guard let status, result >= 0 else { return .nothing }
    if segmentInode == 0 { segmentInode = status.inode }
    return status.inode != segmentInode || status.links == 0 ? gone : .nothing
  }

  /// Looks again as soon as it is asked.
  mutating func lookNow() { nextAt = 0 }

  /// Another directory has the place of the lost one: the caller may take it.
  mutating func offer(_ inode: UInt64) { candidate = inode }

  /// Takes the candidate out; 0 if there is none.
  mutating func takeCandidate() -> UInt64 {
    defer { candidate = 0 }
    return candidate
  }

  /// This directory is the log's from now on.
  mutating func follow(_ inode: UInt64) {
    directoryInode = inode
    candidate = 0
  }
}
