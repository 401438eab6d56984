// Listening sockets that a service manager has opened and handed down: socket activation,
// sd_listen_fds(3).

import Glibc

/// A listening socket that was handed to the process.
public struct InheritedSocket: Sendable {
  /// Its descriptor, the caller's to close or to have adopted.
  public let number: Int32
  /// What it is bound to.
  public let address: SocketAddress
  /// It comes from another process of this program, which will serve on it no more.
  public private(set) var isHandedOver = false
  /// Its file, if it has one, is a service manager's.
  public private(set) var isForeign = true

  init(number: Int32, address: SocketAddress) {
    self.number = number
    self.address = address
  }

  /// The same, from another process of this program.
  package func handedOver(isForeign: Bool) -> InheritedSocket {
    var socket = self
    socket.isHandedOver = true
    socket.isForeign = isForeign
    return socket
  }
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

  /// Those of descriptors that are listening sockets; the others are closed.
  package static func received(_ numbers: [Int32]) -> [InheritedSocket] {
    numbers.compactMap { number in
      guard Sockets.isListener(number), let address = Sockets.local(number) else {
        Glibc.close(number)
        return nil
      }
      return InheritedSocket(number: number, address: address)
    }
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
  /// Whether more sockets may be bound to its address, to have part of its connections (SO_REUSEPORT).
  package static func sharesAddress(_ number: Int32) -> Bool {
    var value: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    return getsockopt(number, SOL_SOCKET, SO_REUSEPORT, &value, &length) == 0 && value != 0
  }

  /// Another descriptor of the same socket, for another worker. - Throws: EMFILE.
  public static func duplicate(_ number: Int32) throws(SystemFailure) -> Int32 {
    let copy = fcntl(number, F_DUPFD_CLOEXEC, 3)
    guard copy >= 0 else { throw SystemFailure(code: errno, operation: "fcntl F_DUPFD_CLOEXEC") }
    return copy
  }
}
