// One start at a time on one port. Workers bind with SO_REUSEPORT, so that two processes of one user that
// look whether an address is free, and bind it, at the same instant would both succeed and share its
// connections. With the lock the second one looks when the first has bound, and the kernel's answer holds
// for wildcard, specific and dual-stack addresses alike.

import CLinux
import Glibc
import Synchronization

/// A lock on the ports and paths of a process that starts: an abstract UNIX socket for each, which the
/// kernel drops with the process, unix(7). Like the addresses themselves it is one per network namespace.
public final class StartLock: Sendable {
  private let descriptors: Mutex<[Int32]>

  private init(_ descriptors: [Int32]) { self.descriptors = Mutex(descriptors) }

  deinit { release() }

  /// Lets the next process start.
  public func release() {
    descriptors.withLock { held in
      for descriptor in held { Glibc.close(descriptor) }
      held = []
    }
  }

  private static let pauseMicroseconds: UInt32 = 10_000

  /// Waits until no other process of this user starts on any of the addresses.
  ///
  /// Another user's process is not waited for: the kernel never shares a port between two users. Where no
  /// UNIX socket can be made (RestrictAddressFamilies=) there is no lock, and no error.
  /// - Parameter milliseconds: how long to wait.
  /// - Returns: the lock, or nil if another process held one of them all the time.
  public static func take(_ addresses: [SocketAddress], milliseconds: Int) -> StartLock? {
    var held: [Int32] = []
    // In one order everywhere: two processes with the same ports cannot wait for each other.
    for name in Set(addresses.compactMap(name)).sorted() {
      switch take(name, milliseconds) {
      case .mine(let descriptor): held.append(descriptor)
      case .unavailable: break
      case .taken:
        for descriptor in held { Glibc.close(descriptor) }
        return nil
      }
    }
    return StartLock(held)
  }

  private enum Outcome { case mine(Int32), taken, unavailable }

  private static func take(_ name: String, _ milliseconds: Int) -> Outcome {
    guard let address = SocketAddress(abstractName: name) else { return .unavailable }
    let deadline = SystemClock.monotonicNanoseconds() + Int64(milliseconds) * 1_000_000
    var isOurUser = false
    while true {
      do throws(SystemFailure) {
        return .mine(
          try Sockets.listen(address, backlog: 64, reusePort: false, nonblocking: true))
      } catch {
        guard error.code == EADDRINUSE else { return .unavailable }
      }
      if !isOurUser {
        switch holder(address) {
        case nil: break
        case Int64(geteuid()): isOurUser = true
        default: return .unavailable
        }
      }
      guard SystemClock.monotonicNanoseconds() < deadline else { return .taken }
      Pause.microseconds(pauseMicroseconds)
    }
  }

  /// The user of the process that has the lock; nil if that cannot be told.
  private static func holder(_ address: SocketAddress) -> Int64? {
    guard let probe = try? Sockets.make(for: address, nonblocking: true) else { return nil }
    defer { Glibc.close(probe) }
    guard Sockets.withAddress(address, { Glibc.connect(probe, $0, $1) }) == 0 else { return nil }
    let user = clinux_peer_uid(probe)
    return user >= 0 ? user : nil
  }

  /// The port alone: which of two addresses with one port collide is for the kernel to say.
  private static func name(_ address: SocketAddress) -> String? {
    guard let path = address.unixPath else {
      return address.port == 0 ? nil : "millrace/start/\(address.port)"
    }
    // FNV-1a: a path may have as many bytes as an abstract name, without the prefix.
    let hash = path.utf8.reduce(UInt64(0xCBF2_9CE4_8422_2325)) {
      ($0 ^ UInt64($1)) &* 0x100_0000_01B3
    }
    return "millrace/start/path-\(String(hash, radix: 16))"
  }
}

extension SocketAddress {
  /// The address of a UNIX socket without a file, unix(7).
  init?(abstractName name: String) {
    self.init(unixPath: "@" + name)
    // sun_path begins behind the family, two bytes.
    withUnsafeMutableBytes(of: &storage) { $0[2] = 0 }
    length = socklen_t(3 + name.utf8.count)
  }
}
