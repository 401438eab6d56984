// From the server's bytes to the client's: the head parsed and written anew, content relayed with
// backpressure, every early end turned into an answer or a cut. The response gathers in `held`;
// from there it leaves when the audit allows and the transport has room.

import AuditLog
import Glibc
import HTTP1
import Logging
import MillraceEngine

extension Worker where E: ~Copyable {
  @inline(__always)
  mutating func upstreamBytes(_ u: UpstreamPointer, _ slice: consuming BufferSlice) {
    let t = Self.transport(u)
    guard u.pointee.exchange >= 0 else {
      // A server that speaks without being asked cannot be trusted with the next request.
      return closeUpstream(u)
    }
    let x = exchanges[UInt32(u.pointee.exchange)]
    if t.pointee.held.isEmpty {
      useResponse(u, x, slice)
    } else {
      t.pointee.held.append(slice.bytes, &engine)
      useHeldResponse(u, x)
    }
  }

  mutating func useHeldResponse(_ u: UpstreamPointer, _ x: ExchangePointer) {
    let t = Self.transport(u)
    guard !t.pointee.held.isEmpty, t.pointee.closing == .open else { return }
    if x.pointee.responseBlocked { return }
    if u.pointee.isScanning {
      let bytes = t.pointee.held.peek()
      switch u.pointee.scanner.scan(bytes, limits: responseLimits, isRequest: false) {
      case .incomplete: return
      case .rejected(let rejection): return responseMalformed(x, rejection.label)
      case .complete: u.pointee.isScanning = false
      }
    }
    if let slice = t.pointee.held.takeAll() { useResponse(u, x, slice) }
  }

  /// The loop over one piece of the response. Nothing is held when it is entered.
  private mutating func useResponse(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ input: consuming BufferSlice
  ) {
    var slice = input
    let t = Self.transport(u)
    let d = downstreams[x.pointee.downstream]
    t.pointee.deadline = engine.now + plan.upstreams[Int(u.pointee.group)].responseTimeout
    while x.pointee.phase == .request {
      switch responseHead.parse(slice.bytes, limits: responseLimits) {
      case .complete(let length):
        guard takeHead(u, x, d, slice.bytes, length) else { return flushDownstream(d) }
        slice.dropPrefix(length)
        if slice.count == 0 && x.pointee.phase == .request { return finishTurn(x, d) }
      case .incomplete:
        return holdIncompleteResponse(u, x, slice)
      case .rejected(let rejection):
        return responseMalformed(x, rejection.label)
      }
    }
    relayContent(u, x, d, slice)
    if isActive(x, d) { finishTurn(x, d) }
  }

  /// Whether the exchange is still the connection's: it may have ended inside a call.
  @inline(__always)
  private func isActive(_ x: ExchangePointer, _ d: DownstreamPointer) -> Bool {
    d.pointee.exchange == Int32(bitPattern: x.pointee.slot)
  }

  private mutating func holdIncompleteResponse(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ slice: consuming BufferSlice
  ) {
    let bytes = slice.bytes
    u.pointee.scanner = HeadScanner()
    if case .rejected(let rejection) = u.pointee.scanner.scan(
      bytes, limits: responseLimits, isRequest: false)
    {
      return responseMalformed(x, rejection.label)
    }
    u.pointee.isScanning = true
    Self.transport(u).pointee.held.append(bytes, &engine)
    // An interim response may have come before it.
    if x.pointee.heldBytes > 0 { finishTurn(x, downstreams[x.pointee.downstream]) }
  }

  private mutating func responseMalformed(_ x: ExchangePointer, _ label: StaticString) {
    let d = downstreams[x.pointee.downstream]
    counters.upstreamFailures += 1
    logger.debug("upstream malformed reason=\(label)")
    failExchange(x, .upstreamMalformed)
    flushDownstream(d)
  }

  // MARK: The head

