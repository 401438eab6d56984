// A request head, parsed in one pass over bytes that stay where they are. It owns a table of field
// lines that is allocated once, and refuses every ambiguity of framing, host and syntax that RFC
// 9112 11.2 warns of rather than repair it. Everything that it gives is an offset into those bytes.

public import HTTP

/// The head of a request. One per worker serves all connections: what it holds is valid until the
/// next parse, and only together with the bytes that it was parsed from.
public struct RequestHead: ~Copyable {
  /// `none`, `length` or `chunked`; a request never ends with its connection (RFC 9112 6.3).
  public private(set) var framing = BodyFraming.none
  /// Whether the downstream lets the connection live on after this exchange (RFC 9112 9.3).
  public private(set) var isPersistent = false
  /// Whether Connection names a field that could stand in a trailer section: see `nominatedNames`.
  public private(set) var nominatesFields = false
  private let parts: UnsafeMutablePointer<RequestParts>

  /// Makes a head that can hold `fieldCapacity` field lines, 1...65535.
  public init(fieldCapacity: Int) {
    parts = RequestParts.allocate(fieldCapacity: fieldCapacity)
  }

  deinit { RequestParts.release(parts) }

  /// What the head says, for any protocol. Valid until the next parse, and while the bytes are there.
  ///
  /// - Parameter bytes: those that the head was parsed from; more may follow it.
  @inline(__always)
  public func view(in bytes: UnsafeRawBufferPointer) -> RequestView {
    // TRAP: the caller gives the bytes that it had parsed, which a head was found in.
    precondition(parts.pointee.length <= bytes.count, "not the bytes of this head")
    return RequestView(base: bytes.baseAddress!, parts: parts)
  }

  public var method: HTTPMethod { parts.pointee.method }
  /// HTTP/1.0 or HTTP/1.1; a higher minor version counts as 1.1 (RFC 9110 2.5).
  public var version: HTTPVersion { parts.pointee.version }
  /// Whether the downstream waits for a 100 before it sends the content. False in HTTP/1.0 and
  /// without content, where the expectation has no effect (RFC 9110 10.1.1).
  public var expectsContinue: Bool { parts.pointee.expectsContinue }
  /// The recognised names that the head holds.
  public var presentFields: FieldSet { parts.pointee.fields.present }

  /// The names that Connection nominates, for the message's trailers. It allocates: only where
  /// `nominatesFields` and the message is chunked.
  ///
  /// - Parameter bytes: those that the head was parsed from.
  public func nominatedNames(in bytes: UnsafeRawBufferPointer) -> NominatedNames? {
    bytes.baseAddress.map { NominatedNames(parts.pointee.fields, $0) }
  }

  /// Marks the lines whose name another reader could take for a different one.
  ///
  /// - Parameters:
  ///   - bytes: those that the head was parsed from.
  ///   - underscores: also drops every other unrecognised name with an underscore.
  /// - Returns: the lines that `endToEndFields(except: [.ambiguous])` leaves out for it.
  public mutating func markAmbiguousFields(
    in bytes: UnsafeRawBufferPointer, underscores: Bool
  ) -> Int {
    guard let base = bytes.baseAddress else { return 0 }
    return parts.pointee.fields.markAmbiguous(base, underscores: underscores)
  }

  /// Parses the head at the start of `bytes`.
  ///
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
      outcome = parseRequestLine(base, &position, end, limits.targetCeiling)
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

  /// request-line = method SP request-target SP HTTP-version, and CRLF (RFC 9112 3).
  // SAFETY: each load is at an offset below `end`, or in the ten bytes that were just counted.
  @inline(__always)
  private mutating func parseRequestLine(
    _ base: UnsafeRawPointer, _ position: inout Int, _ end: Int, _ targetMaximum: Int
  ) -> PartOutcome {
    if position < end, ByteClass.byte(base, position) == ByteClass.carriageReturn {
      let outcome = skipEmptyLines(base, &position, end)
      guard case .done = outcome else { return outcome }
    }
    let methodStart = position
    var bound = min(end, methodStart &+ HeadScanner.methodBytesMaximum &+ 1)
    var cursor = ByteClass.firstOutside(ByteClass.token, base, from: methodStart, to: bound)
    let methodCount = cursor &- methodStart
    if methodCount > HeadScanner.methodBytesMaximum { return .rejected(.invalidMethod) }
    guard cursor < end else { return .needsMore }
    guard ByteClass.byte(base, cursor) == ByteClass.space, methodCount > 0 else {
      return OffendingByte.judge(base, at: cursor, end: end, otherwise: .invalidMethod)
    }
    parts.pointee.methodRange = ByteRange(from: methodStart, to: cursor)
    parts.pointee.method = HTTPMethod(base + methodStart, methodCount)

    let targetStart = cursor &+ 1
    bound = min(end, targetStart &+ targetMaximum &+ 1)
    cursor = ByteClass.firstOutside(ByteClass.target, base, from: targetStart, to: bound)
    if cursor &- targetStart > targetMaximum { return .rejected(.targetTooLong) }
    guard cursor < end else { return .needsMore }
    let separator = ByteClass.byte(base, cursor)
    guard separator == ByteClass.space, cursor > targetStart else {
      let isLineEnd = separator == ByteClass.carriageReturn && cursor > targetStart
      let otherwise: HeadRejection = isLineEnd ? .invalidVersion : .invalidTarget
      return OffendingByte.judge(base, at: cursor, end: end, otherwise: otherwise)
    }
    parts.pointee.targetRange = ByteRange(from: targetStart, to: cursor)
    position = cursor &+ 1
    return parseVersion(base, &position, end)
  }

