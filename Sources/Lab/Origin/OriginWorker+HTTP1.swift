// HTTP/1.1: from bytes to requests, one after the other, and from answers to bytes. A request is
// begun only when there is room for an answer's head, so that an answer never has to wait for room.

import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

extension OriginWorker where E: ~Copyable {
  /// Inline room that an answer may need: its head, and the heads of chunks that go into one send.
  private static var answerRoom: Int { 1024 }
  /// A head: 60 bytes of status line at most, and six fields of at most 40.
  private static var headRoom: Int { 384 }

  @inline(__always)
  func canCompose(_ c: OriginConnectionPointer) -> Bool {
    c.pointee.plain.count == 0
      || (c.pointee.plain.count < OriginLimits.copiedBytes && c.pointee.plain.hasRoomForChunk()
        && c.pointee.plain.inlineRoom() >= Self.answerRoom)
  }

  // MARK: Requests

  @inline(__always)
  mutating func http1Input(_ c: OriginConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    if c.pointee.transport.unread.isEmpty {
      let used = use(c, bytes)
      guard used < bytes.count, c.pointee.transport.closing == .open else { return }
      c.pointee.transport.unread.append(UnsafeRawBufferPointer(rebasing: bytes[used...]), &engine)
    } else {
      c.pointee.transport.unread.append(bytes, &engine)
      useHeld(c)
    }
    guard c.pointee.transport.unread.count > OriginLimits.heldBytes + headLimits.headBytes else {
      return
    }
    c.pointee.transport.paused = true
    stopReceiving(c)
  }

  /// Uses input that had to wait.
  @inline(__always)
  mutating func useHeld(_ c: OriginConnectionPointer) {
    guard !c.pointee.transport.unread.isEmpty, c.pointee.transport.closing == .open else { return }
    let used = use(c, c.pointee.transport.unread.peek())
    c.pointee.transport.unread.drop(used)
  }

