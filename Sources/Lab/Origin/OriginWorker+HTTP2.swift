// HTTP/2: a session's events become requests, and answers become its streams. The session says what
// leaves; here it is only given room, as much as one send carries.

import Glibc
import HTTP
import HTTP2
import MillraceEngine
import Transport

typealias OriginStreamPointer = UnsafeMutablePointer<OriginStream>

extension OriginWorker where E: ~Copyable {
  /// Room that a session can always make progress in.
  private static var leastRoom: Int { 2048 }

  mutating func beginHTTP2(_ c: OriginConnectionPointer) -> Bool {
    c.pointee.speaks = .http2
    c.pointee.http2 = HTTP2Session(http2Configuration, memory: http2Memory)
    return c.pointee.http2 != nil
  }

  mutating func http2Input(_ c: OriginConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    var offset = 0
    while c.pointee.transport.closing == .open {
      let transfer = c.pointee.http2!.receive(UnsafeRawBufferPointer(rebasing: bytes[offset...]))
      offset += transfer.consumed
      takeEvents(c)
      guard transfer.progress == .eventsWaiting else { break }
    }
    http2Output(c)
  }

  private mutating func takeEvents(_ c: OriginConnectionPointer) {
    while let event = c.pointee.http2!.nextEvent() {
      switch event.kind {
      case .head: begin(c, event)
      case .headTooLarge:
        counters.badRequests += 1
        refuseStream(c, event.stream, 431)
      case .content: receivedContent(event)
      case .end: if let s = stream(event) { complete(c, s) }
      case .drained: if let s = stream(event) { drained(c, s) }
      case .closed: if let s = stream(event) { forget(c, s) }
      case .trailers, .goAway, .settings: break
      }
    }
  }

  /// A stream's tag is its slot and one, because 0 is a stream without any.
  @inline(__always)
  private func stream(_ event: HTTP2Event) -> OriginStreamPointer? {
    event.tag == 0 ? nil : streams[UInt32(event.tag - 1)]
  }

  // MARK: Requests

  private mutating func begin(_ c: OriginConnectionPointer, _ event: HTTP2Event) {
    counters.requests += 1
    let head = c.pointee.http2!.read(event)
    var path = head.path
    if let query = path.firstIndex(of: UInt8(ascii: "?")) {
      path = UnsafeRawBufferPointer(rebasing: path[..<query])
    }
    let answer = chooser.answer(
      path, connection: c.pointee.number, request: c.pointee.requests)
    c.pointee.requests += 1
    guard let answer, !head.method.spells("CONNECT") else {
      counters.badRequests += 1
      return refuseStream(c, event.stream, answer == nil ? 400 : 405)
    }
    guard let slot = streams.take() else {
      counters.refused += 1
      return c.pointee.http2!.reset(event.stream, .refusedStream)
    }
    let s = streams[slot]
    s.initialize(
      to: OriginStream(
        connection: c.pointee.slot, slot: slot, stream: event.stream, answer: answer))
    link(c, s)
    // Reset while its head waited here.
    guard c.pointee.http2!.setTag(event.stream, UInt64(slot) + 1) else { return forget(c, s) }
    s.pointee.isHead = head.method.spells("HEAD")
    if answer.fault != .none {
      counters.faults += 1
      if answer.fault == .deaf { return stopReading(c) }
    }
    if !event.endsStream, let expect = head.first("expect"), expect.spells("100-continue") {
      fields.removeAll()
      fields.append(":status", number: 100)
      c.pointee.http2!.respondInterim(event.stream, fields)
    }
  }

  private mutating func receivedContent(_ event: HTTP2Event) {
    counters.contentReceived += UInt64(event.count)
    guard let s = stream(event), s.pointee.answer.isEcho else { return }
    if s.pointee.echo.count + event.count > OriginLimits.echoBytes {
      s.pointee.isTooLarge = true
      s.pointee.echo.clear()
    } else if !s.pointee.isTooLarge {
      s.pointee.echo.append(event.bytes, &engine)
    }
  }

  /// The request is whole: its answer is due now or later.
  private mutating func complete(_ c: OriginConnectionPointer, _ s: OriginStreamPointer) {
    if s.pointee.answer.isEcho {
      s.pointee.answer.length = s.pointee.echo.count
      if s.pointee.isTooLarge {
        s.pointee.answer = OriginAnswer()
        s.pointee.answer.status = 413
      }
    }
    let due = leaveTime(s.pointee.answer)
    if due > engine.now { armStream(s.pointee.slot, due) } else { respond(c, s) }
  }

