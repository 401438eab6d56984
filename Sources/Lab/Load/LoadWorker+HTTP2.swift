// HTTP/2 on a connection: each request is a stream, responses come in any order, and a stream that
// fails leaves the others alone. Frames, HPACK and flow control are the session's; here are the
// streams' places, and what becomes of their requests.

import Glibc
import HTTP
import HTTP1
import HTTP2
import MillraceEngine
import TLS
import Transport

/// A stream's place among those of its connection. It is free again when the session has said the
/// last of the stream, which may be later than the request's outcome.
struct StreamPlace {
  /// 0: free.
  var stream: Int32 = 0
  /// Whether the outcome of its request is known.
  var isDecided = false
  var answer = Answer()
}

extension LoadWorker where E: ~Copyable {
  /// Bytes that one send takes out of a session at most.
  private static var gatherLimit: Int { 262_144 }

  mutating func beginHTTP2(_ c: LoadConnectionPointer) -> Bool {
    var configuration = HTTP2Configuration(.client)
    configuration.concurrentStreams = depth
    configuration.keepsFields = false
    guard let memory = http2Memory,
      let session = HTTP2Session(configuration, memory: memory)
    else { return false }
    c.pointee.http2 = consume session
    for place in 0..<depth { self.place(c, place).pointee = StreamPlace() }
    flush(c)
    return true
  }

  @inline(__always)
  private func place(_ c: LoadConnectionPointer, _ index: Int) -> UnsafeMutablePointer<StreamPlace>
  {
    streams! + Int(slot(c)) * depth + index
  }

  // MARK: Requests

  /// Submits a request; `flush` sends it.
  mutating func launchStream(_ c: LoadConnectionPointer, _ flight: Flight) {
    var index = 0
    while index < depth, place(c, index).pointee.stream != 0 { index += 1 }
    let request = prepared.baseAddress! + Int(flight.template)
    if index < depth {
      let content =
        request.pointee.contentCount == 0
        ? HTTP2Content.none : HTTP2Content(request.pointee.content.bytes)
      let stream = c.pointee.submit(
        fieldLists.baseAddress! + Int(flight.template), content, tag: UInt64(index))
      if let stream {
        flights[Int(slot(c)) * depth + index] = flight
        place(c, index).pointee = StreamPlace(stream: stream)
        c.pointee.flightCount += 1
        if c.pointee.requestsLeft != .max { c.pointee.requestsLeft -= 1 }
        return
      }
    }
    // The session takes no more: it is about to end. The request goes to another connection.
    if c.pointee.isSlow { return }
    inAir -= 1
    if flight.isCounted { tally.sent -= 1 }
    lanes[Int(c.pointee.lane)].resend.append(flight)
    c.pointee.requestsLeft = 0
  }

  /// Takes a request out of those whose outcome is open.
  mutating func popStream(_ c: LoadConnectionPointer) -> Flight? {
    for index in 0..<depth {
      let place = place(c, index)
      if place.pointee.stream == 0 || place.pointee.isDecided { continue }
      return decide(c, index)
    }
    return nil
  }

  /// The outcome of a stream's request is known.
  private mutating func decide(_ c: LoadConnectionPointer, _ index: Int) -> Flight {
    place(c, index).pointee.isDecided = true
    c.pointee.flightCount -= 1
    if !c.pointee.isSlow { inAir -= 1 }
    return flights[Int(slot(c)) * depth + index]
  }

  /// Moves what the session has to say into the frame that leaves next.
  mutating func gatherFrames(_ c: LoadConnectionPointer) {
    var gathered = 0
    while gathered < Self.gatherLimit {
      guard c.pointee.plain.prepare(&engine), c.pointee.plain.hasRoomForOne() else { return }
      let count = c.pointee.gather(into: frames)
      guard count > 0 else { return }
      gathered += count
      let bytes = UnsafeRawBufferPointer(rebasing: frames[..<count])
      guard appendFrames(c, bytes) else {
        return end(c, .reset, "HTTP/2 frames do not fit into a send frame")
      }
      if count < frames.count { return }
    }
  }

