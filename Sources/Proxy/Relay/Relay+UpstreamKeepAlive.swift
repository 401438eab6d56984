// Servers of HTTP/2 that fall silent: who is asked for a sign of life, and what becomes of the connection
// of one that gives none. A look of the timer wheel is when that is decided; a request costs nothing.

import Exchange
import HTTP2
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  /// Asks a server for a sign of life when it has been silent for too long, and ends its connection where
  /// none comes. One that has been asked is looked at even without a stream: it would be given the next
  /// request. - Returns: when to look again.
  mutating func checkServer(_ u: UpstreamPointer) -> Int64 {
    let c = upstreams.http2[u.pointee.slot]
    guard u.pointee.phase == .busy, u.transport.pointee.closing == .open, !c.pointee.isClosing,
      !u.transport.pointee.paused, !u.transport.pointee.isStalled
    else { return .max }
    let rules = loop.plan.upstreams[Int(u.pointee.group)].ping
    let now = loop.engine.now
    guard c.pointee.ping.isDoubted || !c.pointee.exchanges.isEmpty else { return .max }
    switch c.pointee.ping.step(now, rules) {
    case .none: break
    case .ask:
      guard c.pointee.ask(now, rules) else { return .max }
      upstreams.noteOutput(u.pointee.slot)
    case .overdue:
      serverSilent(u)
      return .max
    }
    return c.pointee.ping.due(rules)
  }

  private mutating func serverSilent(_ u: UpstreamPointer) {
    loop.counters.http2PingTimeouts += 1
    logServerFailure(u, "ping_timeout", .noError)
    endStreams(u, .silent)
  }

  /// A request has got no response in time: the server may be slow, or gone. Until it has given a sign of
  /// life its connection gets no other one.
  mutating func doubt(_ s: UpstreamPointer) {
    guard s.pointee.kind == .stream, s.pointee.http2.connection >= 0 else { return }
    let u = upstreams[UInt32(bitPattern: s.pointee.http2.connection)]
    let c = upstreams.http2[u.pointee.slot]
    guard u.pointee.phase == .busy, !c.pointee.ping.isDoubted,
      c.pointee.ask(loop.engine.now, loop.plan.upstreams[Int(u.pointee.group)].ping)
    else { return }
    upstreams.noteOutput(u.pointee.slot)
  }
}
