// From the 101 of a server to a tunnel (RFC 9110 7.8). From then on bytes take the way of content without
// framing: the same buffers, watermarks and pauses, in both directions (Relay+Request, Relay+Response);
// what is special about its sending and its time is in Relay+Flush.

import Exchange
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  /// The server has switched protocols: by a 101, or on a stream by a 200.
  /// - Returns: whether the exchange is still there.
  @inline(never)
  mutating func switchProtocols(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ response: ResponseView
  ) -> Bool {
    guard isAgreed(u, x, response) else {
      return perform(x, x.pointee.state.fail(.upstreamUpgrade))
    }
    // Of HTTP/2 the client sees a 200.
    let status: UInt16 = x.pointee.request.isHTTP2 ? 200 : 101
    guard accept(x, status) else { return false }
    guard x.pointee.state.mode == .tunnel else { return true }
    x.pointee.times.firstByte = loop.engine.now
    let before = x.pointee.held.count
    let isOwn = u.pointee.kind == .stream && x.pointee.upgrade.hasKey
    guard
      downstreams.switchProtocols(
        x.pointee.downstream, response, to: offered(x),
        accepting: isOwn ? x.pointee.upgrade.key : nil, &x.pointee.request,
        into: &x.pointee.held, &loop)
    else { return perform(x, x.pointee.state.fail(.upstreamMalformed)) }
    x.pointee.state.responseWritten(x.pointee.held.count - before)
    return open(u, x)
  }

  /// A connection to a server is there for one that is passed on as it is.
  /// - Returns: whether the exchange is still there.
  @inline(never)
  mutating func beginTunnel(_ u: UpstreamPointer, _ x: ExchangePointer) -> Bool {
    guard accept(x, 0) else { return false }
    return x.pointee.state.mode != .tunnel || open(u, x)
  }

  /// Makes a tunnel of an exchange, if that may be. - Returns: whether the exchange is still there.
  private mutating func accept(_ x: ExchangePointer, _ status: UInt16) -> Bool {
    let actions = x.pointee.state.upgradeAccepted(status)
    if x.pointee.state.mode == .tunnel {
      loop.counters.tunnels += 1
      openTunnels += 1
    }
    return perform(x, actions)
  }

  /// What follows has no framing. What has come already was not for this proxy, and goes first.
  private mutating func open(_ u: UpstreamPointer, _ x: ExchangePointer) -> Bool {
    x.pointee.request.becomeTunnel()
    x.pointee.response.body.begin(.untilClose)
    x.pointee.response.persists = false
    // It is not asked for again.
    x.pointee.record.head = nil
    x.pointee.record.headMemory = nil
    setResponseDeadline(u, x)
    return resumeRequest(x)
  }
}
