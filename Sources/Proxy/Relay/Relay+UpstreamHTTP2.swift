// From the bytes of a server that speaks HTTP/2 to the responses of its streams: what the session finds in
// them, and what each finding means for an exchange. The counterpart of Relay+HTTP2.swift.

import Exchange
import Glibc
import HTTP
import HTTP1
import HTTP2
import Logging
import MillraceEngine
import Transport

/// How a stream ends before its response does.
enum StreamEnding {
  /// With its connection, or by a reset: 0, or a negated errno.
  case ended(Int32)
  /// The server has not processed the request (RFC 9113 8.7).
  case refused
  /// The same, by the orderly end of a connection.
  case leftBehind
  /// With its connection, whose server gives no sign of life.
  case silent
}

extension Relay where E: ~Copyable {
  // MARK: The connection

  /// New plaintext.
  mutating func serverInput(_ u: UpstreamPointer, _ slice: consuming BufferSlice) {
    let t = u.transport
    upstreams.http2[u.pointee.slot].pointee.ping.heard(loop.engine.now, bytes: slice.count)
    var rest = slice
    while !t.pointee.unread.isEmpty || upstreams.http2[u.pointee.slot].pointee.isBlocked {
      let count = min(rest.count, HTTP2Connection.pieceMaximum)
      t.pointee.unread.append(rest.subslice(start: 0, count: count).bytes, &loop.engine)
      useUnreadServerInput(u)
      guard t.pointee.closing == .open, count < rest.count else { return }
      rest.dropPrefix(count)
    }
    useServerInput(u, rest)
  }

  /// Goes on with what was kept, unless frames of the session's own must leave before.
  mutating func useUnreadServerInput(_ u: UpstreamPointer) {
    let t = u.transport
    guard !upstreams.http2[u.pointee.slot].pointee.isBlocked, t.pointee.closing == .open,
      let slice = t.pointee.unread.takeAll()
    else { return }
    useServerInput(u, slice)
  }

  private mutating func useServerInput(_ u: UpstreamPointer, _ input: consuming BufferSlice) {
    let c = upstreams.http2[u.pointee.slot]
    let t = u.transport
    var slice = input
    var offset = 0
    upstreams.noteOutput(u.pointee.slot)
    while t.pointee.closing == .open, !c.pointee.isClosing {
      let event = c.pointee.session.next(
        slice.bytes, at: &offset, &upstreams.http2.reader, now: loop.engine.now)
      switch event {
      case .needsInput:
        slice.dropPrefix(offset)
        t.pointee.unread.putBack(slice, &loop.engine)
        if c.pointee.session.isOverLimit { moveUnsent(u) }
        return resumeServerWindows(u)
      case .needsOutput:
        guard upstreams.flushShared(u, &loop) else { return serverEnded(u, -EPIPE) }
        guard c.pointee.session.isControlFull else { continue }
        // A server that does not read what it is owed is not read either.
        c.pointee.isBlocked = true
        slice.dropPrefix(offset)
        t.pointee.unread.putBack(slice, &loop.engine)
        t.pointee.paused = true
        // From here on it is read in pieces: a receive that stays armed brings more than one.
        c.pointee.receiveSize.isPaced = true
        t.pointee.stopReceiving(&loop.engine)
        t.pointee.mode = .once
        return
      case .content(let stream, let start, let count):
        serverContent(c, stream, slice.subslice(start: start, count: count))
      default: serverEvent(u, event)
      }
    }
  }

  /// All events but content.
  private mutating func serverEvent(_ u: UpstreamPointer, _ event: HTTP2EndpointEvent) {
    let c = upstreams.http2[u.pointee.slot]
    switch event {
    case .head(let stream, let ends): serverHead(c, stream, endsStream: ends)
    case .headTooLarge(let stream, _):
      if let (_, x) = answered(c, stream) { settle(x) { $0.malformed($1, "head_too_large") } }
    case .trailers(let stream):
      if let (s, x) = answered(c, stream) { serverTrailers(s, x) }
    case .end(let stream):
      if let (s, x) = answered(c, stream) { settle(x) { $0.serverStreamEnded(s, $1) } }
    case .reset(let tag, let code, let byServer): serverReset(tag, code, byServer: byServer)
    case .windowOpened: c.pointee.hasOpened = true
    case .goAway(let last, let code): serverLeaves(u, last, code)
    case .failed(let failure): serverFailed(u, failure)
    case .pong: c.pointee.ping.answered(loop.engine.now)
    case .needsInput, .needsOutput, .content: break
    }
  }

  // MARK: Ends that come too early