  // MARK: Answers

  /// - Parameter length: bytes that are declared, or nil to declare none.
  private mutating func setFields(_ status: UInt16, _ length: Int?) {
    fields.removeAll()
    fields.append(":status", number: Int(status))
    fields.append("server", "millrace-origin")
    date.withBytes(wallMicroseconds: engine.wallMicroseconds) { _ = fields.append("date", $0) }
    fields.append("content-type", "text/plain")
    if status != 204, let length { fields.append("content-length", number: length) }
  }

  /// Answers a stream that has no slot.
  private mutating func refuseStream(
    _ c: OriginConnectionPointer, _ stream: Int32, _ status: UInt16
  ) {
    counters.responses += 1
    setFields(status, 0)
    c.pointee.http2!.respond(stream, fields)
  }

  private mutating func respond(_ c: OriginConnectionPointer, _ s: OriginStreamPointer) {
    counters.responses += 1
    s.pointee.hasAnswered = true
    var declared = s.pointee.answer.length
    var count = declared
    switch s.pointee.answer.fault {
    case .none, .slow, .status, .goAway: break
    case .reset: return beginReset(c)
    case .resetStream: return c.pointee.http2!.reset(s.pointee.stream, .internalError)
    case .silent, .deaf: return
    case .garbage: return sayGarbage(c)
    case .resetContent, .truncate:
      declared = max(2, declared)
      count = declared / 2
      s.pointee.ending = s.pointee.answer.fault == .truncate ? .keep : .reset
    case .short:
      declared += OriginFault.wrongBytes
      s.pointee.ending = .hang
    case .long: count += OriginFault.wrongBytes
    case .unfinished:
      declared = max(1, declared)
      count = declared
      s.pointee.ending = .close
    }
    // With a length the client would know the end without being told.
    setFields(s.pointee.answer.status, s.pointee.answer.fault == .unfinished ? nil : declared)
    if s.pointee.isHead || s.pointee.answer.status == 204 || s.pointee.answer.status == 304 {
      count = 0
      s.pointee.ending = .keep
    }
    s.pointee.remaining = count
    var content = HTTP2Content.later
    if s.pointee.answer.bytesPerSecond > 0 && count > 0 {
      armStream(s.pointee.slot, engine.now)
    } else {
      content = take(s, count)
    }
    c.pointee.http2!.respond(s.pointee.stream, fields, content: content)
    if s.pointee.answer.fault == .goAway { c.pointee.http2!.goAway() }
    // Content that has nothing in it never drains.
    if count == 0 && s.pointee.ending != .keep { drained(c, s) }
  }

  /// The next `count` bytes of a stream's content.
  private mutating func take(_ s: OriginStreamPointer, _ count: Int) -> HTTP2Content {
    s.pointee.remaining -= count
    let ends = s.pointee.remaining == 0 && s.pointee.ending == .keep
    let offset = s.pointee.offset
    s.pointee.offset += count
    guard count > 0 else { return ends ? .none : .later }
    let bytes =
      s.pointee.answer.isEcho && !s.pointee.echo.isEmpty ? s.pointee.echo.peek() : block.bytes
    return HTTP2Content(repeating: bytes, from: offset, count: count, endsStream: ends)
  }

  /// All content that was given has left.
  private mutating func drained(_ c: OriginConnectionPointer, _ s: OriginStreamPointer) {
    guard s.pointee.remaining == 0 else { return }
    switch s.pointee.ending {
    case .reset: c.pointee.http2!.reset(s.pointee.stream, .internalError)
    case .close: beginClose(c)
    case .keep, .hang: break
    }
  }

  /// Bytes whose length alone no endpoint accepts (RFC 9113, section 4.2).
  private mutating func sayGarbage(_ c: OriginConnectionPointer) {
    guard ensurePlain(c) else { return abort(c) }
    var said = false
    withUnsafeTemporaryAllocation(byteCount: 32, alignment: 1) { room in
      memset(room.baseAddress!, 0xFF, room.count)
      said = c.pointee.plain.append(UnsafeRawBufferPointer(room))
    }
    guard said else { return abort(c) }
    beginClose(c)
  }

