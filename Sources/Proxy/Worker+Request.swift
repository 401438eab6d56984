// From bytes to exchanges: heads parsed, requests routed, content passed on. Bytes that cannot be
// used yet are held, and their sender is paused.

import AuditLog
import Configuration
import Glibc
import HTTP1
import MillraceEngine

extension Worker where E: ~Copyable {
  /// New plaintext from a downstream connection.
  @inline(__always)
  mutating func downstreamInput(_ d: DownstreamPointer, _ slice: consuming BufferSlice) {
    if Self.transport(d).pointee.held.isEmpty {
      useInput(d, slice)
    } else {
      Self.transport(d).pointee.held.append(slice.bytes, &engine)
      useHeldInput(d)
    }
  }

  /// Uses held bytes as far as they can be used.
  mutating func useHeldInput(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    guard !t.pointee.held.isEmpty, t.pointee.closing == .open else { return }
    if d.pointee.exchange < 0 {
      if d.pointee.isScanning {
        let bytes = t.pointee.held.peek()
        switch d.pointee.scanner.scan(bytes, limits: headLimits, isRequest: true) {
        case .incomplete: return
        case .rejected(let rejection): return reject(d, rejection)
        case .complete: d.pointee.isScanning = false
        }
      }
    } else if !canUseInput(d) {
      return pauseInput(d)
    }
    if let slice = t.pointee.held.takeAll() { useInput(d, slice) }
  }

  /// Whether the active exchange takes request content now.
  private func canUseInput(_ d: DownstreamPointer) -> Bool {
    let x = exchanges[UInt32(d.pointee.exchange)]
    return !x.pointee.requestComplete && !x.pointee.requestBlocked
      && x.pointee.phase != .complete
  }

  /// Stops reading: what came is held, and what comes stays with the kernel.
  private mutating func pauseInput(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    t.pointee.paused = true
    stopReceiving(t)
  }

  /// The loop over one piece of input. Nothing is held when it is entered.
  private mutating func useInput(_ d: DownstreamPointer, _ input: consuming BufferSlice) {
    var slice = input
    let t = Self.transport(d)
    while slice.count > 0 && t.pointee.closing == .open {
      if d.pointee.exchange >= 0 {
        let x = exchanges[UInt32(d.pointee.exchange)]
        if !x.pointee.requestComplete && x.pointee.phase != .complete {
          if forwardContent(d, x, &slice) { continue }
        }
        // Content that the upstream cannot take yet, or the next request of a pipeline.
        t.pointee.held.putBack(slice, &engine)
        pauseInput(d)
        return requestProgressed(d)
      }
      if d.pointee.closeAfterResponse { return }
      switch requestHead.parse(slice.bytes, limits: headLimits) {
      case .complete(let length):
        if !startExchange(d, slice.bytes, length) {
          // No room in the audit log: the head is kept, and tried again.
          t.pointee.held.putBack(slice, &engine)
          pauseInput(d)
          return
        }
        slice.dropPrefix(length)
      case .incomplete:
        holdIncompleteHead(d, slice)
        return
      case .rejected(let rejection):
        return reject(d, rejection)
      }
    }
    if d.pointee.exchange >= 0 { requestProgressed(d) }
  }

  private mutating func holdIncompleteHead(
    _ d: DownstreamPointer, _ slice: consuming BufferSlice
  ) {
    let t = Self.transport(d)
    let bytes = slice.bytes
    d.pointee.scanner = HeadScanner()
    if case .rejected(let rejection) = d.pointee.scanner.scan(
      bytes, limits: headLimits, isRequest: true)
    {
      return reject(d, rejection)
    }
    d.pointee.isScanning = true
    if d.pointee.phase == .idle {
      // The head's time runs from its first byte; it is absolute, however slowly bytes come.
      d.pointee.phase = .head
      t.pointee.deadline = engine.now + plan.listeners[Int(d.pointee.listener)].headTimeout
    }
    t.pointee.held.append(bytes, &engine)
  }

  // MARK: Heads

  private mutating func reject(_ d: DownstreamPointer, _ rejection: HeadRejection) {
    counters.badRequests += 1
    rejectRequest(d, status: rejection.status, label: rejection.label)
  }

  /// Answers a request that could not be understood, and ends the connection.
  mutating func rejectRequest(_ d: DownstreamPointer, status: UInt16, label: StaticString) {
    _ = Self.transport(d).pointee.held.takeAll()
    d.pointee.isScanning = false
    let x = makeExchange(d, method: .other, version: .http11, framing: .none)
    x.pointee.ending = .badRequest
    if audits {
      var facts = RequestFacts()
      fillConnectionFacts(d, &facts)
      switch reserveAudit(x, facts) {
      case .granted: break
      case .blocked, .refused:
        // A refusal tells nothing and did nothing: it is not held back, but counted.
        counters.auditRejects += 1
        d.pointee.auditWaitSince = 0
      }
    }
    d.pointee.closeAfterResponse = true
    answer(x, status: status, label: label)
    flushDownstream(d)
  }

