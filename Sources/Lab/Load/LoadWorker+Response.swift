// Reading responses: bytes from the wire, heads, content and its end, and the judgement of what came.
// The common case, a whole response with a length in one piece, is parsed where it lies and copies
// nothing.

import Glibc
import HTTP
import HTTP1
import Histogram
import MillraceEngine
import TLS
import Transport

extension LoadWorker where E: ~Copyable {
  /// Content from which on a connection reads in large buffers; the proxy's own figure.
  private static var largeContent: Int { 32_768 }

  // MARK: Bytes

  /// Starts a receive, unless one is in flight or a slow reader pauses.
  @inline(__always)
  mutating func arm(_ c: LoadConnectionPointer) {
    guard c.pointee.phase != .ending, c.pointee.phase != .vacant else { return }
    if c.pointee.isSlow && c.pointee.readAt > engine.now { return }
    c.pointee.transport.arm(
      Token(kind: LoadTokenKind.receive.rawValue, generation: 0, slot: slot(c)), &engine)
  }

  @inline(__always)
  mutating func received(_ slot: UInt32, _ completion: Completion) {
    let c = connections.baseAddress! + Int(slot)
    c.pointee.transport.received(completion)
    if completion.hasBytes {
      let slice = engine.takeSlice(completion)
      if isCounting { tally.bytesReceived += slice.count }
      if c.pointee.isSlow { pace(c, slice.count) }
      if c.pointee.phase != .ending {
        if let channel = c.pointee.transport.tls {
          decrypt(c, channel, slice)
        } else {
          read(c, slice.bytes)
        }
      }
    } else if completion.isTerminal && completion.result != -ECANCELED {
      if c.pointee.phase != .ending { streamEnded(c, completion.result) }
    }
    if completion.isTerminal {
      if c.pointee.phase == .ending { reapable.append(slot) } else { arm(c) }
    }
  }

  /// A slow reader reads on when what it has taken is paid for in time.
  private mutating func pace(_ c: LoadConnectionPointer, _ count: Int) {
    let now = engine.now
    let cost = Int64(count) * 1_000_000_000 / Int64(max(1, slowBytesPerSecond))
    c.pointee.readAt = max(now, c.pointee.readAt) + cost
    heap.insert(slot(c), at: c.pointee.readAt)
  }

  /// The end of the stream, or an error: what it means depends on what was being read.
  mutating func streamEnded(_ c: LoadConnectionPointer, _ result: Int32) {
    let isClean = result == 0 && endsInOrder(c)
    if c.pointee.phase == .open, c.pointee.flightCount > 0 {
      if c.pointee.reading == .untilClose && isClean {
        c.pointee.keepsConnection = false
        responseDone(c)
        return end(c, nil)
      }
      if result == 0 {
        return end(c, .closed, "the connection was closed before the end of the response")
      }
      return end(
        c, .reset, SystemFailure(code: -result, operation: "receive").description)
    }
    if c.pointee.phase == .handshaking {
      return end(c, .tls, "the server closed the connection during the handshake")
    }
    // Idle, or its end was announced: nobody waits for anything.
    end(c, nil)
  }

  /// Reads plaintext.
  @inline(__always)
  mutating func read(_ c: LoadConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    if speaksHTTP2 { readFrames(c, bytes) } else { consume(c, bytes) }
  }

  // MARK: Messages

  /// Reads plaintext of one or more responses.
  @inline(__always)
  mutating func consume(_ c: LoadConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    var at = 0
    while at < bytes.count {
      guard c.pointee.phase == .open else { return }
      guard c.pointee.flightCount > 0 else {
        // Bytes that nobody asked for, a 408 for example: the server is about to close.
        return end(c, nil)
      }
      switch c.pointee.reading {
      case .head:
        guard let used = readHead(c, UnsafeRawBufferPointer(rebasing: bytes[at...])) else { return }
        at += used
      case .length:
        let count = Int(min(c.pointee.remaining, UInt64(bytes.count - at)))
        content(c, UnsafeRawBufferPointer(rebasing: bytes[at..<at + count]))
        c.pointee.remaining -= UInt64(count)
        at += count
        if c.pointee.remaining == 0 { responseDone(c) }
      case .untilClose:
        content(c, UnsafeRawBufferPointer(rebasing: bytes[at...]))
        return
      case .chunked:
        guard let used = readChunks(c, bytes, at) else { return }
        at = used
      }
    }
  }