  /// A stream is gone: by the server's RST_STREAM, or reset for a rule that the server broke.
  private mutating func serverReset(_ tag: UInt64, _ code: HTTP2ErrorCode, byServer: Bool) {
    guard let s = upstreams.stream(named: tag), let x = exchange(of: s) else { return }
    s.pointee.http2.place = -1
    if !byServer { return settle(x) { $0.malformed($1, code.label) } }
    settle(x) {
      $0.serverStreamGone(s, $1, code == .refusedStream ? .refused : .ended(-ECONNRESET))
    }
  }

  /// A stream brings nothing more.
  mutating func serverStreamGone(
    _ s: UpstreamPointer, _ x: ExchangePointer, _ reason: StreamEnding
  ) -> Bool {
    s.pointee.http2.place = -1
    if s.pointee.http2.awaitsSettings {
      return perform(x, x.pointee.state.connectFailed(.connectFailed))
    }
    switch s.pointee.phase {
    case .assigned: return perform(x, x.pointee.state.upstreamStale())
    case .busy: break
    // Nothing has left: its connection could not be gone on with for want of memory. One that could not be
    // made is `sharedFailed`.
    case .connecting, .handshaking: return perform(x, x.pointee.state.fail(.resourcesExhausted))
    case .idle: return true
    }
    if s.pointee.http2.hasEnded {
      // The response is whole, and waits for its client; the server wants no more of the request.
      s.pointee.outgoing.clear()
      return x.pointee.state.request == .open || x.pointee.state.mode == .tunnel
        ? perform(x, x.pointee.state.requestSendFailed()) : true
    }
    // The server has not heard of it yet.
    if !s.pointee.http2.hasLeft, x.pointee.state.isUntouched, !s.pointee.outgoing.isEmpty {
      return perform(x, x.pointee.state.upstreamUnsent())
    }
    let canResend = x.pointee.state.hasCopy && loop.prepare(&carried)
    let actions =
      switch reason {
      case .ended(let result):
        // A tunnel ends by END_STREAM alone.
        x.pointee.state.upstreamClosed(
          reset: result != 0 || x.pointee.state.mode == .tunnel, canResend: canResend)
      case .silent:
        x.pointee.state.upstreamClosed(reset: true, isSilent: true, canResend: canResend)
      case .refused: x.pointee.state.streamRefused(canResend: canResend)
      case .leftBehind:
        x.pointee.state.streamRefused(canResend: canResend, isOrderly: true)
      }
    let isThere = perform(x, actions)
    carried.clear()
    return isThere
  }

  /// The server accepts no more streams, and has not looked at those above `last` (RFC 9113 6.8).
  private mutating func serverLeaves(_ u: UpstreamPointer, _ last: UInt32, _ code: HTTP2ErrorCode) {
    loop.logger.debug("upstream goes away code=\(code.label) last_stream=\(last)")
    upstreams.unlinkShared(u)
    upstreams.retire(u, &loop)
    let isOrderly = code == .noError && upstreams.http2[u.pointee.slot].pointee.hasServed
    eachStream(u) { relay, s, x in
      guard s.pointee.http2.id > last else { return }
      _ = relay.serverStreamGone(s, x, isOrderly ? .leftBehind : .refused)
    }
  }

  /// The server allows fewer streams than before: those of which nothing has left go elsewhere.
  private mutating func moveUnsent(_ u: UpstreamPointer) {
    eachStream(u) { relay, s, x in
      guard !s.pointee.http2.hasLeft,
        relay.upstreams.http2[u.pointee.slot].pointee.session.isOverLimit
      else { return }
      if s.pointee.phase == .assigned {
        _ = relay.perform(x, x.pointee.state.upstreamStale())
      } else if s.pointee.phase == .busy, x.pointee.state.isUntouched, !s.pointee.outgoing.isEmpty {
        _ = relay.perform(x, x.pointee.state.upstreamUnsent())
      }
    }
  }

  private mutating func serverFailed(_ u: UpstreamPointer, _ failure: HTTP2EndpointFailure) {
    logServerFailure(u, failure.label, failure.code)
    endStreams(u, .ended(-EPROTO))
  }

  mutating func logServerFailure(
    _ u: UpstreamPointer, _ label: StaticString, _ code: HTTP2ErrorCode
  ) {
    let (admitted, suppressed) = failureLog.admit(now: loop.engine.now)
    guard admitted else { return }
    let upstream = loop.plan.upstreams + Int(u.pointee.group)
    let text = upstream.pointee.servers[Int(u.pointee.server)].text
    loop.logger.warning(
      """
      upstream http2 failed reason=\(label) code=\(code.label) \
      upstream=\(String(decoding: text.raw, as: UTF8.self)) suppressed=\(suppressed)
      """)
  }

