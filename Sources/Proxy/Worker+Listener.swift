// Accepting connections, and refusing them at the limit.

import Configuration
import Glibc
import HTTP1
import MillraceEngine
import Synchronization
import TLS

extension Worker where E: ~Copyable {
  /// How long accepting rests after the process ran out of descriptors or memory.
  private static var acceptPause: Int64 { 100_000_000 }

  mutating func startAccepting(_ listener: Int) {
    listeners[listener].retryAt = .max
    guard drain == .serving, listeners[listener].socket.isValid,
      !listeners[listener].accepting
    else { return }
    listeners[listener].accepting = true
    engine.accept(
      listeners[listener].socket,
      Token(kind: TokenKind.accept.rawValue, generation: 0, slot: UInt32(listener)))
  }

  mutating func accepted(_ listener: UInt32, _ completion: Completion) {
    if completion.result >= 0 {
      let socket = Descriptor(rawValue: completion.result)
      if board != nil && handOver(socket, Int(listener)) { return }
      return admit(socket, Int(listener))
    }
    guard completion.isTerminal else { return }
    listeners[Int(listener)].accepting = false
    guard drain == .serving else { return emptyListener(Int(listener)) }
    // EMFILE, ENFILE, ENOMEM, ENOBUFS: the connections wait in the backlog.
    listeners[Int(listener)].retryAt = engine.now + Self.acceptPause
  }

  /// Takes what waits in a listener's queue, then closes it: closing it full would reset clients
  /// that the kernel has already greeted.
  mutating func emptyListener(_ listener: Int) {
    let socket = listeners[listener].socket
    guard socket.isValid else { return }
    while let accepted = engine.acceptNow(socket) { admit(accepted, listener) }
    engine.close(socket)
    listeners[listener].socket = .none
  }

  /// Takes a new connection in, or refuses it with a reset when the process is full.
  mutating func admit(_ socket: Descriptor, _ listener: Int) {
    let limit = plan.limits.connections
    let others = connectionCount.pointee.wrappingAdd(1, ordering: .relaxed).oldValue
    guard others < limit, let slot = downstreams.take() else {
      return refuse(socket)
    }
    // Before anything is read: a client that has reset its connection may have no address any more
    // (ENOTCONN), and without one nothing of it is to be served or recorded.
    let text = UnsafeMutableRawBufferPointer(start: clientText + Int(slot) * 64, count: 64)
    let textLength = engine.peerAddress(socket)?.writeHost(to: text) ?? 0
    guard textLength > 0 else {
      downstreams.release(slot)
      return refuse(socket)
    }
    if let cpu, let arrived = engine.incomingCPU(socket), arrived != cpu {
      counters.acceptedElsewhere += 1
    }
    noteQueue(socket)
    let isTLS = plan.listeners[listener].tls != nil
    var session: TLSSession?
    if let context = plan.listeners[listener].tls {
      session = TLSSession(context: context.takeUnretainedValue())
      if session == nil {
        downstreams.release(slot)
        return refuse(socket)
      }
    }
    counters.accepted += 1
    counters[listener: Int32(listener), .accepted] += 1
    let d = downstreams[slot]
    d.initialize(
      to: Downstream(
        socket: socket, slot: slot, listener: Int32(listener), tls: session, isTLS: isTLS))
    d.pointee.clientLength = textLength
    d.pointee.transport.deadline = engine.now + plan.listeners[listener].headTimeout
    wheel.arm(Int(slot), at: lookAt(d.pointee.transport.deadline, engine.now))
    armDownstream(d)
  }

  private mutating func refuse(_ socket: Descriptor) {
    connectionCount.pointee.wrappingSubtract(1, ordering: .relaxed)
    counters.refused += 1
    engine.resetOnClose(socket)
    engine.close(socket)
  }
}