  /// A stream's moment has come: its answer, or the next piece of its content.
  mutating func streamDue(_ s: OriginStreamPointer) {
    let c = connections[s.pointee.connection]
    guard c.pointee.transport.closing == .open else { return }
    if s.pointee.hasAnswered { supply(c, s) } else { respond(c, s) }
    if c.pointee.transport.closing == .open { http2Output(c) }
    flush(c)
    settle(c)
    // A send that succeeded quietly is found out about now.
    if c.pointee.transport.sending { engine.expediteSends() }
  }

  /// A twentieth of a second's content.
  private mutating func supply(_ c: OriginConnectionPointer, _ s: OriginStreamPointer) {
    let rate = s.pointee.answer.bytesPerSecond
    let piece = min(max(1, rate / 20), s.pointee.remaining)
    let pause = Int64(Double(piece) * 1e9 / Double(rate))
    // A client that does not keep up with the rate sets the pace.
    if c.pointee.http2!.waiting(s.pointee.stream) == 0 {
      _ = c.pointee.http2!.supply(s.pointee.stream, take(s, piece))
    }
    if s.pointee.remaining > 0 { armStream(s.pointee.slot, engine.now + pause) }
  }

  // MARK: Output

  /// Has the session say what it has to say, as much as one send carries; what it keeps back comes
  /// when that send has ended.
  mutating func http2Output(_ c: OriginConnectionPointer) {
    guard c.pointee.transport.closing == .open, !c.pointee.transport.sending else { return }
    c.pointee.hasMore = false
    while c.pointee.transport.closing == .open, c.pointee.http2!.wantsToSpeak() {
      guard c.pointee.plain.count < OriginLimits.copiedBytes, ensurePlain(c),
        c.pointee.plain.hasRoomForChunk()
      else {
        c.pointee.hasMore = true
        break
      }
      let written = give(c)
      takeEvents(c)
      if written == 0 { break }
    }
    if c.pointee.transport.closing == .open, c.pointee.http2!.isDone() { beginClose(c) }
  }

  /// Gives the session room once: the frame's own while there is enough, then a large buffer.
  private mutating func give(_ c: OriginConnectionPointer) -> Int {
    if c.pointee.plain.inlineRoom() >= Self.leastRoom {
      return c.pointee.plain.write(capacity: Self.leastRoom) {
        c.pointee.http2!.output(into: $0)
      }
    }
    var area = engine.lease() ?? engine.coldMemory(Self.scratchBytes)
    let room = min(
      area.count, max(Self.leastRoom, OriginLimits.copiedBytes - c.pointee.plain.count))
    let written = c.pointee.http2!.output(
      into: UnsafeMutableRawBufferPointer(rebasing: area.mutableBytes[..<room]))
    guard written > 0 else { return 0 }
    area.truncate(to: written)
    say(c, area)
    return written
  }

  // MARK: Streams

  private mutating func link(_ c: OriginConnectionPointer, _ s: OriginStreamPointer) {
    s.pointee.next = c.pointee.firstStream
    if c.pointee.firstStream >= 0 {
      streams[UInt32(c.pointee.firstStream)].pointee.previous = Int32(s.pointee.slot)
    }
    c.pointee.firstStream = Int32(s.pointee.slot)
  }

  private mutating func forget(_ c: OriginConnectionPointer, _ s: OriginStreamPointer) {
    let (previous, next) = (s.pointee.previous, s.pointee.next)
    if previous >= 0 {
      streams[UInt32(previous)].pointee.next = next
    } else {
      c.pointee.firstStream = next
    }
    if next >= 0 { streams[UInt32(next)].pointee.previous = previous }
    let slot = s.pointee.slot
    s.deinitialize(count: 1)
    streams.release(slot)
  }

  /// The connection is gone, and its streams with it.
  mutating func endStreams(_ c: OriginConnectionPointer) {
    while c.pointee.firstStream >= 0 { forget(c, streams[UInt32(c.pointee.firstStream)]) }
  }
}

extension HTTP2Session {
  // For a session in an optional, which can only be mutated in place.

  mutating func read(_ event: HTTP2Event) -> HTTP2Head { head(event) }
  mutating func wantsToSpeak() -> Bool { hasOutput }
  mutating func isDone() -> Bool { isOver }
  mutating func waiting(_ stream: Int32) -> Int { contentRemaining(stream) }
}
