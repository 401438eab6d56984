// Listening, accepting (multishot), connecting, closing.
//
// TRAP: (file) the caller arms each listener once, by its own flag, and chains are its own order of
// calls.

import CLinux
import Glibc

extension Uring {
  public mutating func listen(
    _ address: SocketAddress, backlog: Int32, reusePort: Bool
  ) throws(SystemFailure) -> Descriptor {
    // Blocking on purpose: io_uring answers EAGAIN on a non-blocking socket instead of waiting.
    let descriptor = try Sockets.listen(
      address, backlog: backlog, reusePort: reusePort, nonblocking: false)
    try adopt(descriptor, as: address.isUnix ? [.listening, .local] : .listening)
    return Descriptor(rawValue: descriptor)
  }

  /// Makes the record of a descriptor that was just opened, or closes it if its number is beyond
  /// the engine's limit.
  mutating func adopt(_ descriptor: Int32, as state: SocketState) throws(SystemFailure) {
    guard Int(descriptor) < sockets.limit else {
      Glibc.close(descriptor)
      throw SystemFailure(code: EMFILE, operation: "descriptor limit of the engine")
    }
    settle(descriptor)
    sockets.open(descriptor).pointee.state.formUnion(state)
  }

  public mutating func accept(_ listener: Descriptor, _ token: Token) {
    let record = sockets[listener.rawValue]
    precondition(!record.pointee.state.contains(.accepting), "two accepts on one listener")
    record.pointee.setupToken = token
    record.pointee.state.insert(.accepting)
    statistics.operationsInFlight += 1
    armAccept(listener.rawValue, record)
  }

