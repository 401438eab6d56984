// Taking in the connections that `Listeners` brings, and refusing them at the limit.

import Configuration
import Glibc
import HTTP1
import MillraceEngine
import Synchronization
import TLS
import Transport

extension Worker where E: ~Copyable {
  mutating func accepted(_ listener: UInt32, _ completion: Completion) {
    switch listeners.accepted(Int(listener), completion, &engine) {
    case .accepted(let socket): admit(socket, Int(listener))
    case .stopped: emptyListener(Int(listener))
    case .none: break
    }
  }

  /// Takes what waits in a listener's queue, then closes it.
  mutating func emptyListener(_ listener: Int) {
    while let socket = listeners.takeWaiting(listener, &engine) { admit(socket, listener) }
  }

  /// A connection that was to go to another worker: where that one did not take it, it stays.
  mutating func handOverEnded(_ completion: Completion) {
    guard let (number, listener) = listeners.handOverEnded(completion) else {
      counters.handedOver += 1
      return
    }
    takeOver(number, listener)
  }

  /// A connection of another worker's, or one that nobody else could take.
  mutating func takeOver(_ number: Int32, _ listener: Int) {
    guard let socket = try? engine.adopt(number) else {
      // A number beyond the table, or a peer that has gone since; it sees an end, as at the accept.
      Glibc.close(number)
      counters.refused += 1
      return
    }
    // A worker that drains still serves what the kernel had accepted; one that has finished with
    // its connections does not begin again.
    guard drain == .serving || drain == .draining else {
      engine.resetOnClose(socket)
      engine.close(socket)
      counters.refused += 1
      return
    }
    admit(socket, listener)
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
    listeners.noteQueue(socket, engine)
    let d = downstreams[slot]
    d.initialize(
      to: Downstream(socket: socket, slot: slot, listener: plan.listener(listener)))
    if let context = plan.current.listeners[listener].tls {
      guard let session = TLSSession(context: context.takeUnretainedValue()),
        channels.open(session, on: &d.pointee.transport)
      else {
        d.deinitialize(count: 1)
        downstreams.release(slot)
        return refuse(socket)
      }
    }
    plan.join(listener)
    counters.accepted += 1
    counters[listener: plan.row(ofListener: d.pointee.listener), .accepted] += 1
    d.pointee.clientLength = textLength
    d.pointee.transport.deadline = engine.now + plan.current.listeners[listener].headTimeout
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
