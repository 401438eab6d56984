// A request that came by HTTP/2, as the view that every protocol gives (RFC 9113 8.3.1). It owns a
// table of field lines that is allocated once; the bytes are the session's.

public import HTTP

/// The head of a request. One per connection or thread serves all streams: what it holds is valid
/// until the next `read`, and only together with the head that was read.
public struct HTTP2RequestHead: ~Copyable {
  /// Bytes of a method, as in HTTP/1.1: registered names end at 17.
  private static let methodBytesMaximum = 64

  private let parts: UnsafeMutablePointer<RequestParts>
  private let targetBytes: Int

  /// - Parameters:
  ///   - fieldCapacity: field lines that a head may have, 1...65535.
  ///   - targetBytes: bytes that `:path` may have.
  public init(fieldCapacity: Int, targetBytes: Int = 8_192) {
    parts = RequestParts.allocate(fieldCapacity: fieldCapacity)
    self.targetBytes = targetBytes
  }

  deinit { RequestParts.release(parts) }

  /// Reads a request's head.
  ///
  /// - Parameter endsStream: whether no content follows.
  /// - Returns: nil, or the first rule that was found broken, after which nothing here has a meaning.
  public mutating func read(_ head: HTTP2Head, endsStream: Bool) -> HTTP2HeadRejection? {
    var pseudo = PseudoFields()
    parts.pointee.length = 0
    if let rejection = FieldSection.read(head, &parts.pointee.fields, &pseudo) { return rejection }
    if pseudo.status != nil { return .unknownPseudoField }
    let base = head.base
    parts.pointee.version = .http2
    if let rejection = readTarget(pseudo, base) { return rejection }
    if let rejection = readAuthority(pseudo, base) { return rejection }
    if let rejection = readContent(base, endsStream) { return rejection }
    parts.pointee.connectProtocol = .empty
    parts.pointee.offersUpgrade = false
    if let name = pseudo.connectProtocol, let rejection = readProtocol(name, base) {
      return rejection
    }
    parts.pointee.acceptsTrailers = parts.pointee.fields.present.has(.te)
    parts.pointee.length = head.byteCount
    return nil
  }

  /// What the head says. Valid until the next `read`, and for as long as `head` is.
  ///
  /// - Parameter head: the one that was read.
  @inline(__always)
  public func view(of head: HTTP2Head) -> RequestView {
    // TRAP: the caller gives the head that it had read.
    precondition(parts.pointee.length <= head.byteCount, "not the bytes of this head")
    return RequestView(base: head.base, parts: parts)
  }

  /// Marks the lines whose name another reader could take for a different one; see
  /// `RequestForwarding.rewritten`.
  ///
  /// - Parameter underscores: also drops every other unrecognised name with an underscore.
  /// - Returns: the lines that are left out for it.
  public mutating func markAmbiguousFields(of head: HTTP2Head, underscores: Bool) -> Int {
    parts.pointee.fields.markAmbiguous(head.base, underscores: underscores)
  }

  private func readTarget(
    _ pseudo: PseudoFields, _ base: UnsafeRawPointer
  ) -> HTTP2HeadRejection? {
    guard let method = pseudo.method else { return .missingPseudoField }
    let methodEnd = Int(method.end)
    guard !method.isEmpty, Int(method.count) <= Self.methodBytesMaximum,
      ByteClass.firstOutside(ByteClass.token, base, from: Int(method.start), to: methodEnd)
        == methodEnd
    else { return .invalidMethod }
    let known = HTTPMethod(base + Int(method.start), Int(method.count))
    parts.pointee.methodRange = method
    parts.pointee.method = known
    if known == .connect, pseudo.connectProtocol == nil { return readConnect(pseudo, base) }
    if known != .connect, pseudo.connectProtocol != nil { return .unknownPseudoField }
    guard let scheme = pseudo.scheme, let path = pseudo.path else { return .missingPseudoField }
    guard let isHTTPS = Self.isHTTPS(scheme, base) else { return .invalidScheme }
    if Int(path.count) > targetBytes { return .pathTooLong }
    let end = Int(path.end)
    guard ByteClass.firstOutside(ByteClass.target, base, from: Int(path.start), to: end) == end,
      // An extended CONNECT has the target of the GET that it stands for.
      var target = RequestTarget(path, method: known == .connect ? .get : known, base),
      target.form == .origin || target.form == .asterisk
    else { return .invalidPath }
    target.isHTTPS = isHTTPS
    parts.pointee.targetRange = path
    parts.pointee.target = target
    return nil
  }