  private mutating func armAccept(
    _ descriptor: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_ACCEPT)
    entry.pointee.ioprio = acceptFlags
    entry.pointee.fd = descriptor
    entry.pointee.op_flags = UInt32(SOCK_CLOEXEC.rawValue)
    entry.pointee.user_data = Self.userData(
      .accept, record.pointee.generation, UInt32(bitPattern: descriptor))
  }

  public mutating func stopAccepting(_ listener: Descriptor) {
    let record = sockets[listener.rawValue]
    guard record.pointee.state.contains(.accepting),
      !record.pointee.state.contains(.stoppingAccept)
    else { return }
    record.pointee.state.insert(.stoppingAccept)
    if record.pointee.state.contains(.acceptingOne) {
      let index = UInt32(record.pointee.setupToken.rawValue)
      control.slots[Int(index)].cancelled = true
      if control.slots[Int(index)].chain == Self.linked { linkedCancels += 1 }
      return cancel(controlUserData(index))
    }
    cancel(
      Self.userData(
        .accept, record.pointee.generation, UInt32(bitPattern: listener.rawValue)))
  }

  mutating func accepted(_ listener: Int32, _ generation: UInt32, _ completion: clinux_cqe) {
    let record = sockets[listener]
    guard record.pointee.generation == generation, record.pointee.state.contains(.accepting)
    else { return engineBug("an accept completed that nobody has in flight") }
    let more = completion.flags & UInt32(CLINUX_CQE_F_MORE) != 0
    if completion.res >= 0 {
      if Int(completion.res) < sockets.limit {
        // See Uring+AcceptOne.swift.
        if sockets[completion.res].pointee.state.contains(.closingStep) {
          return postponed.append(completion)
        }
        admit(completion.res, from: record)
        queue.append(
          Completion(token: record.pointee.setupToken, result: completion.res, more: true))
      } else {
        statistics.connectionsRefused += 1
        Glibc.close(completion.res)
      }
    }
    guard !more else { return }
    if record.pointee.state.contains(.stoppingAccept) {
      endAccept(record, -ECANCELED)
    } else if completion.res >= 0 || Sockets.isTransientAcceptError(completion.res) {
      armAccept(listener, record)
    } else {
      endAccept(record, completion.res)
    }
  }

  private mutating func endAccept(
    _ record: UnsafeMutablePointer<SocketRecord>, _ result: Int32
  ) {
    record.pointee.state.subtract([.accepting, .stoppingAccept])
    statistics.operationsInFlight -= 1
    queue.append(Completion(token: record.pointee.setupToken, result: result))
  }

  public mutating func acceptNow(_ listener: Descriptor) -> Descriptor? {
    // The listener blocks, so ask first whether somebody waits; and let no accept wait for
    // longer than a millisecond, because another process with the same listener may be faster.
    var ask = pollfd(fd: listener.rawValue, events: Int16(POLLIN), revents: 0)
    guard Glibc.poll(&ask, 1, 0) == 1, ask.revents & Int16(POLLIN) != 0 else { return nil }
    Sockets.limitWaiting(listener.rawValue, microseconds: 1000)
    let descriptor = clinux_accept4(listener.rawValue, Int32(SOCK_CLOEXEC.rawValue))
    guard descriptor >= 0 else { return nil }
    guard Int(descriptor) < sockets.limit else {
      statistics.connectionsRefused += 1
      Glibc.close(descriptor)
      return nil
    }
    settle(descriptor)
    admit(descriptor, from: sockets[listener.rawValue])
    return Descriptor(rawValue: descriptor)
  }

  /// Makes the record of an accepted connection, which is of its listener's family.
  @inline(__always)
  func admit(_ socket: Int32, from listener: UnsafeMutablePointer<SocketRecord>) {
    let local = listener.pointee.state.intersection(.local)
    sockets.open(socket).pointee.state.formUnion(local)
  }

  public mutating func connect(
    _ address: SocketAddress, _ token: Token
  ) throws(SystemFailure) -> Descriptor {
    try begin(try Sockets.make(for: address, nonblocking: false), address, token)
  }

  public mutating func connect(
    _ address: SocketAddress, from origin: ConnectionOrigin, _ token: Token
  ) throws(SystemFailure) -> Descriptor {
    try begin(
      try Sockets.make(for: address, from: origin, nonblocking: false), address, token)
  }

  private mutating func begin(
    _ descriptor: Int32, _ address: SocketAddress, _ token: Token
  ) throws(SystemFailure) -> Descriptor {
    precondition(!chainIsOpen, "a connect cannot be a step of a chain")
    try adopt(descriptor, as: [])
    let record = sockets[descriptor]
    record.pointee.setupToken = token
    if address.isUnix {
      record.pointee.state.insert(.local)
      // Never waits (unix(7)): through the ring a full backlog would occupy a worker thread.
      let result = Sockets.connectUnix(descriptor, address)
      queue.append(Completion(token: token, result: result))
      return Descriptor(rawValue: descriptor)
    }
    record.pointee.state.insert(.connecting)
    statistics.operationsInFlight += 1
    let entry = self.entry()
    // The entry that was given is the one before the next.
    let place = (ring.nextIndex + Int(ring.sqMask)) & Int(ring.sqMask)
    addresses[place] = address.storage
    entry.pointee.opcode = UInt8(CLINUX_OP_CONNECT)
    entry.pointee.fd = descriptor
    entry.pointee.addr = UInt64(UInt(bitPattern: addresses + place))
    entry.pointee.off = UInt64(address.length)
    entry.pointee.user_data = Self.userData(
      .connect, record.pointee.generation, UInt32(bitPattern: descriptor))
    return Descriptor(rawValue: descriptor)
  }

  public mutating func cancelConnect(_ socket: Descriptor) {
    let record = sockets[socket.rawValue]
    guard record.pointee.state.contains(.connecting),
      !record.pointee.state.contains(.stoppingConnect)
    else { return }
    record.pointee.state.insert(.stoppingConnect)
    cancel(
      Self.userData(
        .connect, record.pointee.generation, UInt32(bitPattern: socket.rawValue)))
  }

  mutating func connected(_ descriptor: Int32, _ generation: UInt32, _ result: Int32) {
    let record = sockets[descriptor]
    guard record.pointee.generation == generation, record.pointee.state.contains(.connecting)
    else { return engineBug("a connect completed that nobody has in flight") }
    // A signal or the cancellation may end it as EINTR: the same to whoever waits.
    let result = result == -EINTR ? -ECANCELED : result
    record.pointee.state.subtract([.connecting, .stoppingConnect])
    statistics.operationsInFlight -= 1
    queue.append(Completion(token: record.pointee.setupToken, result: result))
  }

  public mutating func shutdown(_ socket: Descriptor, _ direction: ShutdownDirection) {
    precondition(!chainIsOpen, "of shutdowns only the reported one can be a step of a chain")
    // A send that was submitted before the shutdown goes first.
    if sockets[socket.rawValue].pointee.sendCell != nil { submitAndTry() }
    guard let number = systemDescriptor(socket.rawValue) else {
      return shutdownSlot(socket.rawValue, direction)
    }
    statistics.systemCalls += 1
    Sockets.shutdown(number, direction)
  }

  public mutating func resetOnClose(_ socket: Descriptor) {
    guard let number = systemDescriptor(socket.rawValue) else {
      return resetOnCloseOfSlot(socket.rawValue)
    }
    statistics.systemCalls += 1
    Sockets.resetOnClose(number)
  }

  /// Closes through the ring, in the enter of this turn: no system call of its own. A listener
  /// is closed at once, so that its address can be bound again in the same turn.
  public mutating func close(_ descriptor: Descriptor) {
    let listening = sockets[descriptor.rawValue].pointee.state.contains(.listening)
    requireNoReceiveStep(descriptor.rawValue)
    sockets.retire(descriptor.rawValue)
    if listening {
      statistics.systemCalls += 1
      Glibc.close(descriptor.rawValue)
      return
    }
    let entry = self.entry()
    fillClose(entry, descriptor.rawValue)
    entry.pointee.flags = UInt8(CLINUX_SQE_CQE_SKIP_SUCCESS)
    entry.pointee.user_data = Self.userData(.ignored, 0, 0)
    // Whoever takes the slot next submits behind this entry.
    if descriptor.isDirect { direct.giveBack(descriptor) }
  }

  public func peerAddress(_ socket: Descriptor) -> SocketAddress? {
    socket.isDirect ? nil : Sockets.peer(socket.rawValue)
  }
  public func isBroken(_ socket: Descriptor) -> Bool {
    !socket.isDirect && Sockets.isBroken(socket.rawValue)
  }
  public func localAddress(_ socket: Descriptor) -> SocketAddress? {
    socket.isDirect ? nil : Sockets.local(socket.rawValue)
  }
}
