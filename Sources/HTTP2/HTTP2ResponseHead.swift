// A response that came by HTTP/2, as the view that every protocol gives (RFC 9113 8.3.2).

public import HTTP

/// The head of a response, interim or final; like `HTTP2RequestHead`.
public struct HTTP2ResponseHead: ~Copyable {
  private let parts: UnsafeMutablePointer<ResponseParts>

  /// - Parameter fieldCapacity: field lines that a head may have, 1...65535.
  public init(fieldCapacity: Int) {
    parts = ResponseParts.allocate(fieldCapacity: fieldCapacity)
  }

  deinit { ResponseParts.release(parts) }

  /// Reads a response's head.
  ///
  /// - Parameter endsStream: whether no content follows.
  /// - Returns: nil, or the first rule that was found broken, after which nothing here has a meaning.
  public mutating func read(_ head: HTTP2Head, endsStream: Bool) -> HTTP2HeadRejection? {
    var pseudo = PseudoFields()
    parts.pointee.length = 0
    if let rejection = FieldSection.read(head, &parts.pointee.fields, &pseudo) { return rejection }
    guard pseudo.method == nil, pseudo.scheme == nil, pseudo.authority == nil, pseudo.path == nil,
      pseudo.connectProtocol == nil
    else { return .unknownPseudoField }
    guard let status = pseudo.status else { return .missingPseudoField }
    guard let code = Self.code(status, head.base) else { return .invalidStatus }
    parts.pointee.version = .http2
    parts.pointee.status = code
    parts.pointee.reason = .empty
    switch FieldSection.contentLength(parts.pointee.fields, head.base) {
    case .failure(let rejection): return rejection
    // What HEAD and 304 say of a length does not mean them: whether a length without content is
    // malformed depends on the request, which the session knows.
    case .success(let length?): parts.pointee.declared = .length(length)
    case .success(nil): parts.pointee.declared = endsStream ? .length(0) : .unknown
    }
    parts.pointee.length = head.byteCount
    return nil
  }

  /// What the head says. Valid until the next `read`, and for as long as `head` is.
  ///
  /// - Parameter head: the one that was read.
  @inline(__always)
  public func view(of head: HTTP2Head) -> ResponseView {
    // TRAP: the caller gives the head that it had read.
    precondition(parts.pointee.length <= head.byteCount, "not the bytes of this head")
    return ResponseView(base: head.base, parts: parts)
  }

  private static func code(_ value: ByteRange, _ base: UnsafeRawPointer) -> UInt16? {
    guard value.count == 3 else { return nil }
    var code: UInt16 = 0
    for position in Int(value.start)..<Int(value.end) {
      let digit = ByteClass.byte(base, position) &- 0x30
      guard digit < 10 else { return nil }
      code = code * 10 + UInt16(digit)
    }
    return code >= 100 && code != 101 ? code : nil
  }
}