  /// Takes an interim or final head. - Returns: false if the exchange has ended over it.
  private mutating func takeHead(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ d: DownstreamPointer,
    _ bytes: UnsafeRawBufferPointer, _ length: Int
  ) -> Bool {
    guard ensureHeld(x) else {
      failExchange(x, .resourcesExhausted)
      return false
    }
    if responseHead.isInterim {
      if responseHead.status == 101 {
        // Nobody asked for it: Upgrade was not passed on.
        counters.upstreamFailures += 1
        failExchange(x, .upstreamUpgrade)
        return false
      }
      return takeInterimHead(x, d, bytes, length)
    }
    x.pointee.firstByte = engine.now
    x.pointee.status = responseHead.status
    x.pointee.phase = .response
    let framing = responseHead.framing(for: x.pointee.method)
    x.pointee.responseBody = BodyDecoder(framing, trailerLimits: .trailers)
    x.pointee.upstreamPersists = responseHead.isPersistent && framing != .untilClose
    switch framing {
    case .chunked, .untilClose:
      x.pointee.chunked = x.pointee.version == .http11
      if !x.pointee.chunked { d.pointee.closeAfterResponse = true }
    case .length(let size):
      if size > Watermark.largeBody { setMode(Self.transport(u), .once) }
    case .none: break
    }
    if !x.pointee.requestComplete {
      // An answer before the end of the request: what is left of it is not wanted.
      d.pointee.closeAfterResponse = true
    }
    guard writeResponseHead(x, d, bytes, length) else {
      counters.upstreamFailures += 1
      failExchange(x, .upstreamMalformed)
      return false
    }
    return true
  }

  /// Interim responses of one exchange that are passed on; a server that sends more is broken.
  private static var interimLimit: Int { 32 }

  private mutating func takeInterimHead(
    _ x: ExchangePointer, _ d: DownstreamPointer, _ bytes: UnsafeRawBufferPointer,
    _ length: Int
  ) -> Bool {
    x.pointee.interimCount += 1
    guard x.pointee.interimCount <= Self.interimLimit else {
      counters.upstreamFailures += 1
      failExchange(x, .upstreamMalformed)
      return false
    }
    guard x.pointee.version == .http11 else { return true }
    if !x.pointee.held!.canTakeMore() { pushHeld(x, d) }
    // An interim response is a courtesy: a client that does not read loses it.
    guard ensureHeld(x), x.pointee.held!.canTakeMore() else { return true }
    writeInterimHead(x, bytes, length)
    return true
  }

  private static var rewrittenInResponse: FieldSet { [.contentLength] }

  private mutating func writeResponseHead(
    _ x: ExchangePointer, _ d: DownstreamPointer, _ bytes: UnsafeRawBufferPointer,
    _ length: Int
  ) -> Bool {
    let close = d.pointee.closeAfterResponse
    let old = x.pointee.version == .http10
    let chunked = x.pointee.chunked
    let hasNoContent = x.pointee.responseBody.isComplete
    let framing = responseHead.framing(for: x.pointee.method)
    // A field line grows by the space behind its colon where it had none.
    let capacity = length + responseHead.fieldCount + 256
    let written = x.pointee.held!.write(capacity: capacity) { room in
      var w = HeadWriter(room)
      w.statusLine(responseHead.status, reason: responseHead.reason.slice(of: bytes))
      w.endToEndFields(of: responseHead, in: bytes, except: Self.rewrittenInResponse)
      if case .length(let size) = framing {
        w.field("Content-Length", decimal: size)
      } else if chunked {
        w.append("Transfer-Encoding: chunked\r\n")
      } else if hasNoContent, responseHead.status != 204,
        let line = responseHead.first(.contentLength)
      {
        // HEAD and 304 say what a GET would have had, RFC 9110 8.6.
        w.field("Content-Length", line.value.slice(of: bytes))
      }
      if close {
        w.append("Connection: close\r\n")
      } else if old {
        w.append("Connection: keep-alive\r\n")
      }
      w.append(
        responseHead.version == .http11
          ? "Via: 1.1 millrace\r\n\r\n" : "Via: 1.0 millrace\r\n\r\n")
      return w.overflowed ? -1 : w.count
    }
    if written > 0 { x.pointee.heldBytes += written }
    return written > 0
  }

  private mutating func writeInterimHead(
    _ x: ExchangePointer, _ bytes: UnsafeRawBufferPointer, _ length: Int
  ) {
    let written = x.pointee.held!.write(
      capacity: length + responseHead.fieldCount + 128
    ) { room in
      var w = HeadWriter(room)
      w.statusLine(responseHead.status, reason: responseHead.reason.slice(of: bytes))
      w.endToEndFields(of: responseHead, in: bytes, except: [.contentLength])
      w.crlf()
      return w.overflowed ? -1 : w.count
    }
    if written > 0 { x.pointee.heldBytes += written }
  }

  // MARK: Content

  @inline(__always)
  mutating func ensureHeld(_ x: ExchangePointer) -> Bool {
    if x.pointee.held != nil { return true }
    guard let frame = engine.frame() else {
      counters.framesExhausted += 1
      return false
    }
    x.pointee.held = consume frame
    return true
  }

