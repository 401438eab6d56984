// What the tests share: bytes in allocations of exactly their size, so that a read past the end is
// seen by the address sanitizer; copies of what a parse found; a seeded generator.

import HTTP
import HTTP1

/// Calls `body` with the bytes in an allocation of exactly their size.
func withExactBytes<R>(_ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R
{
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { memory.deallocate() }
  memory.copyBytes(from: bytes)
  return try body(UnsafeRawBufferPointer(memory))
}

func text(_ range: ByteRange, _ bytes: UnsafeRawBufferPointer) -> String {
  String(decoding: range.slice(of: bytes), as: UTF8.self)
}

func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

struct Line: Equatable {
  var name: String
  var value: String
  var isHopByHop: Bool
}

/// All that a request parse gives, copied out.
struct Request: Equatable {
  var method = HTTPMethod.other
  var methodText = ""
  var target = ""
  var form = TargetForm.origin
  var path = ""
  var query: String?
  var authority = ""
  var host = ""
  var port: UInt16?
  var isHTTPS = false
  var version = HTTPVersion.http11
  var framing = BodyFraming.none
  var isPersistent = false
  var expectsContinue = false
  var acceptsTrailers = false
  var wantsUpgrade = false
  var lines: [Line] = []

  init() {}

  init(_ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer) {
    let view = head.view(in: bytes)
    method = view.method
    methodText = text(view.methodName)
    target = text(view.target)
    form = view.targetForm
    path = text(view.path)
    query = view.hasQuery ? text(view.query) : nil
    authority = text(view.authority)
    host = text(view.host)
    port = view.port
    isHTTPS = view.targetIsHTTPS
    version = view.version
    framing = head.framing
    isPersistent = head.isPersistent
    expectsContinue = view.expectsContinue
    acceptsTrailers = view.acceptsTrailers
    wantsUpgrade = view.offersUpgrade
    for index in 0..<view.fieldCount {
      let line = view.field(index)
      lines.append(
        Line(
          name: text(line.name, bytes), value: text(line.value, bytes),
          isHopByHop: line.isHopByHop))
    }
  }
}

func parseRequest(
  _ bytes: [UInt8], limits: HeadLimits = HeadLimits(), capacity: Int = 100
) -> (outcome: HeadOutcome, request: Request) {
  var head = RequestHead(fieldCapacity: capacity)
  return withExactBytes(bytes) { raw in
    let outcome = head.parse(raw, limits: limits)
    guard case .complete = outcome else { return (outcome, Request()) }
    return (outcome, Request(head, raw))
  }
}

func parseRequest(
  _ string: String, limits: HeadLimits = HeadLimits(), capacity: Int = 100
) -> (outcome: HeadOutcome, request: Request) {
  parseRequest(Array(string.utf8), limits: limits, capacity: capacity)
}

struct Response: Equatable {
  var status: UInt16 = 0
  var reason = ""
  var version = HTTPVersion.http11
  var isPersistent = false
  var framing = BodyFraming.none
  var framingForHead = BodyFraming.none
  var framingForConnect = BodyFraming.none
  var lines: [Line] = []
}

func parseResponse(
  _ string: String, limits: HeadLimits = HeadLimits(), capacity: Int = 100
) -> (outcome: HeadOutcome, response: Response) {
  parseResponse(Array(string.utf8), limits: limits, capacity: capacity)
}

func parseResponse(
  _ bytes: [UInt8], limits: HeadLimits = HeadLimits(), capacity: Int = 100
) -> (outcome: HeadOutcome, response: Response) {
  var head = ResponseHead(fieldCapacity: capacity)
  return withExactBytes(bytes) { raw in
    var response = Response()
    let outcome = head.parse(raw, limits: limits)
    guard case .complete = outcome else { return (outcome, response) }
    let view = head.view(in: raw)
    response.status = view.status
    response.reason = text(view.reason)
    response.version = view.version
    response.isPersistent = head.isPersistent
    response.framing = head.framing(for: .get)
    response.framingForHead = head.framing(for: .head)
    response.framingForConnect = head.framing(for: .connect)
    for index in 0..<view.fieldCount {
      let line = view.field(index)
      response.lines.append(
        Line(name: text(line.name, raw), value: text(line.value, raw), isHopByHop: line.isHopByHop))
    }
    return (outcome, response)
  }
}

/// Scans the whole of `bytes` in one call.
func scan(
  _ bytes: [UInt8], limits: HeadLimits = HeadLimits(), isRequest: Bool = true
) -> HeadOutcome {
  var scanner = HeadScanner()
  return withExactBytes(bytes) { scanner.scan($0, limits: limits, isRequest: isRequest) }
}

/// Scans prefixes of growing length, at different addresses, until the outcome is settled.
func scan(
  _ bytes: [UInt8], cuts: [Int], limits: HeadLimits = HeadLimits(), isRequest: Bool = true
) -> HeadOutcome {
  var scanner = HeadScanner()
  for cut in cuts + [bytes.count] {
    let outcome = withExactBytes(Array(bytes[..<cut])) {
      scanner.scan($0, limits: limits, isRequest: isRequest)
    }
    if outcome != .incomplete { return outcome }
  }
  return .incomplete
}

struct Body: Equatable {
  enum End: Equatable {
    case complete, open
    case rejected(BodyRejection)
  }

  var content: [UInt8] = []
  var end = End.open
  /// Bytes of the input that the message took.
  var consumed = 0
  var trailers: [String] = []
}

/// Decodes `bytes`, given in pieces that end at `cuts`.
func decode(
  _ bytes: [UInt8], _ framing: BodyFraming = .chunked, cuts: [Int] = [],
  limits: HeadLimits = .trailers
) -> Body {
  var decoder = BodyDecoder(framing, trailerLimits: limits)
  var body = Body()
  var start = 0
  for cut in cuts + [bytes.count] {
    let piece = Array(bytes[start..<cut])
    let isOpen = withExactBytes(piece) { raw in decodePiece(raw, &decoder, &body) }
    if !isOpen { break }
    start = cut
  }
  for index in 0..<decoder.trailerCount {
    let (name, value) = decoder.trailer(index)
    body.trailers.append(
      String(decoding: name, as: UTF8.self) + ": " + String(decoding: value, as: UTF8.self))
  }
  return body
}

private func decodePiece(
  _ raw: UnsafeRawBufferPointer, _ decoder: inout BodyDecoder, _ body: inout Body
) -> Bool {
  var offset = 0
  defer { body.consumed += offset }
  while true {
    let before = offset
    switch decoder.next(raw, at: &offset) {
    case .content(let start, let count):
      guard count > 0, start >= before, start + count == offset else {
        fatalError("a content step outside of what was consumed")
      }
      body.content += raw[start..<start + count]
    case .needsMore:
      guard offset == raw.count else { fatalError("bytes were left") }
      return true
    case .complete:
      body.end = .complete
      return false
    case .rejected(let rejection):
      body.end = .rejected(rejection)
      return false
    }
  }
}

/// SplitMix64: a failure is its seed.
struct Seeded: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }
}
