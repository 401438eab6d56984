// The audit log's directory as this process holds it: proof that no other proxy writes there, kept
// until the end, and taken anew when another directory has been put in its place. What it cannot
// hold it refuses, with the reason.

import AuditLog
public import Configuration
import MillraceEngine
import Synchronization

/// The hold of all workers on one directory.
final class AuditDirectory: Sendable {
  private struct Held: ~Copyable {
    var lease: DirectoryLease?
    /// Another process holds the directory as a whole; this one finishes its chains.
    var isReplaced = false

    /// True if the path still leads to what is held.
    borrowing func isThere() throws(Errno) -> Bool {
      switch lease {
      case .some(let lease): try lease.isStillThere()
      case .none: false
      }
    }
  }

  private let path: String
  /// The numbers of this run's chains.
  private let numbers: [Int]
  private let held: Mutex<Held>

  init(_ lease: consuming DirectoryLease, numbers: [Int] = []) {
    path = lease.directory
    self.numbers = numbers
    held = Mutex(Held(lease: consume lease))
  }

  /// Takes what is at the path now. All workers ask; the first takes it.
  /// - Returns: why not, or nil.
  func takeAgain() -> String? {
    held.withLock { held in
      do {
        if try !held.isThere() {
          let lease = try BlockingFiles.lease(
            directory: path, held.isReplaced ? .numbers : .whole)
          for number in numbers where try !lease.take(number: number) {
            return "another process has chain \(number) in \(path)"
          }
          held.lease = consume lease
        }
        return nil
      } catch {
        return "\(error)"
      }
    }
  }

  /// Gives the directory free for another process.
  func release() { held.withLock { $0.lease = nil } }

  /// The lock on the whole directory, for the process that takes this one's place. The caller's.
  func copyOfLock() -> Int32? {
    held.withLock { held in
      switch held.lease {
      case .some(let lease): lease.copyOfLock()
      case .none: nil
      }
    }
  }

  /// Another process holds the directory from here on; what is this run's stays so.
  func leaveToSuccessor() {
    held.withLock { held in
      held.isReplaced = true
      held.lease?.leaveDirectory()
    }
  }
}

/// What a configuration leaves room for in the audit log.
public enum AuditRoom {
  /// A warning where a worker's log cannot promise room for all exchanges that are allowed.
  public static func problem(_ configuration: ProxyConfiguration) -> Problem? {
    guard let audit = configuration.audit else { return nil }
    let limits = configuration.limits
    guard let (served, least) = shortage(audit, exchanges: limits.exchanges) else { return nil }
    return Problem(
      location: audit.directoryLocation,
      message: "has space for \(served) open exchanges per worker with segments of "
        + "\(audit.segmentSize >> 20) MiB, but \(limits.exchangesKey) is \(limits.exchanges)",
      hint: "set audit.segment.size to \(least)MiB or more, or \(limits.exchangesKey) to \(served)",
      severity: .warning)
  }

  /// How many open exchanges have room where not all have, and the least segment size in MiB with
  /// which they would.
  static func shortage(
    _ audit: AuditConfiguration, exchanges: Int
  ) -> (served: Int, leastMebibytes: Int)? {
    var configuration = JournalConfiguration(
      directory: audit.directory, worker: 0, run: RunIdentity(high: 0, low: 0))
    configuration.segmentSize = audit.segmentSize
    let served = configuration.fit(exchanges: exchanges)
    guard served < exchanges else { return nil }
    return (served, (configuration.segmentSize(serving: exchanges) + (1 << 20) - 1) >> 20)
  }
}