  /// Uses as much input as can be used now. - Returns: how many bytes.
  private mutating func use(_ c: OriginConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Int {
    var offset = 0
    while c.pointee.transport.closing == .open {
      switch c.pointee.phase {
      case .head:
        guard offset < bytes.count else { return offset }
        if !canCompose(c) {
          flush(c)
          guard canCompose(c) else { return offset }
        }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...])
        switch requestHead.parse(rest, limits: headLimits) {
        case .incomplete: return offset
        case .rejected(let rejection): reject(c, rejection.status)
        case .complete(let length):
          offset += length
          begin(c, rest)
        }
      case .content:
        guard readContent(c, bytes, &offset) else { return offset }
      case .waiting, .answering: return offset
      case .mute: return bytes.count
      }
    }
    return bytes.count
  }

  /// A head that cannot be a request's: says so, and closes.
  private mutating func reject(_ c: OriginConnectionPointer, _ status: UInt16) {
    counters.badRequests += 1
    c.pointee.answer = OriginAnswer()
    c.pointee.answer.status = status
    c.pointee.isHead = false
    c.pointee.isOld = false
    c.pointee.closeAfter = true
    startAnswer(c)
  }

  @inline(__always)
  private mutating func begin(_ c: OriginConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    counters.requests += 1
    let path = requestHead.view(in: bytes).path
    let answer = chooser.answer(
      path, connection: c.pointee.number, request: c.pointee.requests)
    c.pointee.requests += 1
    c.pointee.isHead = requestHead.method == .head
    c.pointee.isOld = requestHead.version == .http10
    c.pointee.closeAfter = !requestHead.isPersistent || endAt != .max
    guard let answer, requestHead.method != .connect else {
      // A path that asks for what cannot be; a tunnel, which is not an origin's to give.
      return reject(c, answer == nil ? 400 : 405)
    }
    c.pointee.answer = answer
    if answer.fault != .none {
      counters.faults += 1
      if answer.fault == .deaf { return stopReading(c) }
    }
    if requestHead.framing == .none { return complete(c) }
    if requestHead.expectsContinue, ensurePlain(c) {
      say(c, "HTTP/1.1 100 Continue\r\n\r\n")
    }
    c.pointee.decoder = BodyDecoder(requestHead.framing)
    c.pointee.isTooLarge = false
    c.pointee.phase = .content
  }

  /// Reads a request's content. - Returns: false when more bytes are needed.
  private mutating func readContent(
    _ c: OriginConnectionPointer, _ bytes: UnsafeRawBufferPointer, _ offset: inout Int
  ) -> Bool {
    while true {
      switch c.pointee.decoder!.next(bytes, at: &offset) {
      case .content(let start, let count):
        counters.contentReceived += UInt64(count)
        guard c.pointee.answer.isEcho else { continue }
        if c.pointee.echo.count + count > OriginLimits.echoBytes {
          c.pointee.isTooLarge = true
          c.pointee.echo.clear()
        } else if !c.pointee.isTooLarge {
          c.pointee.echo.append(
            UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]), &engine)
        }
      case .needsMore: return false
      case .complete:
        c.pointee.decoder = nil
        complete(c)
        return true
      case .rejected:
        c.pointee.decoder = nil
        reject(c, 400)
        return true
      }
    }
  }

  /// The request is whole: its answer is due now or later.
  @inline(__always)
  private mutating func complete(_ c: OriginConnectionPointer) {
    if c.pointee.answer.isEcho {
      c.pointee.answer.length = c.pointee.echo.count
      if c.pointee.isTooLarge {
        c.pointee.answer = OriginAnswer()
        c.pointee.answer.status = 413
      }
    }
    let due = leaveTime(c.pointee.answer)
    guard due > engine.now else { return startAnswer(c) }
    c.pointee.phase = .waiting
    arm(c, due)
  }

  // MARK: Answers

  /// Says the answer's head, and as much of its content as may leave now.
  @inline(__always)
  mutating func startAnswer(_ c: OriginConnectionPointer) {
    counters.responses += 1
    c.pointee.ending = c.pointee.closeAfter ? .close : .keep
    c.pointee.isChunked = c.pointee.answer.isChunked && !c.pointee.isOld
    c.pointee.offset = 0
    c.pointee.remaining = c.pointee.answer.length
    var declared = c.pointee.answer.length
    if c.pointee.answer.fault != .none {
      guard applyFault(c, &declared) else { return }
    }
    // An answer of HTTP/1.0 in pieces of unknown number ends with its connection.
    if c.pointee.answer.isChunked && c.pointee.isOld { c.pointee.ending = .close }
    guard ensurePlain(c) else { return abort(c) }
    writeHead(c, declared)
    let status = c.pointee.answer.status
    if c.pointee.isHead || status == 204 || status == 304 {
      c.pointee.remaining = 0
      c.pointee.isChunked = false
    }
    pump(c)
  }

  /// Turns the answer into the failure that was chosen. - Returns: false if there is no answer.
  private mutating func applyFault(_ c: OriginConnectionPointer, _ declared: inout Int) -> Bool {
    switch c.pointee.answer.fault {
    case .none, .slow, .status: break
    case .reset, .resetStream:
      beginReset(c)
      return false
    case .silent, .deaf:
      c.pointee.phase = .mute
      return false
    case .garbage:
      guard ensurePlain(c) else { return false }
      say(c, "\u{1}millrace origin: not a response head\r\n\r\n")
      beginClose(c)
      return false
    case .resetContent, .truncate:
      // At least two bytes, so that there is something to cut.
      declared = max(2, declared)
      c.pointee.remaining = declared / 2
      c.pointee.ending = c.pointee.answer.fault == .truncate ? .close : .reset
    case .short:
      declared += OriginFault.wrongBytes
      c.pointee.isChunked = false
      c.pointee.ending = .hang
    case .long:
      c.pointee.remaining += OriginFault.wrongBytes
      c.pointee.isChunked = false
    case .unfinished, .goAway:
      c.pointee.closeAfter = true
      c.pointee.ending = .close
    }
    return true
  }

  @inline(__always)
  private mutating func writeHead(_ c: OriginConnectionPointer, _ declared: Int) {
    let status = c.pointee.answer.status
    let written = date.withBytes(wallMicroseconds: engine.wallMicroseconds) { date in
      c.pointee.plain.write(capacity: Self.headRoom) { room in
        var w = HeadWriter(room)
        if status == 200 { w.append("HTTP/1.1 200 OK\r\n") } else { w.statusLine(status) }
        w.append("Server: millrace-origin\r\nDate: ")
        w.append(date)
        w.append("\r\nContent-Type: text/plain\r\n")
        if c.pointee.isChunked {
          w.append("Transfer-Encoding: chunked\r\n")
        } else if status != 204 && !(c.pointee.answer.isChunked && c.pointee.isOld) {
          w.append("Content-Length: ")
          w.append(decimal: UInt64(declared))
          w.append("\r\n")
        }
        if status == 405 { w.append("Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS\r\n") }
        if c.pointee.closeAfter {
          w.append("Connection: close\r\n\r\n")
        } else if c.pointee.isOld {
          w.append("Connection: keep-alive\r\n\r\n")
        } else {
          w.append("\r\n")
        }
        return w.overflowed ? -1 : w.count
      }
    }
    precondition(written > 0, "a response head exceeds its buffer")
  }

  /// Puts content into the frame: as much as one send carries, or as the rate allows.
  @inline(__always)
  mutating func pump(_ c: OriginConnectionPointer) {
    c.pointee.phase = .answering
    if c.pointee.remaining > 0 {
      guard ensurePlain(c) else { return abort(c) }
      let rate = c.pointee.answer.bytesPerSecond
      if rate > 0 {
        pumpSlowly(c, rate)
      } else {
        let most = c.pointee.usesTLS ? OriginLimits.copiedBytes : OriginLimits.sendBytes
        while c.pointee.remaining > 0, c.pointee.plain.count < most,
          c.pointee.plain.hasRoomForChunk()
        {
          appendPiece(c, most - c.pointee.plain.count)
        }
      }
      guard c.pointee.remaining == 0 else { return }
    }
    finishAnswer(c)
  }

  /// A twentieth of a second's content at a time.
  private mutating func pumpSlowly(_ c: OriginConnectionPointer, _ rate: Int) {
    let piece = min(max(1, rate / 20), OriginLimits.copiedBytes)
    let before = c.pointee.remaining
    // A client that does not keep up with the rate sets the pace.
    if c.pointee.plain.count < OriginLimits.copiedBytes, c.pointee.plain.hasRoomForChunk() {
      appendPiece(c, piece)
    }
    guard c.pointee.remaining > 0 else { return }
    let sent = max(1, before - c.pointee.remaining)
    arm(c, engine.now + Int64(Double(sent) * 1e9 / Double(rate)))
  }

  private mutating func appendPiece(_ c: OriginConnectionPointer, _ most: Int) {
    var piece = min(c.pointee.remaining, most)
    if c.pointee.answer.isEcho {
      piece = min(piece, OriginLimits.copiedBytes)
    } else {
      piece = min(piece, Self.blockBytes - c.pointee.offset % Self.blockBytes)
    }
    if c.pointee.isChunked {
      _ = c.pointee.plain.write(capacity: 24) { room in
        var w = HeadWriter(room)
        w.append(hex: UInt64(piece))
        w.crlf()
        return w.count
      }
    }
    if c.pointee.answer.isEcho {
      // `long` has more to say than there was.
      let start = min(c.pointee.offset, max(0, c.pointee.echo.count - piece))
      if let slice = c.pointee.echo.share(start, min(piece, c.pointee.echo.count)) {
        piece = slice.count
        say(c, slice)
      } else {
        piece = 0
        c.pointee.remaining = 0
      }
    } else {
      say(
        c, block.subslice(start: c.pointee.offset % Self.blockBytes, count: piece))
    }
    if c.pointee.isChunked {
      say(c, "\r\n")
    }
    c.pointee.offset += piece
    c.pointee.remaining -= min(piece, c.pointee.remaining)
  }

  /// All content is in frames: what comes after it.
  @inline(__always)
  private mutating func finishAnswer(_ c: OriginConnectionPointer) {
    if c.pointee.isChunked && c.pointee.ending != .reset
      && c.pointee.answer.fault != .unfinished && c.pointee.answer.fault != .truncate
    {
      say(c, "0\r\n\r\n")
    }
    if c.pointee.answer.isEcho { c.pointee.echo.clear() }
    switch c.pointee.ending {
    case .keep where !c.pointee.closeAfter: c.pointee.phase = .head
    case .keep, .close: beginClose(c)
    case .reset: beginReset(c)
    case .hang: c.pointee.phase = .mute
    }
  }
}
