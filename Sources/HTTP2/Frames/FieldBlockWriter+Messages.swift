// Whole heads as field blocks, from a view of any protocol and the rules for what goes on: the
// counterpart of HTTP1's HeadWriter+Messages.

public import HTTP

extension FieldBlockWriter: FieldSink {
  @usableFromInline
  package mutating func field(_ name: StaticString, _ value: UnsafeRawBufferPointer) {
    let name = Self.bytes(name)
    let known = name.baseAddress.map { FieldName($0, name.count) } ?? .other
    line(known, name, value)
  }

  @usableFromInline
  package mutating func field(_ name: StaticString, _ value: StaticString) {
    field(name, Self.bytes(value))
  }

  @usableFromInline
  package mutating func viaField(_ version: HTTPVersion, _ pseudonym: UnsafeRawBufferPointer) {
    let received: StaticString =
      switch version {
      case .http10: "1.0 "
      case .http11: "1.1 "
      case .http2: "2.0 "
      }
    withUnsafeTemporaryAllocation(byteCount: 4 + pseudonym.count, alignment: 1) { room in
      room.copyMemory(from: Self.bytes(received))
      UnsafeMutableRawBufferPointer(rebasing: room[4...]).copyMemory(from: pseudonym)
      field(named: StaticTable.index(of: .via), UnsafeRawBufferPointer(room))
    }
  }

  private static func bytes(_ text: StaticString) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  }
}

extension FieldBlockWriter {
  /// Bytes that a response's head can need beside those received: the fields that are added, with the
  /// longest pseudonym (128) in Via.
  private static var responseMargin: Int { 320 }

  /// Room that a response's block needs at most.
  @inline(__always)
  public static func capacity(for forwarding: ResponseForwarding) -> Int {
    let response = forwarding.response
    return response.bytes.count + response.fieldCount * fieldOverhead + responseMargin
  }

  /// Adds `:status` (RFC 9113 8.3.2).
  public mutating func status(_ status: UInt16) {
    if let index = StaticTable.index(ofStatus: status) {
      indexed(index)
    } else {
      field(named: StaticTable.status, decimal: UInt64(status))
    }
  }

  /// Adds a number whose name is not in the static table.
  public mutating func field(_ name: StaticString, decimal number: UInt64) {
    withUnsafeTemporaryAllocation(byteCount: 20, alignment: 1) { room in
      field(name, Self.digits(number, room))
    }
  }

  public mutating func contentLength(_ length: UInt64) {
    field(named: StaticTable.index(of: .contentLength), decimal: length)
  }

  /// Adds a final response's head as the client gets it.
  ///
  /// - Parameters:
  ///   - method: the request's.
  ///   - date: refreshed where the forwarding adds a Date.
  public mutating func response(
    _ forwarding: ResponseForwarding, method: HTTPMethod, date: borrowing HTTPDate
  ) {
    let response = forwarding.response
    interimResponse(response)
    switch response.content(for: method) {
    case .length(let size): contentLength(size)
    case .unknown: break
    case .none:
      if let value = forwarding.lengthWithoutContent {
        field(named: StaticTable.index(of: .contentLength), value)
      }
    }
    forwarding.addDate(to: &self, date)
    forwarding.addVia(to: &self)
  }

  /// Adds a line of a trailer section that goes on.
  public mutating func trailer(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    let known = name.baseAddress.map { FieldName($0, name.count) } ?? .other
    line(known, name, value)
  }

  /// Adds the head that accepts an extended CONNECT, from a server's 101 or 200 (RFC 8441 5).
  public mutating func switchingResponse(_ forwarding: ResponseForwarding) {
    status(200)
    lines(of: forwarding.response)
    forwarding.addVia(to: &self)
  }

  /// Adds an interim response's head; never that of a 101, which HTTP/2 does not have (RFC 9113 8.6).
  public mutating func interimResponse(_ response: ResponseView) {
    status(response.status)
    lines(of: response)
  }

