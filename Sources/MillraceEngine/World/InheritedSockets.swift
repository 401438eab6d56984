// Listening sockets that a service manager has opened and handed down: socket activation,
// sd_listen_fds(3).

import Glibc

/// A listening socket that was handed to the process.
public struct InheritedSocket: Sendable {
  /// Its descriptor, the caller's to close or to have adopted.
  public let number: Int32
  /// What it is bound to.
  public let address: SocketAddress
}

/// What the process was started with.
public enum InheritedSockets {
  /// The first descriptor that is handed down (SD_LISTEN_FDS_START).
  private static let first: Int32 = 3
  private static let countMaximum: Int32 = 4096

  /// Takes the sockets, once: the environment does not name them afterwards.
  /// - Returns: stream sockets that listen; and the descriptors of what else was handed down, which are left
  ///   open.
  public static func take() -> (sockets: [InheritedSocket], others: [Int32]) {
    func number(_ name: String) -> Int32? {
      getenv(name).flatMap { Int32(String(cString: $0)) }
    }
    let (owner, found) = (number("LISTEN_PID"), number("LISTEN_FDS"))
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsetenv(name) }
    guard owner == getpid(), let found, found > 0 else { return ([], []) }
    return look(at: first..<(first + min(found, countMaximum)))
  }

  static func look(at numbers: Range<Int32>) -> (sockets: [InheritedSocket], others: [Int32]) {
    var sockets: [InheritedSocket] = []
    var others: [Int32] = []
    for number in numbers {
      _ = fcntl(number, F_SETFD, FD_CLOEXEC)
      if Sockets.isListener(number), let address = Sockets.local(number) {
        sockets.append(InheritedSocket(number: number, address: address))
      } else {
        others.append(number)
      }
    }
    return (sockets, others)
  }
}

extension ListeningSocket {
  /// Another descriptor of the same socket, for another worker. - Throws: EMFILE.
  public static func duplicate(_ number: Int32) throws(SystemFailure) -> Int32 {
    let copy = fcntl(number, F_DUPFD_CLOEXEC, 3)
    guard copy >= 0 else { throw SystemFailure(code: errno, operation: "fcntl F_DUPFD_CLOEXEC") }
    return copy
  }
}
