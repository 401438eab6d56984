// From a client's bytes to exchanges: input used as it comes or held for later, heads parsed and
// routed, malformed ones refused. Bytes that cannot be used yet are held, and their sender pauses.

import AuditLog
import Configuration
import Glibc
import HTTP
import HTTP1
import Logging
import MillraceEngine
import Transport

extension Worker where E: ~Copyable {
  /// New plaintext from a downstream connection.
  @inline(__always)
  mutating func downstreamInput(_ d: DownstreamPointer, _ slice: consuming BufferSlice) {
    if Self.transport(d).pointee.unread.isEmpty {
      useInput(d, slice)
    } else {
      let t = Self.transport(d)
      t.pointee.unread.append(slice.bytes, &engine)
      // A paused connection without an exchange has a turn to come: `resume`, or room in the log.
      if t.pointee.paused && d.pointee.exchange < 0 { return }
      useHeldInput(d)
    }
  }

  /// Uses held bytes as far as they can be used, and then the end of the stream that came after.
  mutating func useHeldInput(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    if !t.pointee.unread.isEmpty && t.pointee.closing == .open { useWhatIsHeld(d) }
    if t.pointee.readClosed { settleEnd(d) }
  }

  private mutating func useWhatIsHeld(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    if d.pointee.exchange < 0 {
      if d.pointee.isScanning {
        let bytes = t.pointee.unread.peek()
        switch d.pointee.scanner.scan(bytes, limits: headLimits, isRequest: true) {
        case .incomplete:
          // So far it was half an empty line.
          if d.pointee.phase == .idle, let slice = t.pointee.unread.takeAll() {
            holdIncompleteHead(d, slice)
          }
          return
        case .rejected(let rejection): return reject(d, rejection)
        case .complete: d.pointee.isScanning = false
        }
      }
    } else if !canUseInput(d) {
      return pauseInput(d)
    }
    if let slice = t.pointee.unread.takeAll() { useInput(d, slice) }
  }

  /// Whether the active exchange takes request content now.
  func canUseInput(_ d: DownstreamPointer) -> Bool {
    let x = exchanges[UInt32(d.pointee.exchange)]
    return !x.pointee.requestComplete && !x.pointee.requestBlocked
      && x.pointee.phase != .complete
  }

  /// Stops reading: what came is held, and what comes stays with the kernel.
  ///
  /// From here on the connection is read in pieces, one for each time that it is asked for more. A
  /// stream that is armed on a socket with much to read brings up to 136 KiB before it can be
  /// stopped (io_uring; 396 KiB before Linux 6.17), and each time again.
  mutating func pauseInput(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    t.pointee.paused = true
    d.pointee.isPaced = true
    watch(t, Int(d.pointee.slot))
    t.pointee.stopReceiving(&engine)
    t.pointee.mode = .once
  }

