// A listening socket on plain system calls, for tests in which the engine connects.

import CLinux
import Glibc
import MillraceEngine

final class PlainListener {
  let descriptor: Int32
  let address: SocketAddress

  init(backlog: Int32 = 128) throws {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    let bound = try SocketAddress.loopback()
    guard bound.withRaw({ Glibc.bind(socket, $0, $1) }) == 0,
      Glibc.listen(socket, backlog) == 0
    else { throw StageFailure("plain listener: errno \(errno)") }
    var name = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = getsockname(socket, $0, &length)
      }
    }
    descriptor = socket
    address = try .loopback(UInt16(bigEndian: name.sin_port))
  }

  deinit { close(descriptor) }

  func accepted() throws -> Peer {
    var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&ready, 1, 5000) == 1 else { throw StageFailure("nobody connected") }
    return Peer(adopting: accept(descriptor, nil, nil))
  }
}
