// Listening, accepting, connecting, closing.

import CLinux
import Glibc

extension Simulated {
  public mutating func listen(
    _ address: SocketAddress, backlog: Int32, reusePort: Bool
  ) throws(SystemFailure) -> Descriptor {
    try checkDescriptors("socket for \(address)")
    let listener = try world.bind(address, backlog: Int(backlog), reusePort: reusePort) {}
    guard let number = open(SimulatedHandle(.listener(listener))) else {
      world.unbind(listener)
      throw SystemFailure(code: EMFILE, operation: "descriptor limit of the engine")
    }
    listener.arrived = { [inbox] in inbox.mark(number) }
    return Descriptor(rawValue: number)
  }

  func checkDescriptors(_ operation: String) throws(SystemFailure) {
    if world.isOutOfDescriptors { throw SystemFailure(code: EMFILE, operation: operation) }
  }

  public mutating func accept(_ listener: Descriptor, _ token: Token) {
    let handle = known(listener)
    precondition(!handle.isAccepting, "two accepts on one listener")
    world.note(.accept, token.rawValue, Int64(listener.rawValue))
    handle.setupToken = token
    handle.isAccepting = true
    statistics.operationsInFlight += 1
    // Somebody may have come before.
    inbox.mark(listener.rawValue)
  }

  public mutating func stopAccepting(_ listener: Descriptor) {
    let handle = known(listener)
    guard handle.isAccepting, !handle.stopsAccepting else { return }
    world.note(.stop, handle.setupToken.rawValue, Int64(listener.rawValue))
    if world.dice.chance(world.conditions.slowCancellations) {
      handle.stopsAccepting = true
      inbox.mark(listener.rawValue)
    } else {
      endAccept(handle, -ECANCELED)
    }
  }

  private mutating func endAccept(_ handle: SimulatedHandle, _ result: Int32) {
    handle.isAccepting = false
    handle.stopsAccepting = false
    ended(handle.setupToken, result)
  }

  mutating func serveListener(_ number: Int32, _ handle: SimulatedHandle) {
    guard handle.isAccepting, case .listener(let listener) = handle.thing else { return }
    while !listener.waiting.isEmpty {
      if isOutOfDescriptorsNow() { return endAccept(handle, -EMFILE) }
      guard let accepted = takeConnection(listener) else { continue }
      queue.append(Completion(token: handle.setupToken, result: accepted, more: true))
    }
    if handle.stopsAccepting { endAccept(handle, -ECANCELED) }
  }

  private func isOutOfDescriptorsNow() -> Bool {
    world.isOutOfDescriptors || world.dice.chance(world.conditions.acceptExhaustions)
  }

  /// Gives the first waiting connection a number, or closes it (counted) if there is none.
  private mutating func takeConnection(_ listener: SimulatedListener) -> Int32? {
    let end = listener.waiting.removeFirst()
    if world.dice.chance(world.conditions.acceptAborts) {
      end.breakApart()
      return nil
    }
    guard let number = open(SimulatedHandle(.stream(end))) else {
      statistics.connectionsRefused += 1
      end.close()
      return nil
    }
    return number
  }

  public mutating func acceptNow(_ listener: Descriptor) -> Descriptor? {
    guard case .listener(let waiting) = known(listener).thing else { return nil }
    guard !waiting.waiting.isEmpty, !world.isOutOfDescriptors else { return nil }
    return takeConnection(waiting).map { Descriptor(rawValue: $0) }
  }

  public mutating func connect(
    _ address: SocketAddress, _ token: Token
  ) throws(SystemFailure) -> Descriptor {
    try connect(address, from: ConnectionOrigin(), token)
  }

  public mutating func connect(
    _ address: SocketAddress, from origin: ConnectionOrigin, _ token: Token
  ) throws(SystemFailure) -> Descriptor {
    try checkDescriptors("socket for \(address)")
    var local = world.localAddress(for: address)
    if let from = origin.address, !address.isUnix {
      local = from.port == 0 ? from.with(port: local.port) : from
    }
    if let ports = origin.ports, !address.isUnix {
      let count = Int(ports.upperBound - ports.lowerBound) + 1
      local = local.with(port: ports.lowerBound + UInt16(world.dice.roll(count)))
    }
    let end = SimulatedEnd(world, local: local, remote: address)
    let handle = SimulatedHandle(.stream(end))
    guard let number = open(handle) else {
      throw SystemFailure(code: EMFILE, operation: "descriptor limit of the engine")
    }
    world.note(.connect, token.rawValue, Int64(number))
    handle.setupToken = token
    handle.isConnecting = true
    statistics.operationsInFlight += 1
    let attempt = SimulatedAttempt(end) { [inbox, unowned handle] result in
      handle.attempt = nil
      handle.connectResult = result
      inbox.mark(number)
    }
    handle.attempt = attempt
    world.dial(attempt)
    return Descriptor(rawValue: number)
  }

  mutating func finishConnect(_ handle: SimulatedHandle) {
    guard let result = handle.connectResult else { return }
    handle.connectResult = nil
    handle.isConnecting = false
    ended(handle.setupToken, result)
  }

  public mutating func cancelConnect(_ socket: Descriptor) {
    let handle = known(socket)
    // One that has ended and was not yet reported was faster.
    guard handle.isConnecting, handle.connectResult == nil else { return }
    world.note(.stop, handle.setupToken.rawValue, Int64(socket.rawValue))
    handle.attempt?.cancel()
    handle.attempt = nil
    handle.connectResult = -ECANCELED
    if world.dice.chance(world.conditions.slowCancellations) {
      inbox.mark(socket.rawValue)
    } else {
      finishConnect(handle)
    }
  }

  public mutating func shutdown(_ socket: Descriptor, _ direction: ShutdownDirection) {
    makeDeferredSends()
    world.note(.shutdown, UInt64(socket.rawValue), direction == .both ? 2 : 1)
    guard case .stream(let end) = known(socket).thing else { return }
    end.shutdown(direction)
  }

  public mutating func resetOnClose(_ socket: Descriptor) {
    guard case .stream(let end) = known(socket).thing else { return }
    end.resetsOnClose = true
  }

  public mutating func close(_ descriptor: Descriptor) {
    let handle = known(descriptor)
    precondition(!handle.isBusy, "close with an operation in flight")
    world.note(.close, UInt64(descriptor.rawValue), 0)
    handle.abandon(world)
    release(descriptor.rawValue)
  }

  public func peerAddress(_ socket: Descriptor) -> SocketAddress? {
    guard case .stream(let end)? = handle(socket.rawValue)?.thing else { return nil }
    return end.remote
  }

  public func localAddress(_ socket: Descriptor) -> SocketAddress? {
    switch handle(socket.rawValue)?.thing {
    case .stream(let end)?: end.local
    case .listener(let listener)?: listener.address
    default: nil
    }
  }
}
