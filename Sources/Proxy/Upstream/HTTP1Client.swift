// HTTP/1.1 towards servers: requests written, heads of responses read from their bytes. It knows the
// wire format and what a connection keeps of it, and nothing of clients.

import Configuration
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

/// What HTTP/1.1 keeps of one response.
struct HTTP1ClientStream: ~Copyable {
  /// Finds the response's content.
  var body = BodyDecoder(.none, trailerLimits: .trailers)
  /// True when the server keeps its connection after this response.
  var persists = false
}

struct HTTP1Client: ~Copyable {
  /// The head that was parsed last. Valid until the next one is parsed or its bytes go.
  private(set) var head: ResponseHead
  private let limits: HeadLimits

  init(_ limits: LimitsConfiguration) {
    // A server's head is bounded like a request's; its fields by what a head can hold.
    let fields = max(limits.requestFields, 256)
    self.limits = HeadLimits(headBytes: limits.requestHead, targetBytes: 0, fields: fields)
    head = ResponseHead(fieldCapacity: fields)
  }

  // MARK: Requests

  /// Writes a request's head. - Returns: false if it has no room.
  @inline(__always)
  func writeHead(_ forwarding: RequestForwarding, to buffer: inout SendBuffer) -> Bool {
    let written = buffer.write(capacity: HeadWriter.capacity(for: forwarding)) { room in
      var w = HeadWriter(room)
      w.request(forwarding)
      return w.overflowed ? -1 : w.count
    }
    return written > 0
  }

  // MARK: Response heads

  @inline(__always)
  mutating func parse(_ bytes: UnsafeRawBufferPointer) -> HeadOutcome {
    head.parse(bytes, limits: limits)
  }

  /// Keeps the first bytes of a head until the rest of it has come.
  /// - Returns: why it can never be one; nil: it may.
  func keepIncompleteHead<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ slice: consuming BufferSlice, _ loop: inout Loop<E>
  ) -> HeadRejection? {
    let bytes = slice.bytes
    u.pointee.scanner = HeadScanner()
    if case .rejected(let rejection) = u.pointee.scanner.scan(
      bytes, limits: limits, isRequest: false)
    {
      return rejection
    }
    u.pointee.isScanning = true
    u.transport.pointee.unread.append(bytes, &loop.engine)
    return nil
  }

  /// Looks for the end of the head whose first bytes were kept.
  func search(_ u: UpstreamPointer) -> HeadSearch {
    let bytes = u.transport.pointee.unread.peek()
    switch u.pointee.scanner.scan(bytes, limits: limits, isRequest: false) {
    case .incomplete: return .incomplete
    case .rejected(let rejection): return .rejected(rejection)
    case .complete:
      u.pointee.isScanning = false
      return .found
    }
  }

  /// Prepares for the content of the response whose head was parsed last.
  /// - Parameter bytes: of that head.
  @inline(__always)
  func begin(
    _ stream: inout HTTP1ClientStream, _ framing: BodyFraming, _ bytes: UnsafeRawBufferPointer
  ) {
    stream.body.begin(framing, toleratesPadding: true)
    if head.nominatesFields, framing == .chunked, let names = head.nominatedNames(in: bytes) {
      stream.body.leaveOutTrailers(named: names)
    }
    stream.persists = head.isPersistent && framing != .untilClose
  }
}
