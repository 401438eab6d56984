// From the bytes of a client that speaks HTTP/2 to its streams: what the session finds in them, and what
// each finding means for an exchange.

import Exchange
import Glibc
import HTTP
import HTTP1
import HTTP2
import Logging
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  // MARK: The connection

  /// Begins HTTP/2 on a connection that has not used any input yet.
  /// - Returns: whether the connection is still there.
  mutating func beginHTTP2(_ d: DownstreamPointer) -> Bool {
    downstreams.http2.open(d.pointee.slot)
    d.pointee.isHTTP2 = true
    http2(d).pointee.ping.heard(loop.engine.now)
    // A request has to come in the time that a head has.
    http2(d).pointee.idleUntil = d.transport.pointee.deadline
    if loop.isEnding(d.pointee.use) { http2DrainBegan(d) }
    // SETTINGS come before anything else (RFC 9113 3.4).
    downstreams.flushHTTP2(d, &loop)
    return d.transport.pointee.closing == .open
  }

  /// Whether the preface of HTTP/2 may come on this connection without TLS (RFC 9113 3.3).
  func mayBeginHTTP2(_ d: DownstreamPointer) -> Bool {
    d.pointee.http1.isFresh && !d.pointee.isTLS
      && loop.plan.listeners[Int(d.pointee.listener)].servesHTTP2
  }

  /// Whether what a connection without TLS begins with is neither HTTP/2's preface nor a request line with
  /// a version. Where both may be spoken such a preface is answered by GOAWAY (RFC 9113 3.4): who reads
  /// frames can make nothing of a status line, and who reads lines sees the end.
  func isOfNeither(
    _ d: DownstreamPointer, _ bytes: UnsafeRawBufferPointer, _ rejection: HeadRejection
  ) -> Bool {
    guard mayBeginHTTP2(d) else { return false }
    // Empty lines may come before a request (RFC 9112 2.2).
    var at = bytes.firstIndex { $0 != 0x0D && $0 != 0x0A } ?? bytes.count
    let newline = bytes[at...].firstIndex(of: 0x0A)
    // Half a line has no version yet; but no method begins with another byte than a letter, as frames do.
    let isLetter = at < bytes.count && (bytes[at] | 0x20) &- 0x61 < 26
    guard newline != nil || rejection == .invalidMethod || !isLetter else { return false }
    let end = newline ?? bytes.count
    let version = staticBytes("HTTP/")
    while at + version.count <= end {
      if UnsafeRawBufferPointer(rebasing: bytes[at..<at + version.count]).elementsEqual(version) {
        return false
      }
      at += 1
    }
    return true
  }

  /// New plaintext.
  mutating func http2Input(_ d: DownstreamPointer, _ slice: consuming BufferSlice) {
    let t = d.transport
    http2(d).pointee.ping.heard(loop.engine.now, bytes: slice.count)
    var rest = slice
    while !t.pointee.unread.isEmpty || http2(d).pointee.isBlocked {
      let count = min(rest.count, HTTP2Connection.pieceMaximum)
      t.pointee.unread.append(rest.subslice(start: 0, count: count).bytes, &loop.engine)
      http2UseUnread(d)
      guard t.pointee.closing == .open, count < rest.count else { return }
      rest.dropPrefix(count)
    }
    http2Use(d, rest)
  }

  /// Goes on with what was kept, unless frames of the session's own must leave before.
  mutating func http2UseUnread(_ d: DownstreamPointer) {
    let t = d.transport
    guard !http2(d).pointee.isBlocked, t.pointee.closing == .open,
      let slice = t.pointee.unread.takeAll()
    else { return }
    http2Use(d, slice)
  }

  private mutating func http2Use(_ d: DownstreamPointer, _ input: consuming BufferSlice) {
    let c = http2(d)
    let t = d.transport
    var slice = input
    var offset = 0
    while t.pointee.closing == .open, !c.pointee.isClosing {
      let event = c.pointee.session.next(
        slice.bytes, at: &offset, &downstreams.http2.reader, now: loop.engine.now)
      switch event {
      case .needsInput:
        slice.dropPrefix(offset)
        t.pointee.unread.putBack(slice, &loop.engine)
        return resumeWindows(d)
      case .needsOutput:
        downstreams.flushHTTP2(d, &loop)
        guard c.pointee.session.isControlFull else { continue }
        // A client that does not read what it is owed is not read either.
        c.pointee.isBlocked = true
        c.pointee.receiveSize.isPaced = true
        slice.dropPrefix(offset)
        t.pointee.unread.putBack(slice, &loop.engine)
        return downstreams.pauseInput(d, &loop)
      case .content(let stream, let start, let count):
        http2Content(d, stream, slice.subslice(start: start, count: count))
      default: http2Event(d, event)
      }
    }
  }

  /// All events but content.
  private mutating func http2Event(_ d: DownstreamPointer, _ event: HTTP2EndpointEvent) {
    let c = http2(d)
    switch event {
    case .head(let stream, let ends): startHTTP2(d, stream, endsStream: ends)
    case .headTooLarge(let stream, _): rejectHTTP2(d, stream, .tooManyFields)
    case .trailers(let stream):
      if let x = http2Exchange(c, stream) { http2Trailers(x) }
    case .end(let stream):
      if let x = http2Exchange(c, stream) { http2RequestEnded(x, d) }
    case .reset(let tag, _, let byClient):
      guard let x = exchange(named: tag) else { return }
      x.pointee.request.http2.place = -1
      _ = perform(
        x, x.pointee.state.downstreamGone(byClient ? .downstreamReset : .requestBodyMalformed))
    case .windowOpened: c.pointee.hasOpened = true
    case .goAway:
      c.pointee.isEnding = true
      if c.pointee.exchanges.isEmpty { downstreams.closeWhenSent(d) }
    case .failed(let failure): http2Failed(d, failure)
    case .pong: c.pointee.ping.answered(loop.engine.now)
    case .needsInput, .needsOutput, .content: break
    }
  }

  private mutating func http2Failed(_ d: DownstreamPointer, _ failure: HTTP2EndpointFailure) {
    loop.logger.debug(
      "http2 failed reason=\(failure.label) client=\(downstreams.clientName(d)) code=\(failure.code.label)"
    )
    if failure.code == .enhanceYourCalm { loop.counters.http2Floods += 1 }
    loop.counters.badRequests += 1
    endExchanges(d) { $0.downstreamGone() }
    downstreams.closeWhenSent(d)
  }

  // MARK: Streams

  @inline(__always)
  private func http2Exchange(
    _ c: UnsafeMutablePointer<HTTP2Connection>, _ stream: Int
  ) -> ExchangePointer? { exchange(named: c.pointee.session.tag(stream)) }

  /// Begins the exchange whose head was just read.
  private mutating func startHTTP2(_ d: DownstreamPointer, _ stream: Int, endsStream: Bool) {
    let head = downstreams.http2.reader.head
    if let rejection = downstreams.http2.head.read(head, endsStream: endsStream) {
      return rejectHTTP2(d, stream, rejection)
    }
    let request = downstreams.http2.head.view(of: head)
    let framing: BodyFraming =
      switch request.content {
      case .none: .none
      case .length(let length): .length(length)
      case .unknown: .chunked
      }
    guard
      let x = makeHTTP2Exchange(
        // What an extended CONNECT stands for (RFC 8441 5).
        d, stream, request.isExtendedConnect ? .get : request.method, framing,
        expects: request.expectsContinue)
    else { return refuseHTTP2(d, stream) }
    x.pointee.request.http2.isGRPC = request.isGRPC
    if request.isExtendedConnect {
      x.pointee.request.http2.isConnect = true
      // It has no content: what ends is the client's side of the tunnel.
      x.pointee.request.http2.hasEnded = endsStream
    }
    if case .length(let length) = framing {
      http2(d).pointee.session.expectContent(stream, Int64(clamping: length))
    }
    let drops = loop.plan.listeners[Int(d.pointee.listener)].dropsUnderscores
    if drops || request.presentFields.has(.ambiguous) {
      x.pointee.request.droppedFields = downstreams.http2.head.markAmbiguousFields(
        of: head, underscores: drops)
    }
    noteRequest(x, request)
    var actions = x.pointee.state.requestHead()
    if actions.has(.claimRoom) {
      writeRequestPart(x, d, request)
      actions = claimRoom(x)
      if actions.has(.waitForRoom) { return waitForRoom(x, d, request) }
    }
    serve(x, d, request, actions)
    if let x = http2Exchange(http2(d), stream, of: x) { http2TurnEnded(x, d) }
  }

  /// An exchange that may have ended meanwhile.
  private func http2Exchange(
    _ c: UnsafeMutablePointer<HTTP2Connection>, _ stream: Int, of x: ExchangePointer
  ) -> ExchangePointer? {
    exchange(x.pointee.request.http2.key) == x ? x : nil
  }

  private mutating func makeHTTP2Exchange(
    _ d: DownstreamPointer, _ stream: Int, _ method: HTTPMethod, _ framing: BodyFraming,
    expects: Bool
  ) -> ExchangePointer? {
    let c = http2(d)
    guard
      let x = makeExchange(
        StreamReference(connection: d.pointee.slot, stream: UInt32(stream)), method, framing,
        .http2,
        expects: expects)
    else { return nil }
    let key = ExchangeKey(
      slot: x.pointee.slot, generation: exchanges.generation(x.pointee.slot))
    x.pointee.request.http2.key = key
    x.pointee.request.http2.place = Int32(stream)
    x.pointee.request.http2.id = c.pointee.session.id(stream)
    c.pointee.exchanges.append(x.pointee.slot)
    c.pointee.session.setTag(stream, HTTP2Connection.tag(key))
    d.pointee.phase = .response
    c.pointee.idleUntil = .max
    d.transport.pointee.deadline = .max
    return x
  }

  /// Beyond `limits.streams`: the client is told that it may send the request again (RFC 9113 8.7).
  private mutating func refuseHTTP2(_ d: DownstreamPointer, _ stream: Int) {
    noteRefusedStream(d)
    http2(d).pointee.session.reset(stream, .refusedStream)
  }

  /// Answers a request that could not be understood. A malformed one is reset behind the answer
  /// (RFC 9113 8.1.1).
  private mutating func rejectHTTP2(
    _ d: DownstreamPointer, _ stream: Int, _ rejection: HTTP2HeadRejection
  ) {
    guard let x = makeHTTP2Exchange(d, stream, .other, .none, expects: false) else {
      loop.counters.badRequests += 1
      return refuseHTTP2(d, stream)
    }
    x.pointee.replyLabel = rejection.label
    x.pointee.request.http2.isMalformed = rejection.status == 400
    // As far as it was read.
    if let type = downstreams.http2.reader.head.first("content-type") {
      x.pointee.request.http2.isGRPC = GRPCStatus.isContentType(type)
    }
    _ = perform(x, x.pointee.state.requestRejected(.badRequest, status: rejection.status))
  }

  // MARK: Request content

  /// Content of a request. What the server cannot take yet waits; the stream's window bounds it.
  mutating func http2Content(
    _ d: DownstreamPointer, _ stream: Int, _ slice: consuming BufferSlice
  ) {
    let c = http2(d)
    let tag = c.pointee.session.tag(stream)
    guard let x = exchange(named: tag), x.pointee.state.request == .open || mayBecomeTunnel(x)
    else { return c.pointee.session.consume(stream, slice.count) }
    if x.pointee.request.http2.input.isEmpty && x.pointee.state.takesRequestContent {
      http2Forward(x, slice)
    } else {
      x.pointee.request.http2.input.append(slice.bytes, &loop.engine)
      // Behind content that waits for the server's window nothing need be on its way.
      if !x.pointee.state.requestFlow.isPaused {
        _ = perform(x, x.pointee.state.requestBlocked())
      }
    }
    // The stream may be gone with its exchange: its place in the session has no tag any more.
    if let x = exchange(named: tag) { http2TurnEnded(x, d) }
  }

  /// Passes content on; nothing waits in front of it. - Returns: whether the exchange goes on.
  @discardableResult
  private mutating func http2Forward(
    _ x: ExchangePointer, _ input: consuming BufferSlice
  ) -> Bool {
    var slice = input
    let d = downstream(of: x)
    while true {
      guard let u = upstream(of: x) else {
        x.pointee.request.http2.input.putBack(slice, &loop.engine)
        return true
      }
      let limit = upstreams.contentLimit(u)
      guard limit > 0 else {
        x.pointee.request.http2.input.putBack(slice, &loop.engine)
        return waitForWindow(x, u)
      }
      guard loop.prepare(&u.pointee.outgoing), u.pointee.outgoing.hasRoomForChunk(),
        x.pointee.state.requestFlow.hasRoom
      else {
        x.pointee.request.http2.input.putBack(slice, &loop.engine)
        return perform(x, x.pointee.state.requestBlocked())
      }
      let count = min(slice.count, limit)
      let before = u.pointee.outgoing.count
      guard
        upstreams.content(
          u, slice.subslice(start: 0, count: count), x.pointee.request.framing)
      else { return perform(x, x.pointee.state.fail(.resourcesExhausted)) }
      x.pointee.state.requestContent(count, buffered: u.pointee.outgoing.count - before)
      let place = x.pointee.request.http2.place
      if place >= 0 { http2(d).pointee.session.consume(Int(place), count) }
      if count == slice.count { return true }
      slice.dropPrefix(count)
    }
  }

  /// Keeps the trailers of a request, as its server gets them.
  mutating func http2Trailers(_ x: ExchangePointer) {
    let d = downstream(of: x)
    let section = downstreams.http2.reader.head
    // No such frame belongs to a tunnel (RFC 9113 8.5).
    if x.pointee.request.http2.isConnect || downstreams.http2.trailers.read(section) != nil {
      let place = x.pointee.request.http2.place
      if place >= 0 {
        http2(d).pointee.session.refuseMalformed(Int(place))
        x.pointee.request.http2.place = -1
      }
      _ = perform(x, x.pointee.state.downstreamGone(.requestBodyMalformed))
      return
    }
    guard x.pointee.request.framing == .chunked else { return }
    let drops = loop.plan.listeners[Int(d.pointee.listener)].dropsUnderscores
    var dropped = 0
    x.pointee.request.http2.trailers = TrailerLines.keep(
      downstreams.http2.trailers, of: section, dropsUnderscores: drops, dropped: &dropped,
      &loop.engine)
    loop.counters.fieldsDropped += dropped
  }

  /// The request is whole, behind what waits of it.
  mutating func http2RequestEnded(_ x: ExchangePointer, _ d: DownstreamPointer) {
    x.pointee.request.http2.hasEnded = true
    guard x.pointee.request.http2.input.isEmpty else { return }
    http2EndRequest(x)
    if exchange(x.pointee.request.http2.key) == x { http2TurnEnded(x, d) }
  }

  /// Gives the server the end of the request. - Returns: whether the exchange goes on.
  @discardableResult
  private mutating func http2EndRequest(_ x: ExchangePointer) -> Bool {
    guard x.pointee.state.request == .open, x.pointee.state.upstream.hasBuffer,
      x.pointee.state.response < .replying || x.pointee.state.mode == .tunnel,
      let u = upstream(of: x)
    else { return true }
    let before = u.pointee.outgoing.count
    let trailers = x.pointee.request.http2.trailers.take()
    guard loop.prepare(&u.pointee.outgoing), u.pointee.outgoing.hasRoomForChunk() else {
      x.pointee.request.http2.trailers = consume trailers
      return perform(x, x.pointee.state.requestBlocked())
    }
    guard upstreams.endContent(u, consume trailers, x.pointee.request.framing) else {
      return perform(x, x.pointee.state.fail(.resourcesExhausted))
    }
    return perform(x, x.pointee.state.requestEnd(buffered: u.pointee.outgoing.count - before))
  }

  /// The server has room again. - Returns: whether the exchange is still there.
  mutating func resumeHTTP2Request(_ x: ExchangePointer) -> Bool {
    let key = x.pointee.request.http2.key
    while x.pointee.state.takesRequestContent, let slice = x.pointee.request.http2.input.takeAll() {
      guard http2Forward(x, slice) else { return exchange(key) == x }
    }
    if x.pointee.request.http2.hasEnded, x.pointee.request.http2.input.isEmpty {
      guard http2EndRequest(x) else { return exchange(key) == x }
    }
    if exchange(key) == x { http2TurnEnded(x, downstream(of: x)) }
    return exchange(key) == x
  }

  /// What came of a request is with the server's transport: sends it, and says what is waited for.
  mutating func http2TurnEnded(_ x: ExchangePointer, _ d: DownstreamPointer) {
    guard x.pointee.state.stage == .running else { return }
    if let u = upstream(of: x) {
      flush(u)
      if !u.pointee.outgoing.isEmpty && u.pointee.phase != .assigned
        && loop.engine.isLowOnBuffers
      {
        u.pointee.outgoing.evacuate()
      }
    }
    x.pointee.request.http2.deadline =
      x.pointee.state.awaitsRequest && x.pointee.request.http2.input.isEmpty
      ? loop.engine.now + loop.plan.listeners[Int(d.pointee.listener)].bodyTimeout : .max
  }
}
