// Requests for tunnels that wait on a connection of HTTP/2 to hear whether its server takes them (RFC 8441 3):
// its SETTINGS say so, or do not come.

import Configuration
import Exchange
import Glibc
import HTTP1
import HTTP2
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  /// The input of a turn is used up, on a connection for whose SETTINGS tunnels have waited.
  @inline(never)
  mutating func settingsCame(_ u: UpstreamPointer) {
    let c = upstreams.http2[u.pointee.slot]
    guard c.pointee.session.hasSettings else { return }
    c.pointee.awaitsSettings = false
    let takesTunnels = c.pointee.session.takesExtendedConnect
    upstreams.server(of: u).pointee.refusesTunnels = !takesTunnels
    eachStream(u) { relay, s, x in
      guard s.pointee.http2.awaitsSettings else { return }
      let c = relay.upstreams.http2[u.pointee.slot]
      if !takesTunnels {
        _ = relay.tunnelRefused(x)
      } else if relay.upstreams.openAwaited(s) {
        if relay.begin(x, with: s), let own = relay.upstream(of: x) { relay.flush(own) }
      } else if c.pointee.session.allowsStreams {
        // It has taken as many as it may: the others wait on another connection.
        _ = relay.perform(x, x.pointee.state.upstreamUnfit())
      } else {
        _ = relay.perform(x, x.pointee.state.connectFailed(.connectFailed))
      }
    }
  }

  /// The server takes no tunnel over HTTP/2: it is asked by HTTP/1.1 where it may speak that.
  private mutating func tunnelRefused(_ x: ExchangePointer) -> Bool {
    guard loop.plan.upstreams[Int(x.pointee.group)].speaks == .negotiated else {
      return perform(x, x.pointee.state.fail(.noExtendedConnect))
    }
    x.pointee.upgrade.needsHTTP1 = true
    return perform(x, x.pointee.state.upstreamUnfit())
  }

  /// SETTINGS have not come in time.
  mutating func settingsTimedOut(_ s: UpstreamPointer) {
    guard let x = exchange(of: s) else { return }
    settle(x) { $0.perform($1, $1.pointee.state.connectTimedOut()) }
  }

  /// Gives the server the end of a tunnel whose client has ended its side of a connection of HTTP/1.1.
  mutating func endTunnelRequest(_ u: UpstreamPointer, _ x: ExchangePointer) {
    guard x.pointee.state.request == .open, x.pointee.state.upstream.hasBuffer else { return }
    guard loop.prepare(&u.pointee.outgoing), u.pointee.outgoing.hasRoomForChunk() else {
      _ = perform(x, x.pointee.state.requestBlocked())
      return
    }
    let before = u.pointee.outgoing.count
    guard upstreams.endContent(u, nil, .untilClose) else {
      _ = perform(x, x.pointee.state.fail(.resourcesExhausted))
      return
    }
    _ = perform(x, x.pointee.state.requestEnd(buffered: u.pointee.outgoing.count - before))
  }
}
