// Connecting, shutting down and closing; where connections come from.

import CLinux
import Glibc

extension Simulated {
  public mutating func connect(
    _ address: SocketAddress, _ token: Token
  ) throws(SystemFailure) -> Descriptor {
    try connect(address, from: ConnectionOrigin(), token)
  }

  public mutating func connect(
    _ address: SocketAddress, from origin: ConnectionOrigin, _ token: Token
  ) throws(SystemFailure) -> Descriptor {
    refuseInChain()
    try checkDescriptors("socket for \(address)")
    if let from = origin.address, !world.network.isOurs(from) {
      throw SystemFailure(code: EADDRNOTAVAIL, operation: "bind \(from)")
    }
    var local = world.localAddress(for: address)
    if let from = origin.address, !address.isUnix {
      local = from.port == 0 ? from.with(port: local.port) : from
    }
    var isUsedUp = false
    if let ports = origin.ports, !address.isUnix {
      if let free = world.network.freePort(local, ports, to: address, &world.dice) {
        local = free
      } else {
        isUsedUp = true
      }
    }
    let end = SimulatedEnd(world, local: local, remote: address)
    let handle = SimulatedHandle(.stream(end))
    guard let number = open(handle) else {
      throw SystemFailure(code: EMFILE, operation: "descriptor limit of the engine")
    }
    world.note(.connect, token.rawValue, Int64(number))
    handle.setupToken = token
    handle.isConnecting = true
    handle.isConnected = false
    statistics.operationsInFlight += 1
    let attempt = SimulatedAttempt(end) { [inbox, unowned handle] result in
      handle.attempt = nil
      handle.connectResult = result
      inbox.mark(number)
    }
    if isUsedUp {
      handle.connectResult = -EADDRNOTAVAIL
      inbox.mark(number)
    } else {
      world.network.occupy(local, to: address)
      handle.occupies = true
      handle.attempt = attempt
      world.dial(attempt)
    }
    return Descriptor(rawValue: number)
  }

  mutating func finishConnect(_ handle: SimulatedHandle) {
    guard let result = handle.connectResult else { return }
    handle.connectResult = nil
    handle.isConnecting = false
    handle.isConnected = result == 0
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

  // MARK: The end

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

  /// shutdown(2) as an operation.
  public mutating func shutdown(
    _ socket: Descriptor, _ direction: ShutdownDirection, _ token: Token
  ) {
    if isStep(token, { $0.shutdown(socket, direction, token) }, on: socket) { return }
    guard let control = control(token, .plain) else { return }
    makeDeferredSends()
    world.note(.shutdown, token.rawValue, direction == .both ? 2 : 1)
    var result: Int32 = -EBADF
    if let handle = handle(socket.rawValue) {
      result = -ENOTSOCK
      if case .stream(let end) = handle.thing {
        let isConnected = handle.isConnected && !end.isDead
        if isConnected { end.shutdown(direction) }
        result = isConnected ? 0 : -ENOTCONN
      }
    }
    inbox.finished(.control(control, result))
  }

  public mutating func close(_ descriptor: Descriptor) {
    world.note(.close, UInt64(descriptor.rawValue), 0)
    let handle = known(descriptor)
    precondition(!handle.isBusy, "close with an operation in flight")
    letGo(descriptor, handle)
  }

  /// close(2) as an operation. The descriptor is free when it is made, not when that is reported.
  public mutating func close(_ descriptor: Descriptor, _ token: Token) {
    if isStep(token, { $0.close(descriptor, token) }, on: descriptor) { return }
    world.note(.close, token.rawValue, Int64(descriptor.rawValue))
    guard let control = control(token, .plain) else { return }
    let handle = handle(descriptor.rawValue)
    if let handle {
      precondition(!handle.isBusy, "close with an operation in flight")
      letGo(descriptor, handle)
    }
    inbox.finished(.control(control, handle == nil ? -EBADF : 0))
  }

  private mutating func letGo(_ descriptor: Descriptor, _ handle: SimulatedHandle) {
    if case .stream(let end) = handle.thing, handle.occupies {
      world.network.vacate(end.local, to: end.remote)
    }
    handle.abandon(world)
    release(descriptor.rawValue)
  }

  public func peerAddress(_ socket: Descriptor) -> SocketAddress? {
    guard !socket.isDirect, case .stream(let end)? = handle(socket.rawValue)?.thing else {
      return nil
    }
    // As getpeername(2): ENOTCONN.
    return end.isDead ? nil : end.remote
  }

  public func isBroken(_ socket: Descriptor) -> Bool {
    guard !socket.isDirect, case .stream(let end)? = handle(socket.rawValue)?.thing else {
      return false
    }
    return end.error != 0
  }

  public func localAddress(_ socket: Descriptor) -> SocketAddress? {
    if socket.isDirect { return nil }
    switch handle(socket.rawValue)?.thing {
    case .stream(let end)?: return end.local
    case .listener(let listener)?: return listener.address
    case .datagrams(let socket)?: return socket.address
    default: return nil
    }
  }

  // MARK: Placement

  public mutating func placeByCPU(_ listener: Descriptor, count: Int) -> Int32 {
    guard case .listener(let group)? = handle(listener.rawValue)?.thing else { return -EBADF }
    return group.sharesAddress && count > 0 ? 0 : -EINVAL
  }

  public mutating func preferCPU(_ listener: Descriptor, cpu: Int) -> Int32 {
    handle(listener.rawValue) == nil ? -EBADF : 0
  }

  /// A world has one CPU.
  public func incomingCPU(_ socket: Descriptor) -> Int? {
    if case .stream? = handle(socket.rawValue)?.thing { return 0 }
    return nil
  }

  public func incomingQueue(_ socket: Descriptor) -> Int? { nil }
}
