// Listening, accepting, connecting, closing.

import CLinux
import Glibc

extension Epoll {
  /// Connections accepted in a row before others get their turn.
  private static let acceptsInRow = 64
  private static let acceptFlags =
    Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)

  public mutating func listen(
    _ address: SocketAddress, backlog: Int32, reusePort: Bool
  ) throws(SystemFailure) -> Descriptor {
    let socket = try Sockets.listen(
      address, backlog: backlog, reusePort: reusePort, nonblocking: true)
    try adopt(socket, interest: CLINUX_EPOLLIN | CLINUX_EPOLLET)
    return Descriptor(rawValue: socket)
  }

  private mutating func adopt(_ socket: Int32, interest: UInt32) throws(SystemFailure) {
    guard Int(socket) < sockets.limit else {
      Glibc.close(socket)
      throw SystemFailure(code: EMFILE, operation: "descriptor limit of the engine")
    }
    _ = sockets.open(socket)
    let code = register(socket, events: interest)
    guard code == 0 else {
      sockets.retire(socket)
      Glibc.close(socket)
      throw SystemFailure(code: code, operation: "epoll_ctl")
    }
  }

  public mutating func accept(_ listener: Descriptor, _ token: Token) {
    let record = sockets[listener.rawValue]
    precondition(!record.pointee.state.contains(.accepting), "two accepts on one listener")
    record.pointee.setupToken = token
    record.pointee.state.insert(.accepting)
    statistics.operationsInFlight += 1
    // The edge may have come before: try once.
    enqueue(listener.rawValue)
  }

  public mutating func stopAccepting(_ listener: Descriptor) {
    let record = sockets[listener.rawValue]
    guard record.pointee.state.contains(.accepting) else { return }
    endAccept(record, -ECANCELED)
  }

  private mutating func endAccept(
    _ record: UnsafeMutablePointer<SocketRecord>, _ result: Int32
  ) {
    record.pointee.state.remove(.accepting)
    statistics.operationsInFlight -= 1
    queue.append(Completion(token: record.pointee.setupToken, result: result))
  }

  mutating func acceptAll(_ listener: Int32, _ record: UnsafeMutablePointer<SocketRecord>) {
    for _ in 0..<Self.acceptsInRow {
      statistics.systemCalls += 1
      let socket = clinux_accept4(listener, Self.acceptFlags)
      if socket < 0 {
        let code = errno
        if code == EAGAIN { return }
        if Uring.isTransientAcceptError(-code) { continue }
        return endAccept(record, -code)
      }
      do throws(SystemFailure) {
        try adopt(socket, interest: Self.streamInterest)
        queue.append(
          Completion(token: record.pointee.setupToken, result: socket, more: true))
      } catch {
        statistics.connectionsRefused += 1
      }
    }
    enqueue(listener)
  }

  public mutating func acceptNow(_ listener: Descriptor) -> Descriptor? {
    let socket = clinux_accept4(listener.rawValue, Self.acceptFlags)
    guard socket >= 0 else { return nil }
    do throws(SystemFailure) {
      try adopt(socket, interest: Self.streamInterest)
      return Descriptor(rawValue: socket)
    } catch {
      statistics.connectionsRefused += 1
      return nil
    }
  }

  public mutating func connect(
    _ address: SocketAddress, _ token: Token
  ) throws(SystemFailure) -> Descriptor {
    let socket = try Sockets.make(for: address, nonblocking: true)
    let result: Int32
    if address.isUnix {
      result = Sockets.connectUnix(socket, address)
    } else {
      result = Sockets.withAddress(address) { Glibc.connect(socket, $0, $1) } == 0 ? 0 : -errno
    }
    // Registered after the call: an unconnected socket reports a hang-up of its own.
    try adopt(socket, interest: Self.streamInterest)
    let record = sockets[socket]
    record.pointee.setupToken = token
    statistics.operationsInFlight += 1
    if result == -EINPROGRESS {
      record.pointee.state.insert(.connecting)
    } else {
      endConnect(record, result)
    }
    return Descriptor(rawValue: socket)
  }

  mutating func finishConnect(_ socket: Int32, _ record: UnsafeMutablePointer<SocketRecord>) {
    endConnect(record, -Sockets.error(of: socket))
  }

  private mutating func endConnect(
    _ record: UnsafeMutablePointer<SocketRecord>, _ result: Int32
  ) {
    record.pointee.state.remove(.connecting)
    statistics.operationsInFlight -= 1
    queue.append(Completion(token: record.pointee.setupToken, result: result))
  }

  public mutating func cancelConnect(_ socket: Descriptor) {
    let record = sockets[socket.rawValue]
    guard record.pointee.state.contains(.connecting) else { return }
    endConnect(record, -ECANCELED)
  }

  public mutating func shutdown(_ socket: Descriptor, _ direction: ShutdownDirection) {
    statistics.systemCalls += 1
    Sockets.shutdown(socket.rawValue, direction)
  }

  public mutating func resetOnClose(_ socket: Descriptor) {
    statistics.systemCalls += 1
    Sockets.resetOnClose(socket.rawValue)
  }

  /// close(2) removes the registration as well: no other descriptor refers to the socket.
  public mutating func close(_ descriptor: Descriptor) {
    sockets.retire(descriptor.rawValue)
    statistics.systemCalls += 1
    Glibc.close(descriptor.rawValue)
  }

  public func peerAddress(_ socket: Descriptor) -> SocketAddress? {
    Sockets.peer(socket.rawValue)
  }
  public func localAddress(_ socket: Descriptor) -> SocketAddress? {
    Sockets.local(socket.rawValue)
  }
}
