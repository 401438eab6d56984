// Connections that come from elsewhere, and that go elsewhere.
//
// TRAP: (file) which connections move, and when, is the caller's choice: before it arms anything on
// them.

import CLinux
import Glibc

extension Epoll {
  public mutating func surrender(_ socket: Descriptor) -> Int32 {
    precondition(!socket.isDirect, "a direct descriptor has no file descriptor number")
    statistics.systemCalls += 2
    precondition(
      Sockets.isConnection(socket.rawValue),
      "surrender of something other than a connected stream socket")
    sockets.retire(socket.rawValue)
    statistics.systemCalls += 1
    // It stays open, so that the kernel does not take it out by itself.
    _ = epoll_ctl(descriptor, EPOLL_CTL_DEL, socket.rawValue, nil)
    return socket.rawValue
  }

  public mutating func adopt(_ number: Int32) throws(SystemFailure) -> Descriptor {
    sockets.requireForeign(number)
    _ = try Sockets.prepareForeign(number, limit: sockets.limit, nonblocking: true)
    _ = sockets.open(number)
    let code = register(number, events: Self.streamInterest)
    guard code == 0 else {
      sockets.retire(number)
      throw SystemFailure(code: code, operation: "epoll_ctl")
    }
    expectBytes(number)
    return Descriptor(rawValue: number)
  }

  public mutating func adoptListener(_ number: Int32) throws(SystemFailure) -> Descriptor {
    sockets.requireForeign(number)
    _ = try Sockets.prepareListener(number, limit: sockets.limit, nonblocking: true)
    try adopt(number, interest: CLINUX_EPOLLIN | CLINUX_EPOLLET)
    sockets[number].pointee.state.insert(.listening)
    return Descriptor(rawValue: number)
  }
}