  private mutating func appendFrames(
    _ c: LoadConnectionPointer, _ bytes: UnsafeRawBufferPointer
  ) -> Bool {
    if bytes.count <= c.pointee.plain.inlineRoom() { return c.pointee.plain.append(bytes) }
    var area = engine.lease() ?? engine.coldMemory(bytes.count)
    if area.count < bytes.count { area = engine.coldMemory(bytes.count) }
    area.mutableBytes.copyMemory(from: bytes)
    area.truncate(to: bytes.count)
    return c.pointee.plain.append(area)
  }

  // MARK: Responses

  /// Reads frames and uses what they bring.
  mutating func readFrames(_ c: LoadConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    var offset = 0
    var goesOn = true
    while goesOn {
      guard c.pointee.http2 != nil, c.pointee.phase == .open else { return }
      let transfer = c.pointee.feedHTTP2(UnsafeRawBufferPointer(rebasing: bytes[offset...]))
      offset += transfer.consumed
      while c.pointee.phase == .open, let event = c.pointee.nextEvent() { happened(c, event) }
      switch transfer.progress {
      case .wantsInput: goesOn = false
      case .eventsWaiting: break
      case .failed(let failure):
        return end(c, .protocolError, "HTTP/2: \(failure.label)")
      }
    }
    guard c.pointee.phase == .open else { return }
    if c.pointee.flightCount == 0 && (c.pointee.requestsLeft == 0 || c.pointee.isOver()) {
      return end(c, nil)
    }
    flush(c)
    if !endIfOver(c) { offer(c) }
  }

  /// A session that found its peer to break the protocol says GOAWAY and is over, whatever streams
  /// are open: it tells nothing of them. - Returns: whether it was.
  mutating func endIfOver(_ c: LoadConnectionPointer) -> Bool {
    guard c.pointee.http2 != nil, c.pointee.phase == .open, c.pointee.isOver() else { return false }
    end(c, .protocolError, "the server does not support HTTP/2, or violates it")
    return true
  }

  private mutating func happened(_ c: LoadConnectionPointer, _ event: HTTP2Event) {
    switch event.kind {
    case .settings, .trailers, .drained: break
    case .goAway:
      // Streams above `lastStream` are told one by one.
      c.pointee.requestsLeft = 0
    case .head:
      guard let index = index(c, event) else { return }
      // nghttp2 takes any three digits.
      guard LoadTally.statusCodes.contains(Int(event.status)) else {
        return refuseStatus(c, index, event)
      }
      if event.status >= 200 { place(c, index).pointee.answer.status = event.status }
    case .headTooLarge:
      guard let index = index(c, event) else { return }
      failStream(c, index, .protocolError, "response head too large")
      c.pointee.resetStream(event.stream, .cancel)
    case .content:
      guard let index = index(c, event) else { return }
      let template = flights[Int(slot(c)) * depth + index].template
      compare(event.bytes, template, &place(c, index).pointee.answer)
    case .end:
      guard let index = index(c, event), !place(c, index).pointee.isDecided else { return }
      // A head of ":status: 000" looks like one without it.
      if place(c, index).pointee.answer.status == 0 { return refuseStatus(c, index, event) }
      let flight = decide(c, index)
      settle(c, flight, place(c, index).pointee.answer)
      if resumesSessions && !c.pointee.hasKeptSession && c.pointee.transport.tls != nil {
        keepSession(c)
      }
    case .closed: streamClosed(c, event)
    }
  }

  private func index(_ c: LoadConnectionPointer, _ event: HTTP2Event) -> Int? {
    let index = Int(truncatingIfNeeded: event.tag)
    guard index < depth, place(c, index).pointee.stream == event.stream else { return nil }
    return index
  }