  /// Moves content from the server's bytes into the response.
  private mutating func relayContent(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ d: DownstreamPointer,
    _ input: consuming BufferSlice
  ) {
    var slice = input
    var offset = 0
    while x.pointee.phase == .response {
      // With all bytes used the decoder is still asked: it may know that this was the end.
      if offset < slice.count && !hasRoom(x, d) {
        if Self.transport(d).pointee.outstanding == 0 && x.pointee.heldBytes == 0 {
          // Nothing waits to leave, so nothing would ever make room: there is no frame to be had.
          return failExchange(x, .resourcesExhausted)
        }
        slice.dropPrefix(offset)
        Self.transport(u).pointee.held.putBack(slice, &engine)
        return block(u, x)
      }
      switch x.pointee.responseBody.next(slice.bytes, at: &offset) {
      case .content(let start, let count):
        x.pointee.responseBytes += UInt64(count)
        appendContent(
          &x.pointee.held!, &x.pointee.heldBytes, slice.subslice(start: start, count: count),
          chunked: x.pointee.chunked)
      case .needsMore: return
      case .complete:
        responseCompleted(x, d, clean: offset == slice.count)
      case .rejected(let rejection):
        logger.debug("upstream malformed reason=\(rejection.label)")
        counters.upstreamFailures += 1
        return failExchange(x, .upstreamMalformed)
      }
    }
  }

  /// Room for another piece of content: in bytes for the client, in pieces for the frame.
  private mutating func hasRoom(_ x: ExchangePointer, _ d: DownstreamPointer) -> Bool {
    let t = Self.transport(d)
    if t.pointee.outstanding + x.pointee.heldBytes >= Watermark.high { return false }
    guard ensureHeld(x) else { return false }
    if x.pointee.held!.canTakeMore() { return true }
    pushHeld(x, d)
    return ensureHeld(x) && x.pointee.held!.canTakeMore()
  }

  /// Stops reading from the server until the client has taken what it has.
  private mutating func block(_ u: UpstreamPointer, _ x: ExchangePointer) {
    let t = Self.transport(u)
    x.pointee.responseBlocked = true
    t.pointee.paused = true
    t.pointee.deadline = .max
    if t.pointee.mode == .stream { stopReceiving(t) }
  }

  // MARK: Its end

  /// The response has been read whole. - Parameter clean: nothing came behind it.
  private mutating func responseCompleted(
    _ x: ExchangePointer, _ d: DownstreamPointer, clean: Bool
  ) {
    x.pointee.phase = .complete
    if x.pointee.chunked {
      guard ensureHeld(x) else { return abortExchange(x, .resourcesExhausted) }
      if x.pointee.responseBody.hasTrailers {
        appendTrailers(&x.pointee.held!, &x.pointee.heldBytes, &x.pointee.responseBody)
      } else {
        x.pointee.held!.append(ChunkFraming.end)
        x.pointee.heldBytes += ChunkFraming.end.utf8CodeUnitCount
      }
    }
    releaseUpstream(
      x, keep: clean && x.pointee.upstreamPersists && x.pointee.requestComplete)
    if audits { recordEnd(x) }
  }

  /// After a piece of the response: the audit's part, then out with what may leave.
  private mutating func finishTurn(_ x: ExchangePointer, _ d: DownstreamPointer) {
    if waitsForAudit && x.pointee.phase == .response && !x.pointee.hasBegun { recordBegin(x) }
    pushHeld(x, d)
    flushDownstream(d)
    guard isActive(x, d) else { return }
    // All of it may have left before its end was known.
    if x.pointee.phase == .complete { return completeIfDelivered(x, d) }
    let waiting = Self.transport(d).pointee.outstanding + x.pointee.heldBytes
    if waiting > Watermark.low, x.pointee.upstream >= 0 {
      let u = upstreams[UInt32(x.pointee.upstream)]
      // Reading in large buffers is paused before the next one comes, not after.
      if Self.transport(u).pointee.mode == .once { block(u, x) }
    }
  }

  /// Moves the response to the transport, if the audit allows and the transport has room.
  mutating func pushHeld(_ x: ExchangePointer, _ d: DownstreamPointer) {
    let t = Self.transport(d)
    guard x.pointee.heldBytes > 0, mayLeave(x), t.pointee.pendingBytes == 0,
      t.pointee.closing == .open
    else {
      if x.pointee.heldBytes > 0 && engine.isLowOnBuffers { evacuateHeld(x) }
      return
    }
    guard let frame = x.pointee.held.take() else { return }
    let bytes = x.pointee.heldBytes
    x.pointee.heldBytes = 0
    if x.pointee.phase != .request { x.pointee.committed = true }
    if d.pointee.isTLS {
      if !encrypt(d, frame) {
        counters.downstreamAborts += 1
        abortExchange(x, .downstreamReset)
      }
    } else {
      t.pointee.pendingBytes = bytes
      t.pointee.pending = consume frame
    }
    if t.pointee.sending && t.pointee.pendingBytes > 0 && engine.isLowOnBuffers {
      t.pointee.pending!.evacuate()
    }
  }

