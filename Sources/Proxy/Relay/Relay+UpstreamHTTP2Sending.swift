// What becomes of requests over HTTP/2: connections that are made or fail, windows that open, what was
// sent.

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
      !channel.pointee.session.withALPN({ $0.elementsEqual("h2".utf8) })
    {
      logTLSFailure(u, Failure(.tlsFailed).label, "the server did not choose h2 (ALPN)")
      return sharedFailed(u, .tlsFailed, timedOut: false)
    }
    upstreams.established(u)
    let now = loop.engine.now
    u.transport.pointee.deadline = .max
    // The preface comes before anything else.
    guard upstreams.flushShared(u, &loop) else { return serverEnded(u, -EPIPE) }
    eachStream(u) { relay, s, x in
      s.pointee.phase = .busy
      x.pointee.times.connected = now
      x.pointee.times.connectMicroseconds = (now - u.pointee.connectStart) / 1000
      guard relay.perform(x, x.pointee.state.upstreamReady()) else { return }
      if let s = relay.upstream(of: x) { relay.flush(s) }
    }
    upstreams.settleShared(u, &loop)
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
      let keepsUnsent = !s.pointee.outgoing.isEmpty
      _ = relay.perform(
        x,
        timedOut
          ? x.pointee.state.connectTimedOut(kind, keepsUnsent: keepsUnsent)
          : x.pointee.state.connectFailed(kind, keepsUnsent: keepsUnsent))
    }
    upstreams.close(u, &loop)
  }

  // MARK: Sending

  /// Sends what connections of HTTP/2 were given in this turn.
  @inline(__always)
  mutating func flushShared() {
    if upstreams.hasNoted { flushNoted() }
  }

  private mutating func flushNoted() {
    while let u = upstreams.takeNoted() {
      pushReadyStreams(u)
      // What is given to it from here on is for the next turn's end.
      upstreams.http2[u.pointee.slot].pointee.isNoted = false
      if !upstreams.flushShared(u, &loop) { serverEnded(u, -EPIPE) }
    }
  }

  /// Gives streams their turn that had found no room, in the order in which they came.
  private mutating func pushReadyStreams(_ u: UpstreamPointer) {
    let c = upstreams.http2[u.pointee.slot]
    while let key = c.pointee.ready.first {
      if let s = upstreams.stream(key) {
        flush(s)
        // It found none again.
        if let s = upstreams.stream(key), !s.pointee.outgoing.isEmpty { return }
        s.pointee.http2.isReady = false
      }
      if c.pointee.ready.first == key { c.pointee.ready.removeFirst() }
    }
  }

  /// A connection's transport took all that was in flight.
  mutating func sharedSent(_ u: UpstreamPointer) {
    let c = upstreams.http2[u.pointee.slot]
    let t = u.transport
    var taken: [StreamBytes] = []
    swap(&taken, &c.pointee.flying)
    for bytes in taken {
      guard let s = upstreams.stream(bytes.key), let x = exchange(of: s) else { continue }
      if perform(x, x.pointee.state.requestTaken(bytes.count)), !x.pointee.state.awaitsServer,
        let s = upstream(of: x)
      {
        s.transport.pointee.deadline = .max
      }
    }
    // The memory is kept for the next send.
    taken.removeAll(keepingCapacity: true)
    if c.pointee.flying.isEmpty { swap(&taken, &c.pointee.flying) }
    guard t.pointee.closing == .open else { return }
    pushReadyStreams(u)
    guard upstreams.flushShared(u, &loop) else { return serverEnded(u, -EPIPE) }
    if c.pointee.isBlocked && !c.pointee.session.isControlFull {
      c.pointee.isBlocked = false
      t.pointee.paused = false
      useUnreadServerInput(u)
      upstreams.arm(u, &loop)
    }
    if let channel = t.pointee.tls { resumeDecrypting(u, channel) }
  }

  // MARK: Windows

  /// - Parameter stream: -1: the connection's or all streams'.
  mutating func serverWindowOpened(_ c: UnsafeMutablePointer<HTTP2Connection>, _ stream: Int) {
    if stream >= 0 {
      guard let s = upstreams.stream(named: c.pointee.session.tag(stream)) else { return }
      return resumeServerWindow(s)
    }
    let streams = c.pointee.exchanges.map { upstreams.key(upstreams[$0]) }
    for key in streams {
      if let s = upstreams.stream(key) { resumeServerWindow(s) }
    }
  }

  private mutating func resumeServerWindow(_ s: UpstreamPointer) {
    guard s.pointee.http2.awaitsWindow, let x = exchange(of: s) else { return }
    s.pointee.http2.awaitsWindow = false
    guard perform(x, x.pointee.state.requestWindowOpened()), let s = upstream(of: x),
      s.pointee.phase == .busy
    else { return }
    setResponseDeadline(s, x)
  }
}