  private mutating func streamClosed(_ c: LoadConnectionPointer, _ event: HTTP2Event) {
    guard let index = index(c, event) else { return }
    if !place(c, index).pointee.isDecided {
      if event.code == .refusedStream && !c.pointee.isSlow && stage < .draining {
        // Nothing was done for it: it may be sent again (RFC 9113, section 8.7).
        let flight = decide(c, index)
        if flight.isCounted { tally.sent -= 1 }
        lanes[Int(c.pointee.lane)].resend.append(flight)
      } else {
        failStream(c, index, .reset, "the stream ended early: \(event.code.label)")
      }
    }
    place(c, index).pointee.stream = 0
  }

  private mutating func refuseStatus(_ c: LoadConnectionPointer, _ index: Int, _ event: HTTP2Event)
  {
    failStream(c, index, .protocolError, "unexpected status code \(event.status)")
    c.pointee.resetStream(event.stream, .protocolError)
  }

  private mutating func failStream(
    _ c: LoadConnectionPointer, _ index: Int, _ kind: LoadFailureKind,
    _ reason: @autoclosure () -> String
  ) {
    guard !place(c, index).pointee.isDecided else { return }
    note(kind, reason())
    fail(c, decide(c, index), kind)
  }

  /// Resets the streams whose response takes too long.
  mutating func sweepStreams(_ c: LoadConnectionPointer, _ now: Int64) {
    for index in 0..<depth {
      let place = place(c, index)
      if place.pointee.stream == 0 || place.pointee.isDecided { continue }
      if flights[Int(slot(c)) * depth + index].sent + timeout > now { continue }
      failStream(c, index, .timeout, "response timeout")
      c.pointee.resetStream(place.pointee.stream, .cancel)
    }
    flush(c)
  }
}

extension LoadConnection {
  // For a session that is stored in an optional, which can only be used in place.

  mutating func canRequest() -> Bool { http2 != nil && http2!.mayRequest() }

  mutating func submit(
    _ fields: UnsafeMutablePointer<HTTP2FieldList>, _ content: HTTP2Content, tag: UInt64
  ) -> Int32? {
    http2 == nil ? nil : http2!.request(fields.pointee, content: content, tag: tag)
  }

  mutating func gather(into room: UnsafeMutableRawBufferPointer) -> Int {
    http2 == nil ? 0 : http2!.output(into: room)
  }

  mutating func feedHTTP2(_ bytes: UnsafeRawBufferPointer) -> HTTP2Session.Transfer {
    http2!.receive(bytes)
  }

  mutating func nextEvent() -> HTTP2Event? { http2!.nextEvent() }

  mutating func isOver() -> Bool { http2!.hasEnded() }

  mutating func resetStream(_ stream: Int32, _ code: HTTP2ErrorCode) { http2!.reset(stream, code) }
}

extension HTTP2Session {
  mutating func mayRequest() -> Bool { canRequest }
  mutating func hasEnded() -> Bool { isOver }
}

extension HTTP2FieldList {
  /// The head of a template as HTTP/2 sends it (RFC 9113, section 8.3.1).
  init(_ template: RequestTemplate, _ server: LoadServer) {
    // Fields that belong to a connection of HTTP/1.1 (RFC 9113, section 8.2.2), and what replaces
    // Host.
    let dropped = [
      "host", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade",
    ]
    let authority =
      template.fields.first { $0.name.lowercased() == "host" }?.value ?? server.authority
    var lines = [
      (":method", template.method), (":scheme", server.usesTLS ? "https" : "http"),
      (":authority", authority), (":path", template.target),
    ]
    for field in template.fields where !dropped.contains(field.name.lowercased()) {
      lines.append((field.name.lowercased(), field.value))
    }
    if !template.content.isEmpty, !lines.contains(where: { $0.0 == "content-length" }) {
      lines.append(("content-length", String(template.content.count)))
    }
    let bytes = lines.reduce(0) { $0 + $1.0.utf8.count + $1.1.utf8.count }
    self.init(fields: lines.count, bytes: bytes, lasting: true)
    for line in lines { append(line.0, line.1) }
  }
}
