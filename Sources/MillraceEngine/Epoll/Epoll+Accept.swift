// Listening, accepting, connecting, closing.
//
// TRAP: (file) the caller arms each listener once, by its own flag, and chains are its own order of
// calls.

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
    sockets[socket].pointee.state.insert(.listening)
    return Descriptor(rawValue: socket)
  }

  mutating func adopt(_ socket: Int32, interest: UInt32) throws(SystemFailure) {
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
    precondition(!chains.isOpen, "of accepts only acceptOne can be a step of a chain")
    record.pointee.setupToken = token
    record.pointee.state.insert(.accepting)
    statistics.operationsInFlight += 1
    // The edge may have come before: try once.
    enqueue(listener.rawValue)
  }

  public mutating func acceptOne(
    _ listener: Descriptor, into slot: Descriptor?, _ token: Token
  ) {
    submit(.acceptOne, token) {
      $0.pointee.descriptor = listener.rawValue
      $0.pointee.second = slot?.rawValue ?? -1
    }
  }

  mutating func startAcceptOne(_ index: UInt32) {
    let listener = control.slots[Int(index)].descriptor
    let record = sockets[listener]
    precondition(!record.pointee.state.contains(.accepting), "two accepts on one listener")
    record.pointee.setupToken = Token(rawValue: UInt64(index))
    record.pointee.state.formUnion([.accepting, .acceptingOne])
    enqueue(listener)
  }

  private mutating func endAcceptOne(
    _ record: UnsafeMutablePointer<SocketRecord>, _ result: Int32
  ) {
    record.pointee.state.subtract([.accepting, .acceptingOne])
    endControl(UInt32(record.pointee.setupToken.rawValue), result)
  }

  private mutating func acceptSingle(
    _ listener: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    var peer = SocketAddress.unknown
    while true {
      statistics.systemCalls += 1
      let socket = AcceptedPeers.accept(
        target(listener), flags: Self.acceptFlags, into: &peer)
      if socket < 0 {
        let code = errno
        if code == EAGAIN { return }
        if Sockets.isTransientAcceptError(-code) { continue }
        return endAcceptOne(record, -code)
      }
      let slot = control.slots[Int(record.pointee.setupToken.rawValue)].second
      do throws(SystemFailure) {
        if slot >= 0 {
          try adopt(socket, into: slot)
        } else {
          try adopt(socket, interest: Self.streamInterest)
          note(socket, peer)
        }
        expectBytes(slot >= 0 ? slot : socket)
        return endAcceptOne(record, slot >= 0 ? 0 : socket)
      } catch {
        statistics.connectionsRefused += 1
      }
    }
  }

  /// Puts an open descriptor behind a direct slot and registers it under the slot's number.
  mutating func adopt(_ socket: Int32, into slot: Int32) throws(SystemFailure) {
    direct[slot & ~Descriptor.directBit] = socket
    _ = sockets.open(slot)
    let code = register(slot, events: Self.streamInterest)
    guard code == 0 else {
      sockets.retire(slot)
      // It is the caller's still, and empty.
      sockets[slot].pointee.state.insert(.reserved)
      direct[slot & ~Descriptor.directBit] = -1
      Glibc.close(socket)
      throw SystemFailure(code: code, operation: "epoll_ctl")
    }
  }

  public mutating func stopAccepting(_ listener: Descriptor) {
    let record = sockets[listener.rawValue]
    guard record.pointee.state.contains(.accepting) else { return }
    if record.pointee.state.contains(.acceptingOne) { return endAcceptOne(record, -ECANCELED) }
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
    if record.pointee.state.contains(.acceptingOne) { return acceptSingle(listener, record) }
    var peer = SocketAddress.unknown
    for _ in 0..<Self.acceptsInRow {
      statistics.systemCalls += 1
      let socket = AcceptedPeers.accept(
        target(listener), flags: Self.acceptFlags, into: &peer)
      if socket < 0 {
        let code = errno
        if code == EAGAIN { return }
        if Sockets.isTransientAcceptError(-code) { continue }
        return endAccept(record, -code)
      }
      do throws(SystemFailure) {
        try adopt(socket, interest: Self.streamInterest)
        note(socket, peer)
        expectBytes(socket)
        queue.append(
          Completion(token: record.pointee.setupToken, result: socket, more: true))
      } catch {
        statistics.connectionsRefused += 1
      }
    }
    enqueue(listener)
  }

  /// Of a fresh connection nothing is known: its first receive is tried rather than waited for.
  @inline(__always)
  func expectBytes(_ socket: Int32) {
    if use.contains(.speculativeReceive) { sockets[socket].pointee.state.insert(.readable) }
  }

  public mutating func acceptNow(_ listener: Descriptor) -> Descriptor? {
    // Another process that has the socket, too, may have made it a blocking one.
    var ask = pollfd(fd: listener.rawValue, events: Int16(POLLIN), revents: 0)
    guard Glibc.poll(&ask, 1, 0) == 1, ask.revents & Int16(POLLIN) != 0 else { return nil }
    var peer = SocketAddress.unknown
    let socket = AcceptedPeers.accept(
      listener.rawValue, flags: Self.acceptFlags, into: &peer)
    guard socket >= 0 else { return nil }
    do throws(SystemFailure) {
      try adopt(socket, interest: Self.streamInterest)
      note(socket, peer)
      expectBytes(socket)
      return Descriptor(rawValue: socket)
    } catch {
      statistics.connectionsRefused += 1
      return nil
    }
  }

  public mutating func connect(
    _ address: SocketAddress, _ token: Token
  ) throws(SystemFailure) -> Descriptor {
    try begin(try Sockets.make(for: address, nonblocking: true), address, token)
  }

  public mutating func connect(
    _ address: SocketAddress, from origin: ConnectionOrigin, _ token: Token
  ) throws(SystemFailure) -> Descriptor {
    try begin(
      try Sockets.make(for: address, from: origin, nonblocking: true), address, token)
  }

  private mutating func begin(
    _ socket: Int32, _ address: SocketAddress, _ token: Token
  ) throws(SystemFailure) -> Descriptor {
    precondition(!chains.isOpen, "a connect cannot be a step of a chain")
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
    precondition(!chains.isOpen, "of shutdowns only the reported one can be a step of a chain")
    statistics.systemCalls += 1
    Sockets.shutdown(target(socket.rawValue), direction)
  }

  public mutating func resetOnClose(_ socket: Descriptor) {
    statistics.systemCalls += 1
    Sockets.resetOnClose(target(socket.rawValue))
  }

  /// close(2) removes the registration as well where no other descriptor refers to the socket, which may be
  /// so for a listener.
  public mutating func close(_ descriptor: Descriptor) {
    if sockets[descriptor.rawValue].pointee.state.contains(.listening) {
      statistics.systemCalls += 1
      _ = epoll_ctl(self.descriptor, EPOLL_CTL_DEL, descriptor.rawValue, nil)
    }
    _ = closeNow(descriptor.rawValue)
  }

  /// - Returns: 0 or a negated errno.
  mutating func closeNow(_ descriptor: Int32) -> Int32 {
    let real = target(descriptor)
    sockets.retire(descriptor)
    if descriptor >= Descriptor.directBit { direct.giveBack(Descriptor(rawValue: descriptor)) }
    guard real >= 0 else { return descriptor >= Descriptor.directBit ? 0 : -EBADF }
    statistics.systemCalls += 1
    return Glibc.close(real) == 0 ? 0 : -errno
  }

  @inline(__always)
  private func note(_ socket: Int32, _ peer: borrowing SocketAddress) {
    peers.note(socket, sockets[socket].pointee.generation, peer)
  }

  public func peerAddress(_ socket: Descriptor) -> SocketAddress? {
    if socket.isDirect { return nil }
    let number = socket.rawValue
    return peers.address(number, sockets[number].pointee.generation) ?? Sockets.peer(number)
  }
  public func isBroken(_ socket: Descriptor) -> Bool {
    !socket.isDirect && Sockets.isBroken(socket.rawValue)
  }
  public func localAddress(_ socket: Descriptor) -> SocketAddress? {
    socket.isDirect ? nil : Sockets.local(socket.rawValue)
  }
}