  /// Whether the audit lets the response leave: no record is awaited, and none is still to be
  /// written before the first byte of the content.
  @inline(__always)
  private func mayLeave(_ x: ExchangePointer) -> Bool {
    guard waitsForAudit else { return true }
    return x.pointee.gate == .none && (x.pointee.phase != .response || x.pointee.hasBegun)
  }

  /// What waits for a slow disk or a slow peer pins no hot buffer while they are few.
  private mutating func evacuateHeld(_ x: ExchangePointer) {
    if x.pointee.held != nil { x.pointee.held!.evacuate() }
  }

  /// A send has ended: the next part leaves, the server is read again, or the exchange is over.
  @inline(__always)
  mutating func responseProgressed(_ x: ExchangePointer, _ d: DownstreamPointer) {
    let t = Self.transport(d)
    if x.pointee.heldBytes > 0 {
      pushHeld(x, d)
      flushDownstream(d)
    }
    if d.pointee.exchange < 0 { return }
    if x.pointee.responseBlocked
      && t.pointee.outstanding + x.pointee.heldBytes <= Watermark.low
    {
      responseUnblocked(x, d)
      if d.pointee.exchange < 0 { return }
    }
    if x.pointee.phase == .complete { return completeIfDelivered(x, d) }
    if !t.pointee.sending && d.pointee.phase == .response { t.pointee.deadline = .max }
  }

  private mutating func responseUnblocked(_ x: ExchangePointer, _ d: DownstreamPointer) {
    x.pointee.responseBlocked = false
    guard x.pointee.upstream >= 0 else { return }
    let u = upstreams[UInt32(x.pointee.upstream)]
    let t = Self.transport(u)
    t.pointee.paused = false
    t.pointee.deadline = engine.now + plan.upstreams[Int(u.pointee.group)].responseTimeout
    useHeldResponse(u, x)
    guard t.pointee.closing == .open, u.pointee.exchange >= 0 else { return }
    if t.pointee.readClosed && t.pointee.held.isEmpty {
      return upstreamEnded(u, t.pointee.endResult)
    }
    armUpstream(u)
  }

  /// Ends an exchange whose last byte has left.
  @inline(__always)
  private mutating func completeIfDelivered(_ x: ExchangePointer, _ d: DownstreamPointer) {
    let t = Self.transport(d)
    guard x.pointee.heldBytes == 0, x.pointee.gate == .none, t.pointee.isIdle else { return }
    finishExchange(x, d)
  }

  private mutating func finishExchange(_ x: ExchangePointer, _ d: DownstreamPointer) {
    counters.responses += 1
    let linger = !x.pointee.requestComplete || x.pointee.ending == .badRequest
    let large = x.pointee.requestBytes > Watermark.largeBody
    dropExchange(x, d)
    if d.pointee.closeAfterResponse {
      closeDownstream(d, linger: linger || !Self.transport(d).pointee.held.isEmpty)
    } else {
      becomeIdle(d, largeRequest: large)
    }
  }

  /// Ends an exchange's slot; its connection and its record are settled.
  mutating func dropExchange(_ x: ExchangePointer, _ d: DownstreamPointer) {
    releaseUpstream(x, keep: false)
    if audits { releaseReservation(x) }
    d.pointee.exchange = -1
    let slot = x.pointee.slot
    x.deinitialize(count: 1)
    exchanges.release(slot)
  }

  // MARK: Early ends

  /// The server's stream has ended. - Parameter result: 0, or a negated errno.
  mutating func upstreamEnded(_ u: UpstreamPointer, _ result: Int32) {
    guard u.pointee.exchange >= 0 else { return closeUpstream(u) }
    let x = exchanges[UInt32(u.pointee.exchange)]
    let d = downstreams[x.pointee.downstream]
    switch x.pointee.phase {
    case .complete:
      releaseUpstream(x, keep: false)
    case .request:
      let untouched = Self.transport(u).pointee.held.isEmpty && x.pointee.heldBytes == 0
      if untouched && retry(x) { return }
      counters.upstreamFailures += 1
      failExchange(x, result == 0 ? .upstreamClosedEarly : .upstreamReset)
      flushDownstream(d)
    case .response:
      if result == 0 && x.pointee.responseBody.endOfInput() {
        guard ensureHeld(x) else { return failExchange(x, .resourcesExhausted) }
        responseCompleted(x, d, clean: false)
        return finishTurn(x, d)
      }
      counters.upstreamFailures += 1
      failExchange(x, result == 0 ? .upstreamTruncated : .upstreamReset)
      flushDownstream(d)
    }
  }