  private mutating func makeExchange(
    _ d: DownstreamPointer, method: HTTPMethod, version: HTTPVersion, framing: BodyFraming
  ) -> ExchangePointer {
    guard let slot = exchanges.take() else {
      preconditionFailure("fewer exchange slots than connections")
    }
    let x = exchanges[slot]
    nextExchangeID &+= 1
    x.initialize(
      to: Exchange(
        slot: slot, id: nextExchangeID, downstream: d.pointee.slot,
        listener: d.pointee.listener, method: method, version: version, framing: framing,
        trailerLimits: .trailers, started: engine.now))
    d.pointee.exchange = Int32(slot)
    d.pointee.phase = .response
    Self.transport(d).pointee.deadline = .max
    counters.requests += 1
    return x
  }

  /// Begins the exchange whose head is in `requestHead`.
  /// - Returns: false if the head must wait for room in the audit log.
  private mutating func startExchange(
    _ d: DownstreamPointer, _ bytes: UnsafeRawBufferPointer, _ length: Int
  ) -> Bool {
    let x = makeExchange(
      d, method: requestHead.method, version: requestHead.version,
      framing: requestHead.framing)
    if audits {
      var facts = RequestFacts()
      fillConnectionFacts(d, &facts)
      fillRequestFacts(bytes, &facts)
      switch reserveAudit(x, facts) {
      case .granted: break
      case .refused:
        counters.auditRejects += 1
        if !requestHead.isPersistent || drain != .serving { d.pointee.closeAfterResponse = true }
        return refuse(d, x, .auditFull)
      case .blocked:
        counters.auditWaits += 1
        dropExchange(x, d)
        counters.requests -= 1
        auditBlocked.append(d.pointee.slot)
        // `block` waits for as long as an idle connection may.
        d.pointee.phase = .idle
        Self.transport(d).pointee.deadline =
          d.pointee.auditWaitSince + plan.listeners[Int(d.pointee.listener)].idleTimeout
        return false
      }
    }
    if !requestHead.isPersistent || drain != .serving { d.pointee.closeAfterResponse = true }
    if requestHead.method == .connect || requestHead.method == .trace {
      // What a client sends behind CONNECT is for a tunnel that there will not be.
      if requestHead.method == .connect { d.pointee.closeAfterResponse = true }
      return refuse(d, x, .methodRefused)
    }
    let path = requestPath(bytes)
    guard
      let group = Router.route(
        plan, listener: d.pointee.listener, authority: requestHead.authority.slice(of: bytes),
        path: path)
    else { return refuse(d, x, .noRoute) }
    x.pointee.group = group
    x.pointee.attemptsLeft = plan.upstreams[Int(group)].attempts
    guard var frame = engine.frame() else { return refuse(d, x, .resourcesExhausted) }
    let written = writeRequestHead(&frame, x, d, bytes, length)
    guard written else { return refuse(d, x, .resourcesExhausted) }
    if let remaining = x.pointee.requestBody.remainingContentLength,
      remaining > Watermark.largeBody
    {
      setMode(Self.transport(d), .once)
    }
    attach(x, frame, avoid: -1)
    return true
  }

  private mutating func refuse(
    _ d: DownstreamPointer, _ x: ExchangePointer, _ ending: Ending
  ) -> Bool {
    x.pointee.ending = ending
    answer(x, status: ending.status, label: ending.label)
    return true
  }

  /// The path to route by: an absolute form without a path means "/", RFC 9110 4.2.3.
  private func requestPath(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    if !requestHead.path.isEmpty { return requestHead.path.slice(of: bytes) }
    let slash: StaticString = "/"
    return UnsafeRawBufferPointer(start: slash.utf8Start, count: 1)
  }

