// A response head from an upstream, parsed as strictly as a request's: a proxy that guesses at a
// response's end hands one user another's answer. It owns a table of field lines allocated once.
// Whatever it refuses, the downstream is told 502 and the log has the label.

public import HTTP

/// The head of a response. One per worker serves all connections: what it holds is valid until the
/// next parse, and only together with the bytes that it was parsed from.
public struct ResponseHead: ~Copyable {
  /// Whether the upstream keeps the connection after this response (RFC 9112 9.3). A response whose
  /// framing is `untilClose` ends the connection whatever this says. False too where the head
  /// declares content that its status cannot have: what follows may or may not be it.
  public private(set) var isPersistent = false
  /// Whether Connection names a field that could stand in a trailer section: see `nominatedNames`.
  public private(set) var nominatesFields = false
  private var declared = BodyFraming.untilClose
  private let parts: UnsafeMutablePointer<ResponseParts>

  /// Makes a head that can hold `fieldCapacity` field lines, 1...65535.
  public init(fieldCapacity: Int) {
    parts = ResponseParts.allocate(fieldCapacity: fieldCapacity)
  }

  deinit { ResponseParts.release(parts) }

  /// What the head says, for any protocol. Valid until the next parse, and while the bytes are there.
  ///
  /// - Parameter bytes: those that the head was parsed from; more may follow it.
  @inline(__always)
  public func view(in bytes: UnsafeRawBufferPointer) -> ResponseView {
    // TRAP: the caller gives the bytes that it had parsed, which a head was found in.
    precondition(parts.pointee.length <= bytes.count, "not the bytes of this head")
    return ResponseView(base: bytes.baseAddress!, parts: parts)
  }

  /// The status code, 100...999. RFC 9110 15 knows none above 599 and has a client take one for a
  /// 5xx; servers send them all the same (999 to unwanted robots), their framing is that of any
  /// final response, and the client is told what the server said.
  public var status: UInt16 { parts.pointee.status }
  /// Whether this is an interim response, which another head follows (RFC 9110 15.2).
  public var isInterim: Bool { status < 200 }

  /// The names that Connection nominates, for the message's trailers. It allocates: only where
  /// `nominatesFields` and the message is chunked.
  ///
  /// - Parameter bytes: those that the head was parsed from.
  public func nominatedNames(in bytes: UnsafeRawBufferPointer) -> NominatedNames? {
    bytes.baseAddress.map { NominatedNames(parts.pointee.fields, $0) }
  }

  /// The framing of this response to a request with this method (RFC 9112 6.3). A successful
  /// answer to CONNECT has none: what follows it is the tunnel.
  public func framing(for method: HTTPMethod) -> BodyFraming {
    if method == .head || status < 200 || status == 204 || status == 304 { return .none }
    if method == .connect, status < 300 { return .none }
    return declared
  }

  /// Parses the head at the start of `bytes`.
  ///
  /// - Parameters:
  ///   - limits: `targetBytes` has no part in it.
  /// - Returns: `complete` with the head's length; `incomplete` if its end is not there, after
  ///   which nothing here has a meaning; `rejected` with the first rule that was found broken.
  public mutating func parse(
    _ bytes: UnsafeRawBufferPointer, limits: HeadLimits
  ) -> HeadOutcome {
    let ceiling = limits.ceiling
    let end = min(bytes.count, ceiling)
    parts.pointee.fields.removeAll()
    parts.pointee.length = 0
    var position = 0
    var outcome = PartOutcome.needsMore
    if let base = bytes.baseAddress {
      outcome = parseStatusLine(base, &position, end)
      if case .done = outcome {
        outcome = parts.pointee.fields.parse(base, &position, end, maximum: limits.fields)
      }
      if case .done = outcome {
        if let rejection = interpret(base) { return .rejected(rejection) }
        parts.pointee.length = position
        return .complete(length: position)
      }
    }
    if case .rejected(let rejection) = outcome { return .rejected(rejection) }
    return bytes.count >= ceiling ? .rejected(.headTooLarge) : .incomplete
  }

