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

    /// True if the path still leads to what is held.
    borrowing func isThere() throws(Errno) -> Bool {
      switch lease {
      case .some(let lease): try lease.isStillThere()
      case .none: false
      }
    }
  }

  private let path: String
  private let held: Mutex<Held>

  init(_ lease: consuming DirectoryLease) {
    path = lease.directory
    held = Mutex(Held(lease: consume lease))
  }

  /// Takes what is at the path now. All workers ask; the first takes it.
  /// - Returns: why not, or nil.
  func takeAgain() -> String? {
    held.withLock { held in
      do {
        if try !held.isThere() { held.lease = try BlockingFiles.lease(directory: path) }
        return nil
      } catch {
        return "\(error)"
      }
    }
  }

  /// Gives the directory free for another process.
  func release() { held.withLock { $0.lease = nil } }
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