  @inline(__always)
  private mutating func lines(of response: ResponseView) {
    for index in 0..<response.fieldCount {
      let line = response.field(index)
      if line.isHopByHop || ResponseForwarding.replaced.has(line.known) { continue }
      self.line(line.known, response.slice(line.name), response.slice(line.value))
    }
  }
}

extension FieldBlockWriter {
  /// Bytes that a request's head can need beside those received: pseudo-fields, forwarding fields with the
  /// longest client (45) and pseudonym (128).
  private static var requestMargin: Int { 512 }

  /// Room that a request's block needs at most: the authority is there twice.
  @inline(__always)
  public static func capacity(for forwarding: RequestForwarding) -> Int {
    let request = forwarding.request
    return request.bytes.count + request.fieldCount * fieldOverhead + requestMargin
      + 2 * forwarding.authority.count
  }

  /// Adds a request's head as the server gets it (RFC 9113 8.3.1). Cookies stay in the parts that they
  /// came in.
  public mutating func request(_ forwarding: RequestForwarding) {
    let request = forwarding.request
    switch request.method {
    case .get: indexed(StaticTable.methodGET)
    case .post: indexed(StaticTable.methodPOST)
    default: field(named: StaticTable.methodGET, request.methodName)
    }
    // The scheme is that of the target, which the downstream connection tells better than a proxy's
    // absolute form.
    indexed(forwarding.isSecure ? StaticTable.schemeHTTPS : StaticTable.schemeHTTP)
    let authority = forwarding.authority
    if authority.count > 0 { field(named: StaticTable.authority, authority) }
    path(forwarding)
    for index in 0..<request.fieldCount {
      let line = request.field(index)
      if forwarding.passes(line) {
        self.line(line.known, request.slice(line.name), request.slice(line.value))
      }
    }
    if let hops = forwarding.maxForwards {
      field(named: StaticTable.index(of: .maxForwards), decimal: UInt64(hops))
    }
    if case .length(let size) = request.content { contentLength(size) }
    if request.acceptsTrailers { field("te", "trailers") }
    forwarding.addFields(to: &self)
  }

  /// Adds the head of an extended CONNECT (RFC 8441 4), which stands for a request that offers to switch
  /// to one protocol, or is one already.
  ///
  /// - Parameter name: of the protocol.
  public mutating func connectRequest(
    _ forwarding: RequestForwarding, to name: UnsafeRawBufferPointer
  ) {
    let request = forwarding.request
    field(named: StaticTable.methodGET, Self.bytes("CONNECT"))
    field(":protocol", name)
    indexed(forwarding.isSecure ? StaticTable.schemeHTTPS : StaticTable.schemeHTTP)
    let authority = forwarding.authority
    if authority.count > 0 { field(named: StaticTable.authority, authority) }
    path(forwarding)
    for index in 0..<request.fieldCount {
      let line = request.field(index)
      let name = request.slice(line.name)
      // The handshake's key has no part in it (RFC 8441 5).
      if forwarding.passes(line), !Self.isKey(line.known, name) {
        self.line(line.known, name, request.slice(line.value))
      }
    }
    forwarding.addFields(to: &self)
  }

  private static func isKey(_ known: FieldName, _ name: UnsafeRawBufferPointer) -> Bool {
    let key = bytes("sec-websocket-key")
    return known == .other && name.count == key.count
      && zip(name, key).allSatisfy { $0 | 0x20 == $1 | 0x20 }
  }

  /// Adds `:path`, which is in two pieces.
  private mutating func path(_ forwarding: RequestForwarding) {
    let (prefix, rest) = forwarding.target
    let start = Self.bytes(prefix)
    if start.isEmpty {
      if rest.count == 1 && rest[0] == UInt8(ascii: "/") { return indexed(StaticTable.pathRoot) }
      return field(named: StaticTable.path, rest)
    }
    withUnsafeTemporaryAllocation(byteCount: start.count + rest.count, alignment: 1) { room in
      room.copyMemory(from: start)
      UnsafeMutableRawBufferPointer(rebasing: room[start.count...]).copyMemory(from: rest)
      field(named: StaticTable.path, UnsafeRawBufferPointer(room))
    }
  }
}
