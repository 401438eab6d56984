// HTTP/1.1 towards clients: heads read from their bytes, responses written. It knows the wire format
// and what a connection keeps of it, and nothing of servers.

import Configuration
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

struct HTTP1Server: ~Copyable {
  /// The head that was parsed last. Valid until the next one is parsed or its bytes go.
  private(set) var head: RequestHead
  private let limits: HeadLimits
  private var date = HTTPDate()

  init(_ limits: LimitsConfiguration) {
    self.limits = HeadLimits(
      headBytes: limits.requestHead, targetBytes: limits.requestTarget,
      fields: limits.requestFields)
    head = RequestHead(fieldCapacity: limits.requestFields)
  }

  // MARK: Request heads

  @inline(__always)
  mutating func parse(_ bytes: UnsafeRawBufferPointer) -> HeadOutcome {
    head.parse(bytes, limits: limits)
  }

  /// Keeps the first bytes of a head until the rest of it has come.
  /// - Returns: why it can never be one; nil: it may.
  mutating func keepIncompleteHead<E: Engine & ~Copyable>(
    _ d: DownstreamPointer, _ input: consuming BufferSlice, _ loop: inout Loop<E>
  ) -> HeadRejection? {
    var slice = input
    // An empty line where a request might begin is none (RFC 9112 2.2): it starts no clock.
    slice.dropPrefix(Self.emptyLines(slice.bytes))
    d.pointee.http1.isScanning = false
    if slice.count == 0 { return nil }
    let bytes = slice.bytes
    d.pointee.http1.scanner = HeadScanner()
    if case .rejected(let rejection) = d.pointee.http1.scanner.scan(
      bytes, limits: limits, isRequest: true)
    {
      return rejection
    }
    d.pointee.http1.isScanning = true
    if d.pointee.phase == .idle && !(bytes.count == 1 && bytes[0] == UInt8(ascii: "\r")) {
      // The head's time runs from its first byte; it is absolute, however slowly bytes come.
      d.pointee.phase = .head
      d.transport.pointee.deadline =
        loop.engine.now + loop.plan.listeners[Int(d.pointee.listener)].headTimeout
    }
    d.transport.pointee.unread.append(bytes, &loop.engine)
    return nil
  }

  /// Looks for the end of the head whose first bytes were kept.
  mutating func search<E: Engine & ~Copyable>(
    _ d: DownstreamPointer, _ loop: inout Loop<E>
  ) -> HeadSearch {
    let bytes = d.transport.pointee.unread.peek()
    switch d.pointee.http1.scanner.scan(bytes, limits: limits, isRequest: true) {
    case .incomplete:
      // So far it was half an empty line.
      if d.pointee.phase == .idle, let slice = d.transport.pointee.unread.takeAll(),
        let rejection = keepIncompleteHead(d, slice, &loop)
      {
        return .rejected(rejection)
      }
      return .incomplete
    case .rejected(let rejection): return .rejected(rejection)
    case .complete:
      d.pointee.http1.isScanning = false
      return .found
    }
  }

  /// The length of the empty lines that bytes begin with.
  private static func emptyLines(_ bytes: UnsafeRawBufferPointer) -> Int {
    var length = 0
    while length + 1 < bytes.count, bytes[length] == UInt8(ascii: "\r"),
      bytes[length + 1] == UInt8(ascii: "\n")
    {
      length += 2
    }
    return length
  }

  /// Marks and counts the field lines that go no further for their name, and tells the content's
  /// decoder which trailer lines do not either.
  @inline(__always)
  mutating func settleFields(
    _ bytes: UnsafeRawBufferPointer, _ stream: inout ServerStream, dropsUnderscores: Bool
  ) {
    if dropsUnderscores || head.presentFields.has(.ambiguous) {
      stream.droppedFields = head.markAmbiguousFields(in: bytes, underscores: dropsUnderscores)
    }
    guard stream.framing == .chunked else { return }
    if dropsUnderscores { stream.body.leaveOutTrailersWithUnderscores() }
    if head.nominatesFields, let names = head.nominatedNames(in: bytes) {
      stream.body.leaveOutTrailers(named: names)
    }
  }

