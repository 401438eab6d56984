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

  /// Adds the head that accepts an extended CONNECT, from a server's 101 (RFC 8441 5).
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
