// When to reload without being asked: the files that the configuration is made of are watched, looked at a
// moment after they have changed, and compared, so that only other content counts.

import MillraceEngine
import TLS

struct ReloadWatch: ~Copyable {
  /// How often files are looked at that the kernel does not watch.
  private static let pollNanoseconds: Int64 = 5_000_000_000

  private var watch: FileWatch?
  private var paths: [String] = []
  /// Of the paths, when they were looked at; none: not yet.
  private var digests: [String: [UInt8]] = [:]
  private var debounce = ReloadDebounce()
  private var pollAt = Int64.max

  /// To wait for; negative: nothing.
  private(set) var descriptor: Int32 = -1

  /// When to look although nothing was told, in monotonic nanoseconds.
  var deadline: Int64 { min(debounce.deadline, pollAt) }

  /// Watches files.
  /// - Parameters:
  ///   - files: nil: none is watched.
  ///   - looksAgain: those that were not watched before are looked at once more, since they may have changed
  ///     between their reading and this.
  mutating func follow(_ files: [String]?, looksAgain: Bool, now: Int64) {
    guard let files else {
      self = ReloadWatch()
      return
    }
    if watch == nil, let made = FileWatch() {
      descriptor = made.descriptor
      watch = consume made
    }
    paths = files
    watch?.watch(paths)
    pollAt = watch?.isComplete == true ? .max : now + Self.pollNanoseconds
    for path in paths where digests[path] == nil {
      if looksAgain { debounce.note(now: now) } else { digests[path] = FileDigest.of(path) }
    }
  }

  /// Takes what the kernel has told. - Returns: whether the files are other ones than at the last look.
  mutating func look(now: Int64) -> Bool {
    if watch?.takeChanges() == true { debounce.note(now: now) }
    let isPoll = now >= pollAt
    guard debounce.takeDue(now: now) || isPoll else { return false }
    // Links may lead elsewhere now.
    watch?.watch(paths)
    if isPoll { pollAt = now + Self.pollNanoseconds }
    let found = Dictionary(paths.map { ($0, FileDigest.of($0)) }) { first, _ in first }
    defer { digests = found }
    return found != digests
  }
}
