// Tunnels through which much goes: their bytes go from socket to socket by the kernel (`Engine.relay`), one
// direction at a time, while they last. It is begun when nothing that came before waits any more, and finished
// when a look finds that nothing has moved. Only where both sides are plain: what TLS carries is read here.
//
// To the two transports it is a receive on the one and a send on the other, which one completion ends. An
// end of input, a reset, a drain or a timeout then take the same way as without it.

import Exchange
import Glibc
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  // MARK: The beginning

  /// Bytes of the client have come through a tunnel.
  @inline(never)
  mutating func notePassing(request x: ExchangePointer, _ d: DownstreamPointer) {
    if x.pointee.bulk.request.step == .draining { return beginPassing(x) }
    guard
      x.pointee.bulk.request.note(
        x.pointee.state.requestBytes, loop.engine.now, threshold: passingFrom),
      let u = upstream(of: x), isPlain(d, u), x.pointee.state.requestCanPass
    else { return }
    x.pointee.bulk.request.step = .draining
    downstreams.pause(d, &loop)
    d.transport.pointee.stopReceiving(&loop.engine)
    beginPassing(x)
  }

  /// Bytes of the server have come through a tunnel.
  @inline(never)
  mutating func notePassing(response x: ExchangePointer, _ u: UpstreamPointer) {
    if x.pointee.bulk.response.step == .draining { return beginPassing(x) }
    guard
      x.pointee.bulk.response.note(
        x.pointee.state.responseBytes, loop.engine.now, threshold: passingFrom),
      isPlain(downstream(of: x), u), x.pointee.state.responseCanPass
    else { return }
    x.pointee.bulk.response.step = .draining
    u.transport.pointee.paused = true
    u.transport.pointee.stopReceiving(&loop.engine)
    beginPassing(x)
  }

  private func isPlain(_ d: DownstreamPointer, _ u: UpstreamPointer) -> Bool {
    !d.pointee.isHTTP2 && u.pointee.kind == .http1 && d.transport.pointee.tls == nil
      && u.transport.pointee.tls == nil
  }

  /// Leaves each direction to the kernel that waits for it, if nothing is before it any more. Called
  /// whenever something has left, and when a receive has ended.
  @inline(never)
  mutating func beginPassing(_ x: ExchangePointer) {
    guard let u = upstream(of: x) else { return }
    let d = downstream(of: x)
    if x.pointee.bulk.request.step == .draining {
      if !x.pointee.state.requestCanPass {
        stopDraining(request: x, d)
      } else if x.pointee.state.requestMayPass, d.transport.pointee.canBeRelayed,
        u.transport.pointee.canTakeRelay
      {
        x.pointee.bulk.request.step = .passing
        d.transport.pointee.paused = false
        loop.counters.tunnelPassages += 1
        d.transport.pointee.relay(
          to: &u.transport.pointee, u.pointee.slot, downstreams.token(.requestRelay, d),
          &loop.engine)
        loop.watch(u.transport, upstreams.node(u))
      }
    }
    if x.pointee.bulk.response.step == .draining {
      if !x.pointee.state.responseCanPass {
        stopDraining(response: x, u)
      } else if x.pointee.state.responseMayPass, u.transport.pointee.canBeRelayed,
        d.transport.pointee.canTakeRelay
      {
        x.pointee.bulk.response.step = .passing
        u.transport.pointee.paused = false
        loop.counters.tunnelPassages += 1
        u.transport.pointee.relay(
          to: &d.transport.pointee, d.pointee.slot, upstreams.token(.responseRelay, u),
          &loop.engine)
        loop.watch(d.transport, Int(d.pointee.slot))
      }
    }
  }

  private mutating func stopDraining(request x: ExchangePointer, _ d: DownstreamPointer) {
    x.pointee.bulk.request = BulkFlow()
    guard !x.pointee.state.requestFlow.isPaused else { return }
    d.transport.pointee.paused = false
    downstreams.arm(d, &loop)
  }

  private mutating func stopDraining(response x: ExchangePointer, _ u: UpstreamPointer) {
    x.pointee.bulk.response = BulkFlow()
    guard !x.pointee.state.responseFlow.isPaused else { return }
    u.transport.pointee.paused = false
    upstreams.arm(u, &loop)
  }

  // MARK: Pauses

  /// A look has found that a passage to a client has moved nothing since the last one: its pipe is for
  /// others.
  mutating func endIdlePassage(to d: DownstreamPointer) {
    guard d.transport.pointee.send.isRelayed, let x = exchange(of: d), let u = upstream(of: x)
    else { return }
    u.transport.pointee.finishRelay(&loop.engine)
  }

  /// The same to a server.
  mutating func endIdlePassage(to u: UpstreamPointer) {
    guard u.transport.pointee.send.isRelayed, let x = exchange(of: u) else { return }
    downstream(of: x).transport.pointee.finishRelay(&loop.engine)
  }
}
