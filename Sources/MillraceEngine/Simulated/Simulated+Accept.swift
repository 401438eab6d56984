// Listening and accepting.

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
    return Descriptor(rawValue: number)
  }

  func checkDescriptors(_ operation: String) throws(SystemFailure) {
    if world.isOutOfDescriptors { throw SystemFailure(code: EMFILE, operation: operation) }
  }

  public mutating func accept(_ listener: Descriptor, _ token: Token) {
    refuseInChain()
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

  /// Accepts one connection, at the first chance.
  public mutating func acceptOne(
    _ listener: Descriptor, into slot: Descriptor?, _ token: Token
  ) {
    if isStep(token, { $0.acceptOne(listener, into: slot, token) }, on: listener) { return }
    statistics.operationsInFlight += 1
    world.note(.accept, token.rawValue, Int64(listener.rawValue))
    guard let handle = handle(listener.rawValue), case .listener = handle.thing else {
      return fail(token, -EBADF)
    }
    precondition(!handle.isAccepting, "two accepts on one listener")
    handle.setupToken = token
    handle.setupChain = beginning
    handle.isAccepting = true
    handle.acceptsOne = true
    handle.acceptSlot = slot
    inbox.mark(listener.rawValue)
  }

  mutating func endAccept(_ handle: SimulatedHandle, _ result: Int32) {
    handle.isAccepting = false
    handle.stopsAccepting = false
    handle.acceptsOne = false
    // Or the next accept of any kind would fill it.
    handle.acceptSlot = nil
    let chain = handle.setupChain
    handle.setupChain = nil
    ended(handle.setupToken, result)
    advance(chain, result >= 0)
  }

  mutating func serveListener(_ number: Int32, _ handle: SimulatedHandle) {
    guard handle.isAccepting, case .listener(let listener) = handle.thing else { return }
    while !listener.waiting.isEmpty {
      if handle.acceptSlot == nil && isOutOfDescriptorsNow() { return endAccept(handle, -EMFILE) }
      guard let accepted = takeConnection(listener, into: handle.acceptSlot) else { continue }
      if handle.acceptsOne { return endAccept(handle, accepted) }
      queue.append(Completion(token: handle.setupToken, result: accepted, more: true))
    }
    if handle.stopsAccepting { endAccept(handle, -ECANCELED) }
  }

  private func isOutOfDescriptorsNow() -> Bool {
    world.isOutOfDescriptors || world.dice.chance(world.conditions.acceptExhaustions)
  }

  /// Gives the first waiting connection a number, or closes it (counted) if there is none.
  private mutating func takeConnection(
    _ listener: SimulatedListener, into slot: Descriptor? = nil
  ) -> Int32? {
    let end = listener.waiting.removeFirst()
    if world.dice.chance(world.conditions.acceptAborts) {
      end.breakApart()
      return nil
    }
    if let slot {
      fill(slot, SimulatedHandle(.stream(end)))
      return 0
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
}