  /// Reads a head. - Returns: bytes used; nil: more are needed, or the connection has ended.
  @inline(__always)
  private mutating func readHead(
    _ c: LoadConnectionPointer, _ bytes: UnsafeRawBufferPointer
  ) -> Int? {
    if !c.pointee.transport.unread.isEmpty { return readHeldHead(c, bytes) }
    let request = prepared.baseAddress! + Int(oldestFlight(c).pointee.template)
    if request.pointee.remembered.begins(bytes) {
      let known = request.pointee.remembered
      beginContent(c, known.status, known.isPersistent, known.framing)
      return known.count
    }
    switch responseHead.parse(bytes, limits: responseLimits) {
    case .complete(let length):
      if responseHead.status >= 200 {
        request.pointee.remembered.remember(
          bytes, length, responseHead, responseHead.framing(for: request.pointee.method))
      }
      headArrived(c)
      return length
    case .incomplete:
      return readHeldHead(c, bytes)
    case .rejected(let rejection):
      end(c, .protocolError, "invalid response head: \(rejection)")
      return nil
    }
  }

  /// Reads on in a head that comes in pieces, each byte once.
  @inline(never)
  private mutating func readHeldHead(
    _ c: LoadConnectionPointer, _ bytes: UnsafeRawBufferPointer
  ) -> Int? {
    let before = c.pointee.transport.unread.count
    let room = responseLimits.headBytes - before
    let part = UnsafeRawBufferPointer(rebasing: bytes[..<min(room, bytes.count)])
    c.pointee.transport.unread.append(part, &engine)
    let held = c.pointee.transport.unread.peek()
    switch c.pointee.scanner.scan(held, limits: responseLimits, isRequest: false) {
    case .complete(let length):
      guard case .complete = responseHead.parse(held, limits: responseLimits) else {
        end(c, .protocolError, "invalid response head")
        return nil
      }
      headArrived(c)
      c.pointee.transport.unread.clear()
      c.pointee.scanner = HeadScanner()
      return length - before
    case .incomplete: return nil
    case .rejected(let rejection):
      end(c, .protocolError, "invalid response head: \(rejection)")
      return nil
    }
  }

  @inline(__always)
  private mutating func headArrived(_ c: LoadConnectionPointer) {
    let status = responseHead.status
    if status < 200 {
      // 101 would switch to a protocol that was not asked for (RFC 9110, section 15.2.2).
      if status == 101 { end(c, .protocolError, "status 101 without an upgrade request") }
      return
    }
    let request = prepared.baseAddress! + Int(oldestFlight(c).pointee.template)
    beginContent(
      c, status, responseHead.isPersistent, responseHead.framing(for: request.pointee.method))
  }

  @inline(__always)
  private mutating func beginContent(
    _ c: LoadConnectionPointer, _ status: UInt16, _ isPersistent: Bool, _ framing: BodyFraming
  ) {
    c.pointee.answer = Answer(status: status)
    c.pointee.keepsConnection = isPersistent
    switch framing {
    case .none, .length(0): responseDone(c)
    case .length(let count):
      c.pointee.reading = .length
      c.pointee.remaining = count
    case .chunked:
      c.pointee.reading = .chunked
      c.pointee.decoder = BodyDecoder(.chunked)
    case .untilClose:
      c.pointee.reading = .untilClose
      c.pointee.keepsConnection = false
    }
  }

