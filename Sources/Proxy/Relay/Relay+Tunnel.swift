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
  /// The server has switched protocols (101). - Parameter response: the bytes of its head.
  /// - Returns: whether the exchange is still there.
  @inline(never)
  mutating func switchProtocols(
    _ u: UpstreamPointer, _ x: ExchangePointer, response bytes: UnsafeRawBufferPointer
  ) -> Bool {
    let response = upstreams.http1.head.view(in: bytes)
    guard isAgreed(x, response) else {
      return perform(x, x.pointee.state.fail(.upstreamUpgrade))
    }
    // Of HTTP/2 the client sees a 200.
    let status: UInt16 = x.pointee.request.isHTTP2 ? 200 : 101
    let actions = x.pointee.state.upgradeAccepted(status)
    if x.pointee.state.mode == .tunnel {
      loop.counters.tunnels += 1
      openTunnels += 1
    }
    guard perform(x, actions) else { return false }
    guard x.pointee.state.mode == .tunnel else { return true }
    x.pointee.times.firstByte = loop.engine.now
    let before = x.pointee.held.count
    guard
      downstreams.switchProtocols(
        x.pointee.downstream, response, to: offered(x), &x.pointee.request,
        into: &x.pointee.held, &loop)
    else { return perform(x, x.pointee.state.fail(.upstreamMalformed)) }
    x.pointee.state.responseWritten(x.pointee.held.count - before)
    x.pointee.request.becomeTunnel()
    x.pointee.response.body.begin(.untilClose)
    x.pointee.response.persists = false
    setResponseDeadline(u, x)
    // What has come behind the request was not for this proxy.
    return resumeRequest(x)
  }

  /// Counts the end of a tunnel.
  mutating func countTunnelEnd(isCut: Bool) {
    openTunnels -= 1
    if isCut { loop.counters.tunnelsCut += 1 }
  }
}