  private func fillRequestFacts(_ bytes: UnsafeRawBufferPointer, _ facts: inout RequestFacts) {
    facts.version = staticBytes(requestHead.version == .http11 ? "HTTP/1.1" : "HTTP/1.0")
    facts.method = requestHead.methodRange.slice(of: bytes)
    facts.host = requestHead.authority.slice(of: bytes)
    facts.path =
      requestHead.path.isEmpty
      ? requestHead.target.slice(of: bytes) : requestHead.path.slice(of: bytes)
    if requestHead.hasQuery { facts.query = requestHead.query.slice(of: bytes) }
    facts.redactsQuery = plan.audit?.redactQuery ?? false
    if let line = requestHead.first(.xRequestID) { facts.requestID = line.value.slice(of: bytes) }
    if let line = requestHead.first(.traceparent), line.value.count >= 35 {
      // version "-" trace-id "-" parent-id "-" flags, W3C Trace Context 3.2.
      facts.traceID = ByteRange(start: line.value.start + 3, count: 32).slice(of: bytes)
    }
  }

  // MARK: The head for the upstream

  /// Fields that are written anew or never passed on as they came.
  ///
  /// What a client says of itself in Forwarded, X-Real-IP or X-Forwarded-* is not what the proxy
  /// saw, and a server cannot tell the two apart.
  private static var rewritten: FieldSet {
    [
      .host, .contentLength, .xForwardedFor, .xForwardedProto, .xForwardedHost, .xForwardedPort,
      .forwarded, .xRealIP,
    ]
  }
  /// What the rewritten head can need beyond the one received.
  private static var headMargin: Int { 512 }

  private mutating func writeRequestHead(
    _ frame: inout SendFrame, _ x: ExchangePointer, _ d: DownstreamPointer,
    _ bytes: UnsafeRawBufferPointer, _ length: Int
  ) -> Bool {
    let authority = requestHead.authority.slice(of: bytes)
    let client = UnsafeRawBufferPointer(
      start: clientText + Int(d.pointee.slot) * 64, count: d.pointee.clientLength)
    let isTLS = d.pointee.isTLS
    // A field line grows by the space behind its colon where it had none.
    let capacity =
      length + requestHead.fieldCount + 2 * authority.count + Self.headMargin
    let written = frame.write(capacity: capacity) { room in
      var w = HeadWriter(room)
      w.append(requestHead.methodRange, of: bytes)
      w.append(" ")
      writeTarget(&w, bytes)
      w.append(" HTTP/1.1\r\nHost: ")
      w.append(authority)
      w.append("\r\n")
      w.endToEndFields(of: requestHead, in: bytes, except: Self.rewritten)
      switch requestHead.framing {
      case .length(let n): w.field("Content-Length", decimal: n)
      case .chunked: w.append("Transfer-Encoding: chunked\r\n")
      case .none, .untilClose: break
      }
      if requestHead.acceptsTrailers { w.append("TE: trailers\r\nConnection: TE\r\n") }
      w.field("X-Forwarded-For", client)
      w.append(
        isTLS ? "X-Forwarded-Proto: https\r\n" : "X-Forwarded-Proto: http\r\n")
      if authority.count > 0 { w.field("X-Forwarded-Host", authority) }
      w.append(
        requestHead.version == .http11
          ? "Via: 1.1 millrace\r\n\r\n" : "Via: 1.0 millrace\r\n\r\n")
      return w.overflowed ? -1 : w.count
    }
    return written > 0
  }

  /// The target in origin form (or asterisk form), RFC 9112 3.2.
  private func writeTarget(_ w: inout HeadWriter, _ bytes: UnsafeRawBufferPointer) {
    guard requestHead.targetForm == .absolute else {
      w.append(requestHead.target, of: bytes)
      return
    }
    if requestHead.path.isEmpty {
      w.append(requestHead.method == .options && !requestHead.hasQuery ? "*" : "/")
    } else {
      w.append(requestHead.path, of: bytes)
    }
    if requestHead.hasQuery {
      w.append("?")
      w.append(requestHead.query, of: bytes)
    }
  }

  // MARK: Content

  /// Passes request content on. - Returns: false when the rest of `slice` has to wait.
  private mutating func forwardContent(
    _ d: DownstreamPointer, _ x: ExchangePointer, _ slice: inout BufferSlice
  ) -> Bool {
    guard x.pointee.upstream >= 0 else { return false }
    let u = upstreams[UInt32(x.pointee.upstream)]
    let ut = Self.transport(u)
    var offset = 0
    while true {
      // With all bytes used the decoder is still asked: it may know that this was the end.
      guard ensurePending(ut),
        offset == slice.count
          || (ut.pointee.pending!.canTakeMore() && ut.pointee.outstanding < Watermark.high)
      else {
        if ut.pointee.outstanding == 0 && u.pointee.phase == .busy {
          // Nothing waits to leave, so nothing would ever make room.
          failExchange(x, .resourcesExhausted)
          slice.dropPrefix(slice.count)
          return true
        }
        slice.dropPrefix(offset)
        x.pointee.requestBlocked = true
        return false
      }
      switch x.pointee.requestBody.next(slice.bytes, at: &offset) {
      case .content(let start, let count):
        x.pointee.requestBytes += UInt64(count)
        appendContent(
          &ut.pointee.pending!, &ut.pointee.pendingBytes,
          slice.subslice(start: start, count: count),
          chunked: x.pointee.requestFraming == .chunked)
      case .needsMore:
        slice.dropPrefix(slice.count)
        return true
      case .complete:
        slice.dropPrefix(offset)
        requestCompleted(x, ut)
        return true
      case .rejected:
        counters.badRequests += 1
        failExchange(x, .requestBodyMalformed)
        slice.dropPrefix(slice.count)
        return true
      }
    }
  }