  /// status-line = HTTP-version SP status-code SP [ reason-phrase ], and CRLF (RFC 9112 4). The
  /// second SP may be missing where there is no reason: many origins leave it out, and nobody
  /// reads such a line in another way.
  // SAFETY: the line's end is found first; each later load is before it.
  private mutating func parseStatusLine(
    _ base: UnsafeRawPointer, _ position: inout Int, _ end: Int
  ) -> PartOutcome {
    let prefix: StaticString = "HTTP/"
    for index in 0..<min(5, end)
    where ByteClass.byte(base, index) != prefix.utf8Start[index] {
      return OffendingByte.judge(base, at: index, end: end, otherwise: .invalidStatusLine)
    }
    var lineEnd = 0
    while true {
      lineEnd = ByteClass.firstControl(base, from: lineEnd, to: end)
      guard lineEnd < end else { return .needsMore }
      if ByteClass.byte(base, lineEnd) != ByteClass.tab { break }
      lineEnd &+= 1
    }
    guard ByteClass.byte(base, lineEnd) == ByteClass.carriageReturn else {
      return OffendingByte.judge(base, at: lineEnd, end: end, otherwise: .controlByte)
    }
    guard lineEnd &+ 1 < end else { return .needsMore }
    guard ByteClass.byte(base, lineEnd &+ 1) == ByteClass.lineFeed else {
      return .rejected(.bareCR)
    }
    position = lineEnd &+ 2
    if let rejection = readStatusLine(base, lineEnd) { return .rejected(rejection) }
    return .done
  }

  /// Reads the status line in `0..<end`, which is known to hold no control byte but HTAB.
  private mutating func readStatusLine(_ base: UnsafeRawPointer, _ end: Int) -> HeadRejection? {
    guard end >= 8 else { return .invalidVersion }
    switch VersionParser.read(base) {
    case .version(let read): parts.pointee.version = read
    case .rejected(let rejection): return rejection
    }
    guard end > 8, ByteClass.byte(base, 8) == ByteClass.space else {
      return end > 8 ? .invalidVersion : .invalidStatusCode
    }
    guard end >= 12 else { return .invalidStatusCode }
    var code: UInt16 = 0
    for index in 9..<12 {
      let digit = ByteClass.byte(base, index) &- 0x30
      guard digit < 10 else { return .invalidStatusCode }
      code = code * 10 + UInt16(digit)
    }
    guard code >= 100 else { return .invalidStatusCode }
    parts.pointee.status = code
    parts.pointee.reason = ByteRange(from: end, to: end)
    if end > 12 {
      guard ByteClass.byte(base, 12) == ByteClass.space else { return .invalidStatusCode }
      parts.pointee.reason = ByteRange(from: 13, to: end)
    }
    return nil
  }

  private mutating func interpret(_ base: UnsafeRawPointer) -> HeadRejection? {
    let parts = self.parts
    let version = parts.pointee.version
    parts.pointee.declared = .unknown
    switch DeclaredFraming.read(parts.pointee.fields, base, version) {
    case .nothing: declared = .untilClose
    case .length(let length):
      declared = .length(length)
      parts.pointee.declared = .length(length)
    case .chunked: declared = .chunked
    case .rejected(let rejection): return rejection
    }
    var options = ConnectionOptions()
    if let rejection = options.read(parts.pointee.fields, base, tolerant: true) { return rejection }
    isPersistent = !options.close && (version == .http11 || options.keepAlive)
    nominatesFields = options.nominatesFields
    if status < 200 || status == 204 {
      // RFC 9110 8.6 and RFC 9112 6.1 forbid both fields here; a length of 0 does no harm.
      switch declared {
      case .chunked: isPersistent = false
      case .length(let length): if length > 0 { isPersistent = false }
      case .none, .untilClose: break
      }
    }
    return nil
  }
}
