// When to reload without being asked: the files that the configuration is made of are watched, looked at a
// moment after they have changed, and compared, so that only other content counts.

import Configuration
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

  /// Watches the files of a configuration.
  /// - Parameters:
  ///   - path: of the configuration's own file.
  ///   - isOn: false: nothing is watched.
  mutating func follow(_ path: String?, _ configuration: ProxyConfiguration, isOn: Bool, now: Int64)
  {
    guard isOn else {
      self = ReloadWatch()
      return
    }
    if watch == nil, let made = FileWatch() {
      descriptor = made.descriptor
      watch = consume made
    }
    paths = (path.map { [$0] } ?? []) + TLSContexts.namedFiles(configuration)
    watch?.watch(paths)
    pollAt = watch?.isComplete == true ? .max : now + Self.pollNanoseconds
    // A file may have changed since it was read and before it was watched.
    if paths.contains(where: { digests[$0] == nil }) { debounce.note(now: now) }
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