  /// CONNECT has the authority for its target, and neither scheme nor path (8.5).
  private func readConnect(
    _ pseudo: PseudoFields, _ base: UnsafeRawPointer
  ) -> HTTP2HeadRejection? {
    guard pseudo.scheme == nil, pseudo.path == nil else { return .unknownPseudoField }
    guard let authority = pseudo.authority else { return .missingPseudoField }
    guard let target = RequestTarget(authority, method: .connect, base) else {
      return .invalidAuthority
    }
    parts.pointee.targetRange = authority
    parts.pointee.target = target
    return nil
  }

  /// The rest of an extended CONNECT (RFC 8441 4): it has no content, since what follows is the
  /// tunnel's, and the fields of the handshake that it stands for have no part in it (5).
  private func readProtocol(
    _ name: ByteRange, _ base: UnsafeRawPointer
  ) -> HTTP2HeadRejection? {
    let end = Int(name.end)
    guard !name.isEmpty, Int(name.count) <= Self.methodBytesMaximum,
      ByteClass.firstOutside(ByteClass.token, base, from: Int(name.start), to: end) == end
    else { return .invalidProtocol }
    if case .length(let length) = parts.pointee.content, length > 0 { return .invalidContentLength }
    parts.pointee.content = .none
    parts.pointee.expectsContinue = false
    parts.pointee.connectProtocol = name
    parts.pointee.offersUpgrade = true
    let key: StaticString = "sec-websocket-key"
    parts.pointee.fields.markHopByHop(
      base, named: UnsafeRawPointer(key.utf8Start), count: key.utf8CodeUnitCount)
    return nil
  }

  private static func isHTTPS(_ scheme: ByteRange, _ base: UnsafeRawPointer) -> Bool? {
    let bytes = base + Int(scheme.start)
    if scheme.count == 4, ByteClass.equalFolded(bytes, "http", count: 4) { return false }
    if scheme.count == 5, ByteClass.equalFolded(bytes, "https", count: 5) { return true }
    return nil
  }

  /// `:authority`, else Host; if there are both they must name the same (8.3.1).
  private func readAuthority(
    _ pseudo: PseudoFields, _ base: UnsafeRawPointer
  ) -> HTTP2HeadRejection? {
    let fields = parts.pointee.fields
    if fields.repeated.has(.host) { return .duplicateHost }
    let line = fields.first(.host)
    guard let range = pseudo.authority ?? line?.value else { return .missingAuthority }
    guard let authority = Authority(range, base) else { return .invalidAuthority }
    parts.pointee.authority = range
    parts.pointee.host = authority.host
    parts.pointee.port = authority.port
    guard pseudo.authority != nil, let line else { return nil }
    guard let host = Authority(line.value, base) else { return .invalidAuthority }
    return same(host, authority, base) ? nil : .contradictingHost
  }

  /// Whether two authorities are one, in any case and with the scheme's port named or not.
  private func same(_ left: Authority, _ right: Authority, _ base: UnsafeRawPointer) -> Bool {
    let usual: UInt16 = parts.pointee.target.isHTTPS ? 443 : 80
    return left.host.count == right.host.count
      && ByteClass.equalFolded(
        base + Int(left.host.start), base + Int(right.host.start), count: Int(left.host.count))
      && left.port ?? usual == right.port ?? usual
  }

  private func readContent(
    _ base: UnsafeRawPointer, _ endsStream: Bool
  ) -> HTTP2HeadRejection? {
    let fields = parts.pointee.fields
    switch FieldSection.contentLength(fields, base) {
    case .failure(let rejection): return rejection
    case .success(let length?):
      if endsStream, length > 0 { return .invalidContentLength }
      parts.pointee.content = .length(length)
    case .success(nil): parts.pointee.content = endsStream ? .none : .unknown
    }
    parts.pointee.expectsContinue = false
    switch fields.expectation(base) {
    case .unsupported: return .unsupportedExpectation
    case .continueResponse: parts.pointee.expectsContinue = !endsStream
    case .none: break
    }
    return nil
  }
}
