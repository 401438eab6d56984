// The other end of a connection, on plain system calls: what the engine under test is measured
// against. It never blocks for long; every wait of it has a limit.

import CLinux
import Glibc
import MillraceEngine

/// A plain, non-blocking socket.
final class Peer {
  private(set) var descriptor: Int32

  init(adopting descriptor: Int32) {
    self.descriptor = descriptor
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
  }

  deinit { close() }

  /// Connects to a loopback listener; the kernel completes the handshake before anybody accepts.
  static func connected(to address: SocketAddress) throws -> Peer {
    let peer = Peer(adopting: socket(address.family, Int32(SOCK_STREAM.rawValue), 0))
    let code = address.withRaw { Glibc.connect(peer.descriptor, $0, $1) }
    if code != 0 && errno != EINPROGRESS {
      throw StageFailure("connect to \(address): errno \(errno)")
    }
    var ready = pollfd(fd: peer.descriptor, events: Int16(POLLOUT), revents: 0)
    guard poll(&ready, 1, 5000) == 1 else { throw StageFailure("connect took too long") }
    return peer
  }

  func close() {
    if descriptor >= 0 { Glibc.close(descriptor) }
    descriptor = -1
  }

  /// Closes with a reset, whatever is unread.
  func reset() {
    var value = linger(l_onoff: 1, l_linger: 0)
    setsockopt(
      descriptor, SOL_SOCKET, SO_LINGER, &value, socklen_t(MemoryLayout<linger>.size))
    close()
  }

  func finishSending() { Glibc.shutdown(descriptor, Int32(SHUT_WR)) }

  /// Sends what the socket takes at once. - Returns: bytes taken, or a negated errno.
  @discardableResult
  func send(_ bytes: [UInt8]) -> Int {
    let count = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    return count >= 0 ? count : -Int(errno)
  }

  @discardableResult
  func send(_ text: String) -> Int { send(Array(text.utf8)) }

  /// Takes what is there. - Returns: the bytes; nil at the end of the stream or on an error.
  func receive(atMost limit: Int = 1 << 20) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: limit)
    let count = recv(descriptor, &bytes, limit, 0)
    if count > 0 { return Array(bytes[..<count]) }
    if count < 0 && (errno == EAGAIN || errno == EINTR) { return [] }
    lastError = count == 0 ? 0 : errno
    return nil
  }

  /// Why `receive` returned nil: 0 for the end of the stream.
  private(set) var lastError: Int32 = -1

  func setBuffer(_ option: Int32, _ bytes: Int32) {
    var value = bytes
    setsockopt(
      descriptor, SOL_SOCKET, option, &value, socklen_t(MemoryLayout<Int32>.size))
  }
}

struct StageFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

extension SocketAddress {
  /// The address of 127.0.0.1 or of ::1 with this port.
  static func loopback(_ port: UInt16 = 0, host: String = "127.0.0.1") throws -> SocketAddress {
    try resolve(host: host, port: port)[0]
  }

  /// The raw address, through its own text form: the tests see nothing that is not public.
  func withRaw<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    func with<T>(_ value: T) -> R {
      withUnsafePointer(to: value) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          body($0, socklen_t(MemoryLayout<T>.size))
        }
      }
    }
    switch family {
    case AF_INET:
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      inet_pton(AF_INET, String(description.prefix { $0 != ":" }), &address.sin_addr)
      return with(address)
    case AF_INET6:
      var address = sockaddr_in6()
      address.sin6_family = sa_family_t(AF_INET6)
      address.sin6_port = port.bigEndian
      address.sin6_addr = in6addr_loopback
      return with(address)
    default:
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) {
        $0.copyBytes(from: description.dropFirst("unix:".count).utf8)
      }
      return with(address)
    }
  }
}