  private mutating func requestCompleted(
    _ x: ExchangePointer, _ ut: UnsafeMutablePointer<Transport>
  ) {
    x.pointee.requestComplete = true
    guard x.pointee.requestFraming == .chunked else { return }
    if x.pointee.requestBody.hasTrailers {
      appendTrailers(&ut.pointee.pending!, &ut.pointee.pendingBytes, &x.pointee.requestBody)
    } else {
      ut.pointee.pending!.append(ChunkFraming.end)
      ut.pointee.pendingBytes += ChunkFraming.end.utf8CodeUnitCount
    }
  }

  /// Appends content to a frame, in a chunk of its own where the message is chunked.
  @inline(__always)
  mutating func appendContent(
    _ frame: inout SendFrame, _ total: inout Int, _ slice: consuming BufferSlice, chunked: Bool
  ) {
    total += slice.count
    if chunked {
      let size = slice.count
      total += frame.write(capacity: ChunkFraming.headerMaximum) { room in
        ChunkFraming.writeHeader(size, to: room.baseAddress!)
      }
      frame.append(slice)
      frame.append(ChunkFraming.chunkEnd)
      total += ChunkFraming.chunkEnd.utf8CodeUnitCount
    } else {
      frame.append(slice)
    }
  }

  /// Appends the last chunk with its trailer section.
  mutating func appendTrailers(
    _ frame: inout SendFrame, _ total: inout Int, _ body: inout BodyDecoder
  ) {
    let written = frame.write(capacity: HeadLimits.trailers.headBytes + 64) { room in
      var w = HeadWriter(room)
      w.append(ChunkFraming.lastChunk)
      w.trailers(of: body)
      w.crlf()
      return w.overflowed ? -1 : w.count
    }
    if written > 0 { total += written }
  }

  /// All input of the turn is with the upstream's transport: send it, and say what is waited for.
  private mutating func requestProgressed(_ d: DownstreamPointer) {
    let x = exchanges[UInt32(d.pointee.exchange)]
    let t = Self.transport(d)
    if x.pointee.upstream >= 0 {
      let u = upstreams[UInt32(x.pointee.upstream)]
      flushUpstream(u)
      // What waits behind a send or a connect pins no hot buffer while they are few.
      if Self.transport(u).pointee.pendingBytes > 0 && engine.isLowOnBuffers {
        Self.transport(u).pointee.pending!.evacuate()
      }
      if t.pointee.mode == .once && !x.pointee.requestComplete
        && Self.transport(u).pointee.outstanding > Watermark.low
      {
        x.pointee.requestBlocked = true
        t.pointee.paused = true
      }
    }
    if x.pointee.requestComplete || x.pointee.requestBlocked || x.pointee.phase == .complete {
      if d.pointee.phase == .body {
        d.pointee.phase = .response
        if !t.pointee.sending { t.pointee.deadline = .max }
      }
    } else {
      d.pointee.phase = .body
      t.pointee.deadline = engine.now + plan.listeners[Int(d.pointee.listener)].bodyTimeout
    }
  }

  /// The upstream has room again for request content.
  mutating func requestUnblocked(_ x: ExchangePointer) {
    x.pointee.requestBlocked = false
    let d = downstreams[x.pointee.downstream]
    let t = Self.transport(d)
    guard t.pointee.closing == .open else { return }
    t.pointee.paused = false
    useHeldInput(d)
    if d.pointee.exchange == Int32(x.pointee.slot) && !x.pointee.requestComplete {
      if t.pointee.readClosed && t.pointee.held.isEmpty {
        counters.downstreamAborts += 1
        return abortExchange(x, .downstreamClosed)
      }
      if !x.pointee.requestBlocked { requestProgressed(d) }
    }
    // What was held may have been refused: the answer leaves now.
    flushDownstream(d)
    armDownstream(d)
  }
}

@inline(__always)
func staticBytes(_ text: StaticString) -> UnsafeRawBufferPointer {
  UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
}
