// Connections to servers that are shared by many exchanges: what they send, and how they end.

import Glibc
import HTTP2
import MillraceEngine
import Transport

extension Upstreams {
  /// Sends what a connection has to send. - Returns: false if what is to be sent cannot be.
  mutating func flushShared<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) -> Bool {
    let c = http2[u.pointee.slot]
    let t = u.transport
    guard u.pointee.phase == .busy, t.pointee.closing == .open else { return true }
    for _ in 0..<2 {
      guard c.pointee.handOver(t, &loop) else { return false }
      guard !t.pointee.unsent.isEmpty, !t.pointee.sending else { break }
      send(u, .awaited, &loop)
      if t.pointee.sending { c.pointee.output.tookOff() }
    }
    if t.pointee.sending && !(t.pointee.unsent.isEmpty && c.pointee.output.frames.isEmpty) {
      loop.coalescing.hurry()
    }
    if c.pointee.isClosing, c.pointee.output.frames.isEmpty, !c.pointee.session.hasControl,
      t.pointee.isIdle
    {
      close(u, &loop)
    }
    return true
  }

  // MARK: The end

  /// What becomes of a connection that may have lost its last stream.
  mutating func settleShared<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) {
    let c = http2[u.pointee.slot]
    guard u.transport.pointee.closing == .open, u.pointee.phase == .busy else {
      // No stream is left that waits for this connect.
      if c.pointee.exchanges.isEmpty && u.transport.pointee.closing == .open { close(u, &loop) }
      return
    }
    noteOutput(u.pointee.slot)
    guard c.pointee.exchanges.isEmpty else { return }
    u.pointee.isReused = true
    u.pointee.idleSince = loop.engine.now
    guard !c.pointee.isEnding, loop.isServing, server(of: u).pointee.group >= 0 else {
      return closeWhenSent(u, &loop)
    }
    u.transport.pointee.deadline =
      loop.engine.now + loop.plan.upstreams[Int(u.pointee.group)].idleTimeout
    loop.armTimer(u.transport, node(u))
  }

  /// No stream is opened on a connection any more; it ends with its last one.
  mutating func retire<E: Engine & ~Copyable>(_ u: UpstreamPointer, _ loop: inout Loop<E>) {
    let c = http2[u.pointee.slot]
    c.pointee.isEnding = true
    c.pointee.session.refuseStreams()
    settleShared(u, &loop)
  }

  /// The worker drains: a connection without streams says goodbye.
  mutating func drainShared<E: Engine & ~Copyable>(_ u: UpstreamPointer, _ loop: inout Loop<E>) {
    guard http2[u.pointee.slot].pointee.exchanges.isEmpty else { return }
    unlinkShared(u)
    if u.pointee.phase == .busy { closeWhenSent(u, &loop) } else { close(u, &loop) }
  }

  /// Whether exchanges are under way on a connection.
  mutating func hasStreams(_ u: UpstreamPointer) -> Bool {
    !http2[u.pointee.slot].pointee.exchanges.isEmpty
  }

  /// Closes a connection once its GOAWAY has left, or when a server takes nothing of it for too long.
  mutating func closeWhenSent<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) {
    let c = http2[u.pointee.slot]
    guard u.transport.pointee.closing == .open, !c.pointee.isClosing else { return }
    c.pointee.isClosing = true
    c.pointee.session.refuseStreams()
    u.transport.pointee.deadline = loop.engine.now + Watermark.lingerNanoseconds
    loop.armTimer(u.transport, node(u))
    noteOutput(u.pointee.slot)
  }

  // MARK: Plans and addresses

  /// Settles the connections of a plan that was replaced: those to servers that stay are kept.
  mutating func adoptShared<E: Engine & ~Copyable>(of place: Int, _ loop: inout Loop<E>) {
    for state in pools.states(place) {
      var slot = state.pointee.sharedHead
      while slot >= 0 {
        let u = self[UInt32(slot)]
        slot = u.pointee.idleNext
        if state.pointee.group >= 0 {
          u.pointee.group = state.pointee.group
          u.pointee.server = state.pointee.place
        } else {
          unlinkShared(u)
          retire(u, &loop)
        }
      }
    }
  }

  /// A connect has failed: goes on with the server's next address. - Returns: false if there is none.
  mutating func trySharedNextAddress<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) -> Bool {
    guard u.pointee.choice.left > 0 else { return false }
    let count = loop.plan.upstreams[Int(u.pointee.group)].servers[Int(u.pointee.server)]
      .addresses.count
    var choice = u.pointee.choice
    choice.advance(of: count)
    guard case .connecting(let next) = connect(-1, u.pointee.group, u.pointee.server, choice, &loop)
    else { return false }
    unlinkShared(u)
    http2.move(u.pointee.slot, to: next.pointee.slot)
    u.pointee.kind = .http1
    linkShared(next)
    for slot in http2[next.pointee.slot].pointee.exchanges {
      self[slot].pointee.http2.connection = Int32(bitPattern: next.pointee.slot)
    }
    close(u, &loop)
    return true
  }
}
