// Whole heads as field lists, from a view of any protocol and the rules for what goes on: the
// counterpart of HTTP1's HeadWriter+Messages.

public import HTTP

extension HTTP2FieldList: FieldSink {
  @usableFromInline
  package mutating func field(_ name: StaticString, _ value: UnsafeRawBufferPointer) {
    append(lowercased: Self.bytes(name), value)
  }

  @usableFromInline
  package mutating func field(_ name: StaticString, _ value: StaticString) {
    append(lowercased: Self.bytes(name), Self.bytes(value))
  }

  @usableFromInline
  package mutating func viaField(_ version: HTTPVersion, _ pseudonym: UnsafeRawBufferPointer) {
    let received: StaticString =
      switch version {
      case .http10: "1.0 "
      case .http11: "1.1 "
      case .http2: "2.0 "
      }
    append(lowercased: Self.bytes("via"), Self.bytes(received), pseudonym)
  }

  private static func bytes(_ text: StaticString) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  }
}

extension HTTP2FieldList {
  /// Adds a request's head as the server gets it (RFC 9113 8.3.1). Cookies stay in the parts that they
  /// came in.
  ///
  /// - Returns: false if it does not fit; the list is then no head.
  public mutating func request(_ forwarding: RequestForwarding) -> Bool {
    let request = forwarding.request
    field(":method", request.methodName)
    let authority = forwarding.authority
    let isConnect = request.targetForm == .authority
    // The scheme is that of the target, which the downstream connection tells better than a proxy's
    // absolute form.
    if !isConnect { field(":scheme", forwarding.isSecure ? "https" : "http") }
    if authority.count > 0 { field(":authority", authority) }
    if !isConnect {
      let (prefix, rest) = forwarding.target
      append(lowercased: Self.bytes(":path"), Self.bytes(prefix), rest)
    }
    for index in 0..<request.fieldCount {
      let line = request.field(index)
      if forwarding.passes(line) {
        append(lowercased: request.slice(line.name), request.slice(line.value))
      }
    }
    if let hops = forwarding.maxForwards { append("max-forwards", number: Int(hops)) }
    if case .length(let size) = request.content { number("content-length", size) }
    if request.acceptsTrailers { field("te", "trailers") }
    forwarding.addFields(to: &self)
    return !overflowed
  }

  /// Adds a final response's head as the client gets it (RFC 9113 8.3.2).
  ///
  /// - Parameters:
  ///   - method: the request's.
  ///   - date: refreshed where the forwarding adds a Date.
  /// - Returns: false if it does not fit; the list is then no head.
  public mutating func response(
    _ forwarding: ResponseForwarding, method: HTTPMethod, date: HTTPDate
  ) -> Bool {
    let response = forwarding.response
    _ = interimResponse(response)
    switch response.content(for: method) {
    case .length(let size): number("content-length", size)
    case .unknown: break
    case .none: if let value = forwarding.lengthWithoutContent { field("content-length", value) }
    }
    forwarding.addDate(to: &self, date)
    forwarding.addVia(to: &self)
    return !overflowed
  }

  /// Adds an interim response's head; never that of a 101, which HTTP/2 does not have (RFC 9113 8.6).
  ///
  /// - Returns: false if it does not fit; the list is then no head.
  public mutating func interimResponse(_ response: ResponseView) -> Bool {
    number(":status", UInt64(response.status))
    for index in 0..<response.fieldCount {
      let line = response.field(index)
      if line.isHopByHop || ResponseForwarding.replaced.has(line.known) { continue }
      append(lowercased: response.slice(line.name), response.slice(line.value))
    }
    return !overflowed
  }

  /// Adds a number up to 2⁶³ − 1, which every length is.
  private mutating func number(_ name: StaticString, _ value: UInt64) {
    append(name, number: Int(truncatingIfNeeded: value))
  }
}