  /// The loop over one piece of input. Nothing is held when it is entered.
  mutating func useInput(_ d: DownstreamPointer, _ input: consuming BufferSlice) {
    var slice = input
    let t = Self.transport(d)
    while slice.count > 0 && t.pointee.closing == .open {
      if d.pointee.exchange >= 0 {
        let x = exchanges[UInt32(d.pointee.exchange)]
        if !x.pointee.requestComplete && x.pointee.phase != .complete {
          if forwardContent(d, x, &slice) { continue }
        }
        // Content that the upstream cannot take yet, or the next request of a pipeline.
        t.pointee.unread.putBack(slice, &engine)
        pauseInput(d)
        return requestProgressed(d)
      }
      if d.pointee.closeAfterResponse { return }
      switch requestHead.parse(slice.bytes, limits: headLimits) {
      case .complete(let length):
        if !startExchange(d, slice.bytes, length) {
          // No room in the audit log: the head is kept, and tried again.
          t.pointee.unread.putBack(slice, &engine)
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

  mutating func holdIncompleteHead(
    _ d: DownstreamPointer, _ input: consuming BufferSlice
  ) {
    var slice = input
    let t = Self.transport(d)
    // An empty line where a request might begin is none (RFC 9112 2.2): it starts no clock.
    slice.dropPrefix(Self.emptyLines(slice.bytes))
    d.pointee.isScanning = false
    if slice.count == 0 { return }
    let bytes = slice.bytes
    d.pointee.scanner = HeadScanner()
    if case .rejected(let rejection) = d.pointee.scanner.scan(
      bytes, limits: headLimits, isRequest: true)
    {
      return reject(d, rejection)
    }
    d.pointee.isScanning = true
    if d.pointee.phase == .idle && !(bytes.count == 1 && bytes[0] == UInt8(ascii: "\r")) {
      // The head's time runs from its first byte; it is absolute, however slowly bytes come.
      d.pointee.phase = .head
      t.pointee.deadline = engine.now + plan.listeners[Int(d.pointee.listener)].headTimeout
    }
    t.pointee.unread.append(bytes, &engine)
  }

  /// The length of the empty lines that bytes begin with.
  static func emptyLines(_ bytes: UnsafeRawBufferPointer) -> Int {
    var length = 0
    while length + 1 < bytes.count, bytes[length] == UInt8(ascii: "\r"),
      bytes[length + 1] == UInt8(ascii: "\n")
    {
      length += 2
    }
    return length
  }

  // MARK: Heads

  mutating func reject(_ d: DownstreamPointer, _ rejection: HeadRejection) {
    counters.badRequests += 1
    if rejection == .http2Preface { return refuseHTTP2(d) }
    rejectRequest(d, status: rejection.status, label: rejection.label)
  }

  /// Answers a request that could not be understood, and ends the connection.
  mutating func rejectRequest(_ d: DownstreamPointer, status: UInt16, label: StaticString) {
    guard let x = beginRefusal(d) else { return }
    answer(x, status: status, label: label)
    flushDownstream(d)
  }

  /// An exchange for a request that could not be understood: recorded, and the connection's last.
  /// - Returns: nil if there are as many exchanges as there may be; then the connection has ended.
  mutating func beginRefusal(_ d: DownstreamPointer) -> ExchangePointer? {
    _ = Self.transport(d).pointee.unread.takeAll()
    d.pointee.isScanning = false
    guard let x = makeExchange(d, method: .other, version: .http11, framing: .none) else {
      refuseStream(d, isHead: false)
      return nil
    }
    x.pointee.ending = .badRequest
    countRequest(x)
    if audits { reserveAuditOfRefusal(x, d) }
    d.pointee.closeAfterResponse = true
    return x
  }

  mutating func makeExchange(
    _ d: DownstreamPointer, method: HTTPMethod, version: HTTPVersion, framing: BodyFraming
  ) -> ExchangePointer? {
    guard let slot = exchanges.take() else { return nil }
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
    return x
  }

  /// Begins the exchange whose head is in `requestHead`.
  /// - Returns: false if the head must wait for room in the audit log.
  mutating func startExchange(
    _ d: DownstreamPointer, _ bytes: UnsafeRawBufferPointer, _ length: Int
  ) -> Bool {
    let request = requestHead.view(in: bytes)
    guard
      let x = makeExchange(
        d, method: request.method, version: request.version, framing: requestHead.framing)
    else {
      refuseStream(d, isHead: request.method == .head)
      return true
    }
    if audits {
      var facts = RequestFacts()
      fillConnectionFacts(d, &facts)
      fillRequestFacts(request, &facts)
      switch reserveAudit(x, facts) {
      case .granted, .unrecorded: break
      case .refused:
        counters.auditRejects += 1
        countRequest(x)
        if !requestHead.isPersistent || drain != .serving { d.pointee.closeAfterResponse = true }
        return refuse(d, x, .auditFull)
      case .tooLarge:
        countRequest(x)
        reserveAuditOfRefusal(x, d)
        if !requestHead.isPersistent || drain != .serving { d.pointee.closeAfterResponse = true }
        return refuse(d, x, .auditRecordTooLarge)
      case .blocked:
        counters.auditWaits += 1
        dropExchange(x, d)
        audit.wait(d.pointee.slot)
        // `block` waits for as long as an idle connection may.
        d.pointee.phase = .idle
        Self.transport(d).pointee.deadline =
          d.pointee.auditWaitSince + plan.listeners[Int(d.pointee.listener)].idleTimeout
        return false
      }
    }
    countRequest(x)
    if !requestHead.isPersistent || drain != .serving { d.pointee.closeAfterResponse = true }
    if request.method == .connect || request.method == .trace {
      // What a client sends behind CONNECT is for a tunnel that there will not be.
      if request.method == .connect { d.pointee.closeAfterResponse = true }
      return refuse(d, x, .methodRefused)
    }
    if let ending = localReply(request) {
      if ending == .loopDetected { logFailure(x, ending) }
      return refuse(d, x, ending)
    }
    let path = requestPath(request)
    guard
      let place = Router.route(
        plan.current, listener: Int32(plan.place(ofListener: d.pointee.listener)),
        authority: request.authority, path: path)
    else { return refuse(d, x, .noRoute) }
    let group = plan.upstream(place)
    x.pointee.group = group
    x.pointee.attemptsLeft = plan.upstreams[Int(group)].attempts
    guard var frame = engine.frame() else { return refuse(d, x, .resourcesExhausted) }
    let written = writeRequestHead(&frame, x, d, bytes)
    guard written else { return refuse(d, x, .resourcesExhausted) }
    if let remaining = x.pointee.requestBody.remainingContentLength,
      remaining > Watermark.largeBody
    {
      Self.transport(d).pointee.setMode(.once, &engine)
    }
    attach(x, frame, avoid: -1)
    return true
  }

  /// Answers a request beyond `limits.streams`, which gets no exchange and so no record, and ends
  /// the connection.
  mutating func refuseStream(_ d: DownstreamPointer, isHead: Bool) {
    counters.streamsRefused += 1
    let (admitted, suppressed) = failureLog.admit(now: engine.now)
    if admitted {
      logger.warning(
        """
        request refused reason=streams_exhausted client=\(clientName(d)) \
        limit=\(exchanges.capacity) suppressed=\(suppressed)
        """)
    }
    d.pointee.closeAfterResponse = true
    guard var frame = engine.frame() else {
      counters.framesExhausted += 1
      return abortDownstream(d)
    }
    let wall = engine.wallMicroseconds
    let written = httpDate.withBytes(wallMicroseconds: wall) { date in
      frame.write(capacity: 320) { room in
        var w = HeadWriter(room)
        w.statusLine(503)
        w.field("Date", date)
        w.append("Content-Type: text/plain; charset=utf-8\r\nContent-Length: 44\r\n")
        w.append("Retry-After: 1\r\nConnection: close\r\n\r\n")
        if !isHead { w.append("503 Service Unavailable (streams_exhausted)\n") }
        return w.overflowed ? -1 : w.count
      }
    }
    guard written > 0 else { return abortDownstream(d) }
    let t = Self.transport(d)
    if let channel = t.pointee.tls {
      if encrypt(d, channel, frame) != nil { return abortDownstream(d) }
    } else {
      t.pointee.unsent.put(frame)
    }
    closeDownstream(d, linger: true)
  }

  mutating func refuse(
    _ d: DownstreamPointer, _ x: ExchangePointer, _ ending: Ending
  ) -> Bool {
    x.pointee.ending = ending
    answer(x, status: ending.status, label: ending.label)
    return true
  }

  /// The path to route by: an absolute form without a path means "/", RFC 9110 4.2.3.
  func requestPath(_ request: RequestView) -> UnsafeRawBufferPointer {
    if !request.path.isEmpty { return request.path }
    let slash: StaticString = "/"
    return UnsafeRawBufferPointer(start: slash.utf8Start, count: 1)
  }

  func fillRequestFacts(_ request: RequestView, _ facts: inout RequestFacts) {
    facts.version = staticBytes(request.version.name)
    facts.method = request.methodName
    facts.host = request.authority
    facts.path = request.path.isEmpty ? request.target : request.path
    if request.hasQuery { facts.query = request.query }
    facts.redactsQuery = plan.audit?.redactQuery ?? false
    if let line = request.first(.xRequestID) { facts.requestID = request.slice(line.value) }
    if let line = request.first(.traceparent), line.value.count >= 35 {
      // version "-" trace-id "-" parent-id "-" flags, W3C Trace Context 3.2.
      facts.traceID = request.slice(ByteRange(start: line.value.start + 3, count: 32))
    }
  }
}

@inline(__always)
func staticBytes(_ text: StaticString) -> UnsafeRawBufferPointer {
  UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
}
