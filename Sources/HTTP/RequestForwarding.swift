// What a request head loses and gains on its way to a server (RFC 9110 7.6), over a view and so for
// every pair of protocols: hop-by-hop lines and what only this proxy can vouch for go, the authority,
// Max-Forwards, X-Forwarded-* and Via are written anew. Content-Length, Transfer-Encoding and TE are
// each protocol's own.

/// The rules for one request. It is made where the head is written, and borrows the request.
public struct RequestForwarding {
  public let request: RequestView
  /// The address of the downstream peer, for X-Forwarded-For.
  @usableFromInline let client: UnsafeRawBufferPointer
  /// Whether the downstream connection has TLS, for X-Forwarded-Proto.
  public let isSecure: Bool
  @usableFromInline let defaultAuthority: UnsafeRawBufferPointer
  @usableFromInline let pseudonym: UnsafeRawBufferPointer
  /// Traceparent as the next hop gets it; empty: the line, if any, goes on as it came.
  @usableFromInline let traceparent: UnsafeRawBufferPointer
  /// The lines that do not go on as they came, by name.
  public let replaced: FieldSet
  /// Max-Forwards as the next hop gets it, or nil if the line, if any, goes on as it came.
  public let maxForwards: UInt32?

  /// - Parameters:
  ///   - defaultAuthority: for a request of HTTP/1.0 that names none.
  ///   - pseudonym: this proxy's name in Via; empty: no Via is added.
  ///   - traceparent: takes the place of the request's, where it is not empty.
  @inlinable @inline(__always)
  public init(
    _ request: RequestView, client: UnsafeRawBufferPointer, isSecure: Bool,
    defaultAuthority: UnsafeRawBufferPointer, pseudonym: UnsafeRawBufferPointer,
    traceparent: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) {
    self.request = request
    self.client = client
    self.isSecure = isSecure
    self.defaultAuthority = defaultAuthority
    self.pseudonym = pseudonym
    self.traceparent = traceparent
    var replaced = Self.rewritten
    var maxForwards: UInt32?
    if request.presentFields.has(.maxForwards) {
      maxForwards = Self.nextMaxForwards(request)
      if maxForwards != nil { replaced.insert(.maxForwards) }
    }
    if traceparent.count > 0 { replaced.insert(.traceparent) }
    self.replaced = replaced
    self.maxForwards = maxForwards
  }

  /// Fields that are written anew or never passed on as they came.
  ///
  /// What a client says of itself in Forwarded, X-Real-IP or X-Forwarded-* is not what the proxy
  /// saw, and a server cannot tell the two apart; nor can it where the name is spelt in another
  /// way that it reads the same.
  @inlinable public static var rewritten: FieldSet {
    [
      .host, .contentLength, .xForwardedFor, .xForwardedProto, .xForwardedHost, .xForwardedPort,
      .forwarded, .xRealIP, .untrusted, .ambiguous,
    ]
  }

  /// RFC 9110 7.6.2: for TRACE and OPTIONS; TRACE is refused. A value of 0 is not forwarded at all.
  @usableFromInline
  static func nextMaxForwards(_ request: RequestView) -> UInt32? {
    guard request.method == .options, let value = request.maxForwards else { return nil }
    return value &- 1
  }

  /// Whether a line of the request goes on.
  @inlinable @inline(__always)
  public func passes(_ line: FieldLine) -> Bool { !line.isHopByHop && !replaced.has(line.known) }

  /// The authority that the server is told. HTTP/1.1 requires a Host (RFC 9112 3.2), and servers
  /// refuse an empty one; a client of HTTP/1.0 need not have sent any.
  @inlinable public var authority: UnsafeRawBufferPointer {
    let own = request.authority
    return own.count > 0 ? own : defaultAuthority
  }

  /// The target in origin or asterisk form (RFC 9112 3.2), in two pieces: the second is a part of
  /// the head's bytes. That of CONNECT stays an authority.
  @inlinable public var target: (prefix: StaticString, rest: UnsafeRawBufferPointer) {
    request.targetForm == .absolute ? originTarget : ("", request.target)
  }

  @usableFromInline var originTarget: (prefix: StaticString, rest: UnsafeRawBufferPointer) {
    let target = request.parts.pointee.targetRange
    let parts = request.parts.pointee.target
    if !parts.path.isEmpty {
      let rest = ByteRange(from: Int(parts.path.start), to: Int(target.end))
      return ("", request.slice(rest))
    }
    guard parts.hasQuery else {
      return (request.method == .options ? "*" : "/", request.slice(.empty))
    }
    // The "?" stands before the query.
    return ("/", request.slice(ByteRange(from: Int(parts.query.start) - 1, to: Int(target.end))))
  }

  /// Adds what this hop says of the request; after all other fields.
  @inlinable @inline(__always)
  package func addFields<Sink: FieldSink & ~Copyable>(to sink: inout Sink) {
    sink.field("X-Forwarded-For", client)
    if isSecure {
      sink.field("X-Forwarded-Proto", "https")
    } else {
      sink.field("X-Forwarded-Proto", "http")
    }
    let authority = request.authority
    if authority.count > 0 { sink.field("X-Forwarded-Host", authority) }
    if traceparent.count > 0 { sink.field("traceparent", traceparent) }
    if pseudonym.count > 0 { sink.viaField(request.version, pseudonym) }
  }
}
