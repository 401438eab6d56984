// A request head, parsed in one pass over bytes that stay where they are. It owns a table of field
// lines that is allocated once, and refuses every ambiguity of framing, host and syntax that RFC
// 9112 11.2 warns of rather than repair it. Everything that it gives is an offset into those bytes.

public import HTTP

/// The head of a request. One per worker serves all connections: what it holds is valid until the
/// next parse, and only together with the bytes that it was parsed from.
public struct RequestHead: ~Copyable {
  public private(set) var method = HTTPMethod.other
  public private(set) var methodRange = ByteRange.empty
  /// The request target as received.
  public private(set) var target = ByteRange.empty
  /// HTTP/1.0 or HTTP/1.1; a higher minor version counts as 1.1 (RFC 9110 2.5).
  public private(set) var version = HTTPVersion.http11
  /// `none`, `length` or `chunked`; a request never ends with its connection (RFC 9112 6.3).
  public private(set) var framing = BodyFraming.none
  /// Whether the downstream lets the connection live on after this exchange (RFC 9112 9.3).
  public private(set) var isPersistent = false
  /// Whether the downstream waits for a 100 before it sends the content. False in HTTP/1.0 and
  /// without content, where the expectation has no effect (RFC 9110 10.1.1).
  public private(set) var expectsContinue = false
  /// Whether TE lists `trailers` (RFC 9110 10.1.4).
  public private(set) var acceptsTrailers = false
  /// Whether Upgrade is there and nominated by Connection, in HTTP/1.1 (RFC 9110 7.8).
  public private(set) var wantsUpgrade = false
  /// The authority that the request is for: of the target in absolute or authority form, else
  /// of Host; empty only in HTTP/1.0 without either (RFC 9112 3.2.2).
  public private(set) var authority = ByteRange.empty
  /// The host of `authority` without its port; an IP literal keeps its brackets.
  public private(set) var host = ByteRange.empty
  /// The port of `authority`, or nil if it names none.
  public private(set) var port: UInt16?
  /// Whether Connection names a field that could stand in a trailer section: see `nominatedNames`.
  public private(set) var nominatesFields = false
  private var parts = RequestTarget()
  var fields: FieldTable

  /// Makes a head that can hold `fieldCapacity` field lines, 1...65535.
  public init(fieldCapacity: Int) {
    fields = FieldTable(capacity: fieldCapacity)
  }

  public var targetForm: TargetForm { parts.form }
  /// The path of an origin or absolute form; empty in an absolute form without one, which means "/"
  /// (for OPTIONS "*", RFC 9112 3.2.4), and in the other two forms.
  public var path: ByteRange { parts.path }
  /// What follows the first "?"; may be empty where `hasQuery`.
  public var query: ByteRange { parts.query }
  public var hasQuery: Bool { parts.hasQuery }
  /// Whether an absolute form names the scheme https.
  public var targetIsHTTPS: Bool { parts.isHTTPS }

  public var fieldCount: Int { fields.count }
  /// The recognised names that the head holds.
  public var presentFields: FieldSet { fields.present }
  /// The field line at `index`, in the order received; traps outside `0..<fieldCount`.
  public func field(_ index: Int) -> FieldLine { fields.line(index) }
  /// The first field line of this name.
  public func first(_ known: FieldName) -> FieldLine? { fields.first(known) }

  /// The names that Connection nominates, for the message's trailers. It allocates: only where
  /// `nominatesFields` and the message is chunked.
  ///
  /// - Parameter bytes: those that the head was parsed from.
  public func nominatedNames(in bytes: UnsafeRawBufferPointer) -> NominatedNames? {
    bytes.baseAddress.map { NominatedNames(fields, $0) }
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
    return fields.markAmbiguous(base, underscores: underscores)
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
    fields.removeAll()
    var position = 0
    var outcome = PartOutcome.needsMore
    if let base = bytes.baseAddress {
      outcome = parseRequestLine(base, &position, end, limits.targetCeiling)
      if case .done = outcome {
        outcome = fields.parse(base, &position, end, maximum: limits.fields)
      }
      if case .done = outcome {
        if let rejection = interpret(base) { return .rejected(rejection) }
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
    methodRange = ByteRange(from: methodStart, to: cursor)
    method = HTTPMethod(base + methodStart, methodCount)

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
    target = ByteRange(from: targetStart, to: cursor)
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
    case .version(let read): version = read
    case .rejected(let rejection):
      return .rejected(isHTTP2Preface(base, start) ? .http2Preface : rejection)
    }
    position = cursor &+ 2
    return .done
  }

  /// Whether the request line, whose version is at `versionStart`, is `PRI * HTTP/2.0`.
  private func isHTTP2Preface(_ base: UnsafeRawPointer, _ versionStart: Int) -> Bool {
    methodRange.count == 3 && ByteClass.equal(base + Int(methodRange.start), "PRI", count: 3)
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
    switch DeclaredFraming.read(fields, base, version) {
    case .nothing: framing = .none
    case .length(let length): framing = .length(length)
    case .chunked: framing = .chunked
    case .rejected(let rejection): return rejection
    }
    guard let parts = RequestTarget(target, method: method, base) else { return .invalidTarget }
    self.parts = parts
    if let rejection = readHost(base) { return rejection }
    var options = ConnectionOptions()
    if let rejection = options.read(&fields, base, tolerant: false) { return rejection }
    isPersistent = !options.close && (version == .http11 || options.keepAlive)
    wantsUpgrade = version == .http11 && options.upgrade && fields.present.has(.upgrade)
    nominatesFields = options.nominatesFields
    expectsContinue = false
    acceptsTrailers = false
    if !fields.present.isDisjoint(with: [.expect, .te]) { return readExpectAndTE(base) }
    return nil
  }

  /// Exactly one valid Host in HTTP/1.1, at most one in HTTP/1.0, even where the target has an
  /// authority of its own, which then wins (RFC 9112 3.2, 3.2.2).
  @inline(__always)
  private mutating func readHost(_ base: UnsafeRawPointer) -> HeadRejection? {
    authority = parts.authority
    host = parts.host
    port = parts.port
    guard let line = fields.first(.host) else {
      return version == .http11 ? .missingHost : nil
    }
    if fields.repeated.has(.host) { return .duplicateHost }
    guard let parsed = Authority(line.value, base) else { return .invalidHost }
    if parts.authority.isEmpty {
      authority = line.value
      host = parsed.host
      port = parsed.port
    }
    return nil
  }

  private mutating func readExpectAndTE(_ base: UnsafeRawPointer) -> HeadRejection? {
    for index in 0..<fields.count {
      let line = fields.line(index)
      if line.known == .expect {
        guard line.value.count == 12,
          ByteClass.equalFolded(base + Int(line.value.start), "100-continue", count: 12)
        else { return .unsupportedExpectation }
        expectsContinue = version == .http11 && framing != .none && framing != .length(0)
      } else if line.known == .te {
        var elements = ListElements(line.value)
        while let element = elements.next(base) {
          guard element.count == 8 else { continue }
          if ByteClass.equalFolded(base + Int(element.start), "trailers", count: 8) {
            acceptsTrailers = true
          }
        }
      }
    }
    return nil
  }
}
