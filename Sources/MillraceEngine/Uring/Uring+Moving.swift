// Connections that come from elsewhere, and that go elsewhere.
//
// TRAP: (file) which connections move, and when, is the caller's choice: before it arms anything on
// them.

import Glibc

extension Uring {
  public mutating func surrender(_ socket: Descriptor) -> Int32 {
    precondition(!socket.isDirect, "a direct descriptor has no file descriptor number")
    statistics.systemCalls += 2
    precondition(
      Sockets.isConnection(socket.rawValue),
      "surrender of something other than a connected stream socket")
    requireNoReceiveStep(socket.rawValue)
    sockets.retire(socket.rawValue)
    return socket.rawValue
  }

  public mutating func adopt(_ number: Int32) throws(SystemFailure) -> Descriptor {
    if number >= 0 && Int(number) < sockets.limit { settle(number) }
    sockets.requireForeign(number)
    // Blocking, as its own are: io_uring answers EAGAIN on a non-blocking socket instead of waiting.
    let isLocal = try Sockets.prepareForeign(number, limit: sockets.limit, nonblocking: false)
    try adopt(number, as: isLocal ? .local : [])
    return Descriptor(rawValue: number)
  }

  public mutating func adoptListener(_ number: Int32) throws(SystemFailure) -> Descriptor {
    if number >= 0 && Int(number) < sockets.limit { settle(number) }
    sockets.requireForeign(number)
    let isLocal = try Sockets.prepareListener(number, limit: sockets.limit, nonblocking: false)
    try adopt(number, as: isLocal ? [.listening, .local] : .listening)
    return Descriptor(rawValue: number)
  }
}
