// From the findings of a session with a server to the response of one of its streams: heads, content, the
// end. The counterpart of Relay+Response.swift.

import Exchange
import Glibc
import HTTP
import HTTP1
import HTTP2
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  /// The stream at a place of a session, and its exchange.
  func answered(
    _ c: UnsafeMutablePointer<HTTP2Connection>, _ stream: Int
  ) -> (UpstreamPointer, ExchangePointer)? {
    guard let s = upstreams.stream(named: c.pointee.session.tag(stream)), let x = exchange(of: s)
    else { return nil }
    return (s, x)
  }

  /// Does a step of an exchange and sends what came of it.
  mutating func settle(
    _ x: ExchangePointer, _ step: (inout Self, ExchangePointer) -> Bool
  ) {
    let d = downstream(of: x)
    _ = step(&self, x)
    flush(d)
  }

  // MARK: Heads

  mutating func serverHead(
    _ c: UnsafeMutablePointer<HTTP2Connection>, _ stream: Int, endsStream: Bool
  ) {
    guard let (s, x) = answered(c, stream) else { return }
    // A server that answers what it has not been asked.
    guard s.pointee.phase == .busy else {
      return settle(x) { $0.malformed($1, "answer_before_request") }
    }
    settle(x) { $0.takeServerHead(s, $1, stream, endsStream: endsStream) }
  }

  mutating func takeServerHead(
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
    if x.pointee.upgrade.place >= 0 && response.status < 300 {
      guard switchProtocols(s, x, response) else { return false }
      if endsStream { return serverStreamEnded(s, x) }
      return responseTurnEnded(s, x)
    }
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
    // One without content is whole to its client with its head: that leaves with the end.
    if framing == .none || framing == .length(0) { return true }
    return responseTurnEnded(s, x)
  }

  // MARK: Content

  mutating func serverContent(
    _ c: UnsafeMutablePointer<HTTP2Connection>, _ stream: Int, _ slice: consuming BufferSlice
  ) {
    guard let (s, x) = answered(c, stream), x.pointee.state.response == .relaying else {
      return c.pointee.session.consume(stream, slice.count)
    }
    // The window of the stream bounds what waits for a slow client.
    if !s.transport.pointee.unread.isEmpty || x.pointee.state.responseFlow.isPaused {
      return s.transport.pointee.unread.append(slice.bytes, &loop.engine)
    }
    // It leaves with the end, and so not before a record says that the response is whole.
    if c.pointee.session.isLastContent(stream) {
      s.pointee.http2.lastContent = consume slice
      return
    }
    let d = downstream(of: x)
    _ = relayServerContent(s, x, slice)
    flush(d)
  }

  /// Moves content into the response. - Returns: whether the exchange is still there.
  mutating func relayServerContent(
    _ s: UpstreamPointer, _ x: ExchangePointer, _ input: consuming BufferSlice
  ) -> Bool {
    var slice = input
    setResponseDeadline(s, x)
    // With the last byte of a known length the response is whole to its client, and its record has to be
    // durable before that; but only END_STREAM says that it is whole.
    let kept = upstreams.awaitsEnd(s) ? 1 : 0
    if s.pointee.http2.hasEnded {
      // A client of HTTP/2 gets END_STREAM with the last content, or with the trailers behind it.
      x.pointee.request.http2.remaining = s.pointee.http2.trailers == nil ? Int64(slice.count) : -1
    }
    while slice.count > kept {
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
      let count = min(limit, slice.count - kept)
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
    if slice.count > 0 {
      s.pointee.http2.holdsLast = true
      s.transport.pointee.unread.putBack(slice, &loop.engine)
      return responseTurnEnded(s, x)
    }
    if s.pointee.http2.hasEnded { return serverResponseEnded(s, x) }
    return responseTurnEnded(s, x)
  }

  /// The client has room again for the response of a stream. - Returns: whether the exchange is still there.
  mutating func resumeServerResponse(_ s: UpstreamPointer, _ x: ExchangePointer) -> Bool {
    s.transport.pointee.paused = false
    setResponseDeadline(s, x)
    if s.pointee.http2.holdsLast && !s.pointee.http2.hasEnded { return true }
    guard let slice = s.transport.pointee.unread.takeAll() else {
      return s.pointee.http2.hasEnded && x.pointee.state.response == .relaying
        ? serverResponseEnded(s, x) : true
    }
    return relayServerContent(s, x, slice)
  }

  // MARK: The end of a response

  mutating func serverTrailers(_ s: UpstreamPointer, _ x: ExchangePointer) {
    let section = upstreams.http2.reader.head
    // No such frame belongs to a tunnel (RFC 9113 8.5).
    if x.pointee.state.mode == .tunnel { return settle(x) { $0.malformed($1, "tunnel_trailers") } }
    if let rejection = upstreams.http2.trailers.read(section) {
      return settle(x) { $0.malformed($1, rejection.label) }
    }
    var dropped = 0
    s.pointee.http2.trailers = TrailerLines.keep(
      upstreams.http2.trailers, of: section, dropsUnderscores: false, dropped: &dropped,
      &loop.engine)
  }

  /// The response is whole, behind what is unread.
  mutating func serverStreamEnded(_ s: UpstreamPointer, _ x: ExchangePointer) -> Bool {
    s.pointee.http2.hasEnded = true
    guard x.pointee.state.response == .relaying else { return true }
    if s.pointee.http2.holdsLast && !x.pointee.state.responseFlow.isPaused {
      s.pointee.http2.lastContent = s.transport.pointee.unread.takeAll()
    }
    guard s.transport.pointee.unread.isEmpty else { return true }
    guard let last = s.pointee.http2.lastContent.take() else { return serverResponseEnded(s, x) }
    return relayServerContent(s, x, last)
  }

  mutating func serverResponseEnded(_ s: UpstreamPointer, _ x: ExchangePointer) -> Bool {
    let before = x.pointee.held.count
    let trailers = s.pointee.http2.trailers.take()
    guard
      downstreams.endContent(
        x.pointee.downstream, consume trailers, &x.pointee.request, into: &x.pointee.held, &loop)
    else { return perform(x, x.pointee.state.outputExhausted()) }
    return perform(
      x, x.pointee.state.responseEnd(buffered: x.pointee.held.count - before, reusable: true))
  }
}
