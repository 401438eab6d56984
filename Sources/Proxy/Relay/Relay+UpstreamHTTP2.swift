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
}

extension Relay where E: ~Copyable {
  // MARK: The connection

  /// New plaintext.
  mutating func serverInput(_ u: UpstreamPointer, _ slice: consuming BufferSlice) {
    let t = u.transport
    if t.pointee.unread.isEmpty && !upstreams.http2[u.pointee.slot].pointee.isBlocked {
      useServerInput(u, slice)
    } else {
      t.pointee.unread.append(slice.bytes, &loop.engine)
      useUnreadServerInput(u)
    }
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
        return t.pointee.unread.putBack(slice, &loop.engine)
      case .needsOutput:
        guard upstreams.flushShared(u, &loop) else { return serverEnded(u, -EPIPE) }
        guard c.pointee.session.isControlFull else { continue }
        // A server that does not read what it is owed is not read either.
        c.pointee.isBlocked = true
        slice.dropPrefix(offset)
        t.pointee.unread.putBack(slice, &loop.engine)
        t.pointee.paused = true
        return
      case .content(let stream, let start, let count):
        serverContent(c, stream, slice.subslice(start: start, count: count))
      default: serverEvent(u, event)
      }
    }
  }

  /// All events but content.
  private mutating func serverEvent(_ u: UpstreamPointer, _ event: HTTP2ServerEvent) {
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
    case .windowOpened(let stream): serverWindowOpened(c, stream)
    case .goAway(let last, let code): serverLeaves(u, last, code)
    case .failed(let failure): serverFailed(u, failure)
    case .pong, .needsInput, .needsOutput, .content: break
    }
  }

  /// The stream at a place of a session, and its exchange.
  private func answered(
    _ c: UnsafeMutablePointer<HTTP2Connection>, _ stream: Int
  ) -> (UpstreamPointer, ExchangePointer)? {
    guard let s = upstreams.stream(named: c.pointee.session.tag(stream)), let x = exchange(of: s)
    else { return nil }
    return (s, x)
  }

  /// Does a step of an exchange and sends what came of it.
  private mutating func settle(
    _ x: ExchangePointer, _ step: (inout Self, ExchangePointer) -> Bool
  ) {
    let d = downstream(of: x)
    _ = step(&self, x)
    flush(d)
  }

  // MARK: Heads

  private mutating func serverHead(
    _ c: UnsafeMutablePointer<HTTP2Connection>, _ stream: Int, endsStream: Bool
  ) {
    guard let (s, x) = answered(c, stream) else { return }
    // A server that answers what it has not been asked.
    guard s.pointee.phase == .busy else {
      return settle(x) { $0.malformed($1, "answer_before_request") }
    }
    settle(x) { $0.takeServerHead(s, $1, stream, endsStream: endsStream) }
  }

  private mutating func takeServerHead(
    _ s: UpstreamPointer, _ x: ExchangePointer, _ stream: Int, endsStream: Bool
  ) -> Bool {
    let head = upstreams.http2.reader.head
    if let rejection = upstreams.http2.head.read(head, endsStream: endsStream) {
      return malformed(x, rejection.label)
    }
    let response = upstreams.http2.head.view(of: head)
    guard loop.prepare(&x.pointee.held) else {
      return perform(x, x.pointee.state.fail(.resourcesExhausted))
    }
    if response.status < 200 { return takeInterimHead(x, response) }
    x.pointee.times.firstByte = loop.engine.now
    var framing = BodyFraming.none
    switch response.content(for: x.pointee.method) {
    case .none: upstreams.expect(s, 0)
    case .length(let length):
      if endsStream && length > 0 { return malformed(x, "content_length") }
      framing = .length(length)
      upstreams.expect(s, Int64(clamping: length))
    case .unknown: framing = .chunked
    }
    setResponseDeadline(s, x)
    guard beginResponse(x, response, framing) else { return false }
    if endsStream { return serverStreamEnded(s, x) }
    return responseTurnEnded(s, x)
  }

  // MARK: Content

  private mutating func serverContent(
    _ c: UnsafeMutablePointer<HTTP2Connection>, _ stream: Int, _ slice: consuming BufferSlice
  ) {
    guard let (s, x) = answered(c, stream), x.pointee.state.response == .relaying else {
      return c.pointee.session.consume(stream, slice.count)
    }
    // The window of the stream bounds what waits for a slow client.
    if !s.transport.pointee.unread.isEmpty || x.pointee.state.responseFlow.isPaused {
      return s.transport.pointee.unread.append(slice.bytes, &loop.engine)
    }
    let d = downstream(of: x)
    _ = relayServerContent(s, x, slice)
    flush(d)
  }

  /// Moves content into the response. - Returns: whether the exchange is still there.
  private mutating func relayServerContent(
    _ s: UpstreamPointer, _ x: ExchangePointer, _ input: consuming BufferSlice
  ) -> Bool {
    var slice = input
    setResponseDeadline(s, x)
    while slice.count > 0 {
      let limit = downstreams.contentLimit(x.pointee.downstream, x.pointee.request)
      if limit == 0 {
        s.transport.pointee.unread.putBack(slice, &loop.engine)
        return waitForClientWindow(s, x)
      }
      switch room(x) {
      case .some: break
      case .ended: return false
      case .none:
        s.transport.pointee.unread.putBack(slice, &loop.engine)
        guard perform(x, x.pointee.state.responseBlocked()) else { return false }
        return responseTurnEnded(s, x)
      }
      let count = min(limit, slice.count)
      let before = x.pointee.held.count
      guard
        downstreams.content(
          x.pointee.downstream, slice.subslice(start: 0, count: count), &x.pointee.request,
          into: &x.pointee.held)
      else { return perform(x, x.pointee.state.fail(.resourcesExhausted)) }
      x.pointee.state.responseContent(count, buffered: x.pointee.held.count - before)
      upstreams.consume(s, count)
      slice.dropPrefix(count)
    }
    if s.pointee.http2.hasEnded { return serverResponseEnded(s, x) }
    return responseTurnEnded(s, x)
  }

  /// The client has room again for the response of a stream. - Returns: whether the exchange is still there.
  mutating func resumeServerResponse(_ s: UpstreamPointer, _ x: ExchangePointer) -> Bool {
    s.transport.pointee.paused = false
    setResponseDeadline(s, x)
    guard let slice = s.transport.pointee.unread.takeAll() else {
      return s.pointee.http2.hasEnded && x.pointee.state.response == .relaying
        ? serverResponseEnded(s, x) : true
    }
    return relayServerContent(s, x, slice)
  }

  // MARK: The end of a response

  private mutating func serverTrailers(_ s: UpstreamPointer, _ x: ExchangePointer) {
    let section = upstreams.http2.reader.head
    if let rejection = upstreams.http2.trailers.read(section) {
      return settle(x) { $0.malformed($1, rejection.label) }
    }
    var dropped = 0
    s.pointee.http2.trailers = TrailerLines.keep(
      upstreams.http2.trailers, of: section, dropsUnderscores: false, dropped: &dropped,
      &loop.engine)
  }

  /// The response is whole, behind what is unread.
  private mutating func serverStreamEnded(_ s: UpstreamPointer, _ x: ExchangePointer) -> Bool {
    s.pointee.http2.hasEnded = true
    guard s.transport.pointee.unread.isEmpty, x.pointee.state.response == .relaying else {
      return true
    }
    return serverResponseEnded(s, x)
  }

  private mutating func serverResponseEnded(_ s: UpstreamPointer, _ x: ExchangePointer) -> Bool {
    let before = x.pointee.held.count
    let trailers = s.pointee.http2.trailers.take()
    guard
      downstreams.endContent(
        x.pointee.downstream, consume trailers, &x.pointee.request, into: &x.pointee.held, &loop)
    else { return perform(x, x.pointee.state.outputExhausted()) }
    return perform(
      x, x.pointee.state.responseEnd(buffered: x.pointee.held.count - before, reusable: true))
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
    switch s.pointee.phase {
    case .assigned: return perform(x, x.pointee.state.upstreamStale())
    case .busy: break
    case .connecting, .handshaking, .idle: return true
    }
    if s.pointee.http2.hasEnded {
      // The response is whole, and waits for its client; the server wants no more of the request.
      s.pointee.outgoing.clear()
      return x.pointee.state.request == .open
        ? perform(x, x.pointee.state.requestSendFailed()) : true
    }
    // Nobody has heard of it yet.
    if !s.pointee.http2.hasLeft, x.pointee.state.isUntouched, !s.pointee.outgoing.isEmpty {
      return perform(x, x.pointee.state.upstreamUnsent())
    }
    let canResend = x.pointee.state.hasCopy && loop.prepare(&carried)
    let actions =
      switch reason {
      case .ended(let result):
        x.pointee.state.upstreamClosed(reset: result != 0, canResend: canResend)
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

  private mutating func serverFailed(_ u: UpstreamPointer, _ failure: HTTP2ServerFailure) {
    let (admitted, suppressed) = failureLog.admit(now: loop.engine.now)
    if admitted {
      let upstream = loop.plan.upstreams + Int(u.pointee.group)
      let text = upstream.pointee.servers[Int(u.pointee.server)].text
      loop.logger.warning(
        """
        upstream http2 failed reason=\(failure.label) code=\(failure.code.label) \
        upstream=\(String(decoding: text.raw, as: UTF8.self)) suppressed=\(suppressed)
        """)
    }
    upstreams.unlinkShared(u)
    upstreams.http2[u.pointee.slot].pointee.isEnding = true
    eachStream(u) { relay, s, x in
      _ = relay.serverStreamGone(s, x, .ended(-EPROTO))
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

  /// Calls `body` for each stream of a connection and its exchange, and sends what comes of it.
  mutating func eachStream(
    _ u: UpstreamPointer, _ body: (inout Self, UpstreamPointer, ExchangePointer) -> Void
  ) {
    let streams = upstreams.http2[u.pointee.slot].pointee.exchanges.map {
      upstreams.key(upstreams[$0])
    }
    for key in streams {
      guard let s = upstreams.stream(key), let x = exchange(of: s) else { continue }
      let d = downstream(of: x)
      body(&self, s, x)
      flush(d)
    }
  }
}