  /// The exchange cannot go on: an answer if none has begun, else a cut that cannot be mistaken
  /// for the end of the content.
  mutating func failExchange(_ x: ExchangePointer, _ ending: Ending) {
    logFailure(x, ending)
    releaseUpstream(x, keep: false)
    if x.pointee.committed || x.pointee.hasBegun || x.pointee.phase == .complete {
      return abortExchange(x, ending)
    }
    x.pointee.ending = ending
    if x.pointee.phase == .response {
      // A head was prepared, and none of it has left.
      _ = x.pointee.held.take()
      x.pointee.heldBytes = 0
    }
    answer(x, status: ending.status, label: ending.label)
  }

  /// Ends an exchange and its connection at once.
  mutating func abortExchange(_ x: ExchangePointer, _ ending: Ending) {
    let d = downstreams[x.pointee.downstream]
    x.pointee.ending = ending
    if audits { recordAbort(x) }
    dropExchange(x, d)
    abortDownstream(d)
  }

  private mutating func logFailure(_ x: ExchangePointer, _ ending: Ending) {
    let (admitted, withheld) = failureLog.admit(now: engine.now)
    guard admitted else { return }
    let d = downstreams[x.pointee.downstream]
    var server = "-"
    if x.pointee.group >= 0 && x.pointee.server >= 0 {
      let text = plan.upstreams[Int(x.pointee.group)].servers[Int(x.pointee.server)].text
      server = String(decoding: text.raw, as: UTF8.self)
    }
    let cut = x.pointee.committed || x.pointee.hasBegun
    let client = clientName(d)
    logger.warning(
      """
      exchange failed reason=\(ending.label) status=\(cut ? x.pointee.status : ending.status) \
      upstream=\(server) client=\(client) id=\(x.pointee.id) cut=\(cut) withheld=\(withheld)
      """)
  }

  func clientName(_ d: DownstreamPointer) -> String {
    String(
      decoding: UnsafeRawBufferPointer(
        start: clientText + Int(d.pointee.slot) * 64, count: d.pointee.clientLength),
      as: UTF8.self)
  }

  // MARK: The proxy's own answers

  /// Answers an exchange in the proxy's own name: a short text with the reason.
  mutating func answer(_ x: ExchangePointer, status: UInt16, label: StaticString) {
    let d = downstreams[x.pointee.downstream]
    x.pointee.status = status
    x.pointee.phase = .complete
    // Content that nobody reads must never be taken for the next request.
    if !x.pointee.requestComplete { d.pointee.closeAfterResponse = true }
    guard ensureHeld(x) else { return abortExchange(x, .resourcesExhausted) }
    let reason = staticBytes(reasonPhrase(status))
    let labelBytes = staticBytes(label)
    let size = 4 + reason.count + 3 + labelBytes.count + 1
    let close = d.pointee.closeAfterResponse
    let old = x.pointee.version == .http10
    let head = x.pointee.method == .head
    let wall = engine.wallMicroseconds
    let written = httpDate.withBytes(wallMicroseconds: wall) { date in
      x.pointee.held!.write(capacity: 640) { room in
        var w = HeadWriter(room)
        w.statusLine(status)
        w.field("Date", date)
        w.append("Content-Type: text/plain; charset=utf-8\r\n")
        w.field("Content-Length", decimal: UInt64(size))
        if status == 405 { w.append("Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n") }
        if status == 503 { w.append("Retry-After: 1\r\n") }
        if close {
          w.append("Connection: close\r\n")
        } else if old {
          w.append("Connection: keep-alive\r\n")
        }
        w.crlf()
        if !head {
          w.append(decimal: UInt64(status))
          w.append(" ")
          w.append(reason)
          w.append(" (")
          w.append(labelBytes)
          w.append(")\n")
        }
        return w.overflowed ? -1 : w.count
      }
    }
    precondition(written > 0, "an answer outgrew its room")
    x.pointee.heldBytes += written
    x.pointee.responseBytes = head ? 0 : UInt64(size)
    if audits { recordEnd(x) }
    pushHeld(x, d)
  }
}
