// Connections to servers that are made for many requests: their handshake is done, or they have failed.

import Configuration
import Exchange
import Glibc
import HTTP2
import Logging
import MillraceEngine
import TLS
import Transport

extension Relay where E: ~Copyable {
  // MARK: Connecting

  /// A connection is made, and its handshake done where it has one: what its streams have leaves.
  mutating func sharedEstablished(_ u: UpstreamPointer) {
    if let channel = u.transport.pointee.tls,
      !Self.speaksHTTP2(channel)
    {
      upstreams.server(of: u).pointee.choosesHTTP2 = false
      if loop.plan.upstreams[Int(u.pointee.group)].speaks == .negotiated { return sharedUnfit(u) }
      logTLSFailure(u, Failure(.tlsFailed).label, "the server did not choose h2 (ALPN)")
      return sharedFailed(u, .tlsFailed, timedOut: false)
    }
    upstreams.established(u)
    let now = loop.engine.now
    upstreams.http2[u.pointee.slot].pointee.ping.heard(now)
    u.transport.pointee.deadline = .max
    // The preface comes before anything else.
    guard upstreams.flushShared(u, &loop) else { return upstreams.noteLost(u) }
    eachStream(u) { relay, s, x in
      if s.pointee.http2.awaitsSettings {
        x.pointee.times.connected = now
        x.pointee.times.connectMicroseconds = (now - u.pointee.connectStart) / 1000
        return relay.upstreams.limitWait(s, &relay.loop)
      }
      s.pointee.phase = .busy
      x.pointee.times.connected = now
      x.pointee.times.connectMicroseconds = (now - u.pointee.connectStart) / 1000
      if s.pointee.http2.awaitsChoice {
        s.pointee.http2.awaitsChoice = false
        if relay.begin(x, with: s), let own = relay.upstream(of: x) { relay.flush(own) }
        return
      }
      guard relay.perform(x, x.pointee.state.upstreamReady()) else { return }
      if let s = relay.upstream(of: x) { relay.flush(s) }
    }
    upstreams.settleShared(u, &loop)
  }

  /// A server that may choose has chosen HTTP/1.1 this time, which is no failure: what was not written yet gets a
  /// connection of that.
  private mutating func sharedUnfit(_ u: UpstreamPointer) {
    upstreams.unlinkShared(u)
    eachStream(u) { relay, s, x in
      let isKept = s.pointee.http2.awaitsSettings || s.pointee.http2.awaitsChoice
      _ = relay.perform(
        x,
        isKept
          ? x.pointee.state.upstreamUnfit()
          : x.pointee.state.connectFailed(
            .tlsFailed, keepsUnsent: !s.pointee.outgoing.isEmpty))
    }
    upstreams.close(u, &loop)
  }

  /// The server has chosen a protocol: the request that waits for that is written.
  mutating func dialedEstablished(_ u: UpstreamPointer) {
    guard let channel = u.transport.pointee.tls, let x = exchange(of: u) else { return }
    let d = downstream(of: x)
    upstreams.established(u)
    let now = loop.engine.now
    x.pointee.times.connected = now
    x.pointee.times.connectMicroseconds = (now - u.pointee.connectStart) / 1000
    if begin(x, on: u, speaksHTTP2: Self.speaksHTTP2(channel) && !u.pointee.offersHTTP1),
      let own = upstream(of: x)
    {
      flush(own)
    }
    flush(d)
  }

  /// - Returns: whether the exchange goes on.
  private mutating func begin(
    _ x: ExchangePointer, on u: UpstreamPointer, speaksHTTP2: Bool
  ) -> Bool {
    var own = u
    if speaksHTTP2 {
      let asksTunnel = x.pointee.upgrade.place >= 0
      guard let stream = upstreams.share(u, asksTunnel: asksTunnel, &loop) else {
        // It has left its exchange already.
        if u.pointee.exchange < 0 { x.pointee.upstream = -1 }
        return perform(x, x.pointee.state.fail(.resourcesExhausted))
      }
      own = stream
      if asksTunnel {
        x.pointee.upstream = Int32(bitPattern: stream.pointee.slot)
        return true
      }
    } else {
      u.pointee.kind = .http1
      if !u.pointee.offersHTTP1 { upstreams.server(of: u).pointee.choosesHTTP2 = false }
    }
    return begin(x, with: own)
  }

  /// A connection of which the protocol is known, or a stream, is there for a request that was kept.
  /// - Returns: whether the exchange goes on.
  mutating func begin(_ x: ExchangePointer, with own: UpstreamPointer) -> Bool {
    x.pointee.upstream = Int32(bitPattern: own.pointee.slot)
    x.pointee.isFramed = own.pointee.kind == .stream
    let actions = x.pointee.state.upstreamReady()
    guard writeKeptHead(x, own) else {
      return perform(x, x.pointee.state.fail(.resourcesExhausted))
    }
    guard perform(x, actions) else { return false }
    return x.pointee.state.request != .open || resumeRequest(x)
  }

  private static func speaksHTTP2(_ channel: UnsafeMutablePointer<TLSChannel>) -> Bool {
    channel.pointee.session.withALPN { $0.elementsEqual("h2".utf8) }
  }

  /// A server could not be reached at one of its addresses.
  mutating func sharedFailed(_ u: UpstreamPointer, _ kind: Failure.Kind, timedOut: Bool) {
    let row = upstreams.server(of: u).pointee.row
    loop.counters[server: row, .connectFailures] += 1
    if u.pointee.phase == .handshaking { countHandshakeFailure(row, kind) }
    if upstreams.trySharedNextAddress(u, &loop) {
      // This address has failed, the attempt has not.
      loop.counters.upstreamFailures += 1
      if timedOut { loop.counters.timeouts += 1 }
      return
    }
    upstreams.noteUnreachable(u, loop)
    upstreams.unlinkShared(u)
    eachStream(u) { relay, s, x in
      let keepsUnsent =
        !s.pointee.outgoing.isEmpty || s.pointee.http2.awaitsSettings
        || s.pointee.http2.awaitsChoice
      _ = relay.perform(
        x,
        timedOut
          ? x.pointee.state.connectTimedOut(kind, keepsUnsent: keepsUnsent)
          : x.pointee.state.connectFailed(kind, keepsUnsent: keepsUnsent))
    }
    upstreams.close(u, &loop)
  }
}