  /// Ends all streams of a connection, and then that, with a GOAWAY.
  mutating func endStreams(_ u: UpstreamPointer, _ reason: StreamEnding) {
    upstreams.unlinkShared(u)
    upstreams.http2[u.pointee.slot].pointee.isEnding = true
    eachStream(u) { relay, s, x in
      // A whole response may wait for its client for longer than the connection lasts.
      relay.upstreams.disconnect(s)
      _ = relay.serverStreamGone(s, x, reason)
    }
    upstreams.closeWhenSent(u, &loop)
  }

  /// The end of a connection with streams. - Parameter result: 0, or a negated errno.
  mutating func serverEnded(_ u: UpstreamPointer, _ result: Int32) {
    guard u.transport.pointee.closing == .open else { return }
    upstreams.unlinkShared(u)
    eachStream(u) { relay, s, x in
      relay.upstreams.disconnect(s)
      _ = relay.serverStreamGone(s, x, .ended(result))
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
      // Behind the streams that were opened in this turn: heads leave in the order of their numbers.
      if upstreams.http2[u.pointee.slot].pointee.awaitsSettings { settingsCame(u) }
      resumeServerWindows(u)
      pushReadyStreams(u)
      // What is given to it from here on is for the next turn's end.
      upstreams.http2[u.pointee.slot].pointee.isNoted = false
      if !upstreams.flushShared(u, &loop) { serverEnded(u, -EPIPE) }
    }
  }

  /// Gives streams their turn that had found no room, in the order in which they came.
  private mutating func pushReadyStreams(_ u: UpstreamPointer) {
    let c = upstreams.http2[u.pointee.slot]
    while let key = c.pointee.output.ready.first {
      if let s = upstreams.stream(key) {
        flush(s)
        // It found none again.
        if let s = upstreams.stream(key), !s.pointee.outgoing.isEmpty { return }
        s.pointee.http2.isReady = false
      }
      if c.pointee.output.ready.first == key { c.pointee.output.ready.removeFirst() }
    }
  }

  /// A connection's transport took all that was in flight.
  mutating func sharedSent(_ u: UpstreamPointer) {
    let c = upstreams.http2[u.pointee.slot]
    let t = u.transport
    var taken = StreamBytesList()
    swap(&taken, &c.pointee.output.flying)
    for index in 0..<taken.count {
      let bytes = taken[index]
      guard let s = upstreams.stream(bytes.key), let x = exchange(of: s) else { continue }
      let d = downstream(of: x)
      if perform(x, x.pointee.state.requestTaken(bytes.count)), !x.pointee.state.awaitsServer,
        let s = upstream(of: x)
      {
        s.transport.pointee.deadline = deadlineOfTunnel(s, x)
      }
      if d.pointee.isHTTP2 { flush(d) }
    }
    // The memory is kept for the next send.
    taken.removeAll()
    if c.pointee.output.flying.isEmpty { swap(&taken, &c.pointee.output.flying) }
    guard t.pointee.closing == .open else { return }
    // Where an acknowledgement found no room it finds it now.
    resumeServerWindows(u)
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

  /// Goes on with requests whose windows have opened.
  private mutating func resumeServerWindows(_ u: UpstreamPointer) {
    let c = upstreams.http2[u.pointee.slot]
    // Larger windows are used from their acknowledgement on.
    if c.pointee.session.hasPendingWindowIncrease, !c.pointee.putControl(&loop) { return }
    guard c.pointee.hasOpened else { return }
    c.pointee.hasOpened = false
    // Streams that end meanwhile leave the list; those behind them have been looked at.
    var index = c.pointee.exchanges.count - 1
    while index >= 0 {
      if index < c.pointee.exchanges.count {
        resumeServerWindow(upstreams[c.pointee.exchanges[index]])
      }
      index -= 1
    }
  }

  private mutating func resumeServerWindow(_ s: UpstreamPointer) {
    guard s.pointee.http2.awaitsWindow, let x = exchange(of: s), upstreams.contentLimit(s) > 0
    else { return }
    s.pointee.http2.awaitsWindow = false
    let d = downstream(of: x)
    if perform(x, x.pointee.state.requestWindowOpened()), let s = upstream(of: x),
      s.pointee.phase == .busy
    {
      setResponseDeadline(s, x)
    }
    // The client's windows have opened by what was passed on, and it hears of it now.
    flush(d)
  }
}