  /// - Returns: where the message after this one begins; nil: more bytes are needed.
  private mutating func readChunks(
    _ c: LoadConnectionPointer, _ bytes: UnsafeRawBufferPointer, _ from: Int
  ) -> Int? {
    var at = from
    while true {
      switch c.pointee.decoder.next(bytes, at: &at) {
      case .content(let start, let count):
        content(c, UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]))
      case .needsMore: return nil
      case .complete:
        responseDone(c)
        return at
      case .rejected(let rejection):
        end(c, .protocolError, "invalid chunked content: \(rejection)")
        return nil
      }
    }
  }

  @inline(__always)
  private mutating func content(_ c: LoadConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    compare(bytes, oldestFlight(c).pointee.template, &c.pointee.answer)
  }

  /// Compares content with what its template expects, piece by piece.
  @inline(__always)
  func compare(_ bytes: UnsafeRawBufferPointer, _ template: UInt32, _ answer: inout Answer) {
    if let expected = prepared[Int(template)].expectedContent {
      let at = answer.contentCount
      if at + bytes.count > expected.count
        || memcmp(expected.baseAddress! + at, bytes.baseAddress!, bytes.count) != 0
      {
        answer.isContentWrong = true
      }
    }
    answer.contentCount += bytes.count
  }

  // MARK: The end of a response

  @inline(__always)
  mutating func responseDone(_ c: LoadConnectionPointer) {
    c.pointee.reading = .head
    guard let flight = popFlight(c) else { return }
    settle(c, flight, c.pointee.answer)
    if resumesSessions && !c.pointee.hasKeptSession { keepSession(c) }
    if !c.pointee.keepsConnection
      || (c.pointee.requestsLeft == 0 && c.pointee.flightCount == 0)
    {
      return finish(c)
    }
    if c.pointee.uploadTemplate >= 0 {
      // The answer came before its request had left whole; the rest has to follow before another.
      c.pointee.deadline = engine.now + timeout
    }
    chooseMode(c)
    offer(c)
  }

  /// Judges a whole response and counts it.
  @inline(__always)
  mutating func settle(_ c: LoadConnectionPointer, _ flight: Flight, _ answer: Answer) {
    let failure = judge(flight, answer)
    if c.pointee.isSlow {
      if failure == nil { tally.slowResponses += 1 } else { tally.slowFailures += 1 }
    } else {
      record(flight, answer, failure)
    }
  }

  @inline(__always)
  private func judge(_ flight: Flight, _ answer: Answer) -> LoadFailureKind? {
    let request = prepared.baseAddress! + Int(flight.template)
    guard request.pointee.accepts(answer.status) else { return .status }
    if request.pointee.method == .head { return nil }
    if let length = request.pointee.expectedLength, length != answer.contentCount {
      return .length
    }
    if let expected = request.pointee.expectedContent,
      answer.isContentWrong || expected.count != answer.contentCount
    {
      return .content
    }
    return nil
  }

  @inline(__always)
  private mutating func record(
    _ flight: Flight, _ answer: Answer, _ failure: LoadFailureKind?
  ) {
    let now = engine.now
    if flight.isCounted { tally.answered(answer.status) }
    if let failure {
      note(failure, "status \(answer.status) with \(answer.contentCount) bytes of content")
      if flight.isCounted { failed(failure, flight.template) } else { quarter.failed += 1 }
      return
    }
    let latency = max(0, now - flight.planned)
    quarter.completed += 1
    quarter.latencies.record(latency)
    if isCounting { tally.completedInTime += 1 }
    guard flight.isCounted else { return }
    tally.completed += 1
    tally.latency.record(UInt64(latency))
    // In a closed loop both are the same, and one is enough.
    if isOpenLoop { tally.uncorrected.record(UInt64(max(0, now - flight.sent))) }
    if !tally.rows.isEmpty {
      let row = Int(prepared[Int(flight.template)].row)
      tally.rows[row].completed += 1
      tally.rows[row].latency.record(UInt64(latency))
    }
  }

  /// Large responses are read in large buffers, small ones by a receive that stays armed.
  @inline(__always)
  mutating func chooseMode(_ c: LoadConnectionPointer) {
    let wanted: ReceiveMode = c.pointee.answer.contentCount > Self.largeContent ? .once : .stream
    if c.pointee.isSlow { return }
    if wanted == .once {
      c.pointee.transport.setMode(.once, &engine)
    } else {
      // A receive of one buffer ends by itself.
      c.pointee.transport.mode = .stream
    }
  }
}