  // MARK: Responses

  /// What the response says of its connection.
  @inline(__always)
  private static func connectionField(
    _ closes: Bool, _ version: HTTPVersion
  ) -> HeadWriter.ConnectionField {
    closes ? .close : version == .http10 ? .keepAlive : .none
  }

  /// Writes the head of a response that comes from a server.
  /// - Parameter closes: the connection ends behind the response.
  /// - Returns: false if it has no room.
  @inline(__always)
  mutating func writeHead<E: Engine & ~Copyable>(
    _ response: ResponseView, to buffer: inout SendBuffer, closes: Bool,
    _ stream: borrowing ServerStream, method: HTTPMethod, _ loop: inout Loop<E>
  ) -> Bool {
    let forwarding = ResponseForwarding(response, pseudonym: loop.plan.via.raw)
    let connection = Self.connectionField(closes, stream.version)
    if forwarding.addsDate { date.refresh(wallMicroseconds: loop.engine.wallMicroseconds) }
    let written = buffer.write(capacity: HeadWriter.capacity(for: forwarding)) { room in
      var w = HeadWriter(room)
      w.response(
        forwarding, method: method, chunked: stream.sendsChunks, connection: connection, date: date)
      return w.overflowed ? -1 : w.count
    }
    return written > 0
  }

  /// Writes an interim head, if there is room.
  func writeInterimHead<E: Engine & ~Copyable>(
    _ response: ResponseView, to buffer: inout SendBuffer, _ loop: inout Loop<E>
  ) {
    let forwarding = ResponseForwarding(response, pseudonym: loop.plan.via.raw)
    _ = buffer.write(capacity: HeadWriter.capacity(for: forwarding)) { room in
      var w = HeadWriter(room)
      w.interimResponse(response)
      return w.overflowed ? -1 : w.count
    }
  }

  /// Writes a response of the proxy's own: a short text with the reason.
  /// - Returns: bytes of its content; nil if it has no room.
  mutating func writeReply<E: Engine & ~Copyable>(
    status: UInt16, label: StaticString, to buffer: inout SendBuffer, closes: Bool,
    version: HTTPVersion, isHead: Bool, _ loop: inout Loop<E>
  ) -> Int? {
    let reason = staticBytes(reasonPhrase(status))
    let labelBytes = staticBytes(label)
    let size = 4 + reason.count + 3 + labelBytes.count + 1
    let connection = Self.connectionField(closes, version)
    let wall = loop.engine.wallMicroseconds
    let written = date.withBytes(wallMicroseconds: wall) { date in
      buffer.write(capacity: 640) { room in
        var w = HeadWriter(room)
        w.statusLine(status)
        w.field("Date", date)
        w.append("Content-Type: text/plain; charset=utf-8\r\n")
        w.field("Content-Length", decimal: UInt64(size))
        // 200 is the answer to OPTIONS for this hop.
        if status == 405 || status == 200 {
          w.append("Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n")
        }
        if status == 503 { w.append("Retry-After: 1\r\n") }
        switch connection {
        case .close: w.append("Connection: close\r\n")
        case .keepAlive: w.append("Connection: keep-alive\r\n")
        case .none: break
        }
        w.crlf()
        if !isHead {
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
    return written > 0 ? (isHead ? 0 : size) : nil
  }

  /// SETTINGS, which a server's connection preface is (RFC 9113 3.4), and GOAWAY with
  /// HTTP_1_1_REQUIRED (0xd) and the last stream 0: no stream was or will be looked at. The response
  /// to a client with prior knowledge of HTTP/2, in its own protocol.
  static var http2Refusal: StaticString {
    "\0\0\0\u{4}\0\0\0\0\0\0\0\u{8}\u{7}\0\0\0\0\0\0\0\0\0\0\0\0\u{d}"
  }
  /// The same with PROTOCOL_ERROR (0x1), where it would be served but for its preface.
  static var http2PrefaceError: StaticString {
    "\0\0\0\u{4}\0\0\0\0\0\0\0\u{8}\u{7}\0\0\0\0\0\0\0\0\0\0\0\0\u{1}"
  }
}