  @inline(__always)
  private mutating func parseVersion(
    _ base: UnsafeRawPointer, _ position: inout Int, _ end: Int
  ) -> PartOutcome {
    let start = position
    let bound = min(end, start &+ 9)
    let cursor = ByteClass.firstOutside(ByteClass.target, base, from: start, to: bound)
    if cursor &- start > 8 { return .rejected(.invalidVersion) }
    guard cursor < end else { return .needsMore }
    guard ByteClass.byte(base, cursor) == ByteClass.carriageReturn, cursor &- start == 8 else {
      return OffendingByte.judge(base, at: cursor, end: end, otherwise: .invalidVersion)
    }
    guard cursor &+ 1 < end else { return .needsMore }
    guard ByteClass.byte(base, cursor &+ 1) == ByteClass.lineFeed else { return .rejected(.bareCR) }
    switch VersionParser.read(base + start) {
    case .version(let read): parts.pointee.version = read
    case .rejected(let rejection):
      return .rejected(isHTTP2Preface(base, start) ? .http2Preface : rejection)
    }
    position = cursor &+ 2
    return .done
  }

  /// Whether the request line, whose version is at `versionStart`, is `PRI * HTTP/2.0`.
  private func isHTTP2Preface(_ base: UnsafeRawPointer, _ versionStart: Int) -> Bool {
    let method = parts.pointee.methodRange
    let target = parts.pointee.targetRange
    return method.count == 3 && ByteClass.equal(base + Int(method.start), "PRI", count: 3)
      && target.count == 1 && ByteClass.byte(base, Int(target.start)) == 0x2A
      && ByteClass.equal(base + versionStart, "HTTP/2.0", count: 8)
  }

  private func skipEmptyLines(
    _ base: UnsafeRawPointer, _ position: inout Int, _ end: Int
  ) -> PartOutcome {
    var lines: UInt8 = 0
    while position < end, ByteClass.byte(base, position) == ByteClass.carriageReturn {
      guard lines < HeadScanner.emptyLinesTolerated, position + 1 < end,
        ByteClass.byte(base, position + 1) == ByteClass.lineFeed
      else { return OffendingByte.judge(base, at: position, end: end, otherwise: .invalidMethod) }
      lines += 1
      position += 2
    }
    return position < end ? .done : .needsMore
  }

  /// What the lines mean together. The order is the order of danger: framing, host, the rest.
  @inline(__always)
  private mutating func interpret(_ base: UnsafeRawPointer) -> HeadRejection? {
    let parts = self.parts
    let version = parts.pointee.version
    switch DeclaredFraming.read(parts.pointee.fields, base, version) {
    case .nothing:
      framing = .none
      parts.pointee.content = .none
    case .length(let length):
      framing = .length(length)
      parts.pointee.content = .length(length)
    case .chunked:
      framing = .chunked
      parts.pointee.content = .unknown
    case .rejected(let rejection): return rejection
    }
    guard
      let target = RequestTarget(
        parts.pointee.targetRange, method: parts.pointee.method, base)
    else { return .invalidTarget }
    parts.pointee.target = target
    if let rejection = readHost(base) { return rejection }
    var options = ConnectionOptions()
    if let rejection = options.read(parts.pointee.fields, base, tolerant: false) {
      return rejection
    }
    isPersistent = !options.close && (version == .http11 || options.keepAlive)
    let present = parts.pointee.fields.present
    parts.pointee.offersUpgrade = version == .http11 && options.upgrade && present.has(.upgrade)
    nominatesFields = options.nominatesFields
    parts.pointee.expectsContinue = false
    parts.pointee.acceptsTrailers = false
    if !present.isDisjoint(with: [.expect, .te]) { return readExpectAndTE(base) }
    return nil
  }

  /// Exactly one valid Host in HTTP/1.1, at most one in HTTP/1.0, even where the target has an
  /// authority of its own, which then wins (RFC 9112 3.2, 3.2.2).
  @inline(__always)
  private mutating func readHost(_ base: UnsafeRawPointer) -> HeadRejection? {
    let parts = self.parts
    parts.pointee.authority = parts.pointee.target.authority
    parts.pointee.host = parts.pointee.target.host
    parts.pointee.port = parts.pointee.target.port
    guard let line = parts.pointee.fields.first(.host) else {
      return parts.pointee.version == .http11 ? .missingHost : nil
    }
    if parts.pointee.fields.repeated.has(.host) { return .duplicateHost }
    guard let parsed = Authority(line.value, base) else { return .invalidHost }
    if parts.pointee.target.authority.isEmpty {
      parts.pointee.authority = line.value
      parts.pointee.host = parsed.host
      parts.pointee.port = parsed.port
    }
    return nil
  }

  private func readExpectAndTE(_ base: UnsafeRawPointer) -> HeadRejection? {
    let fields = parts.pointee.fields
    switch fields.expectation(base) {
    case .unsupported: return .unsupportedExpectation
    case .continueResponse:
      parts.pointee.expectsContinue =
        parts.pointee.version == .http11 && framing != .none && framing != .length(0)
    case .none: break
    }
    parts.pointee.acceptsTrailers = fields.acceptsTrailers(base)
    return nil
  }
}
