// What the head of a message says, as places in its bytes: the memory that a view reads. A codec
// fills it while it parses; it knows nothing of how the head looked on the wire.

/// The parts of a request head. Plain memory: copying it copies no bytes and no lines.
@usableFromInline
package struct RequestParts {
  @usableFromInline package var method = HTTPMethod.other
  @usableFromInline package var version = HTTPVersion.http11
  @usableFromInline package var expectsContinue = false
  @usableFromInline package var acceptsTrailers = false
  @usableFromInline package var offersUpgrade = false
  @usableFromInline package var content = ContentExtent.none
  @usableFromInline package var methodRange = ByteRange.empty
  /// The request target as received.
  @usableFromInline package var targetRange = ByteRange.empty
  @usableFromInline package var target = RequestTarget()
  /// `:protocol` of an extended CONNECT (RFC 8441 4); else empty.
  @usableFromInline package var connectProtocol = ByteRange.empty
  @usableFromInline package var authority = ByteRange.empty
  @usableFromInline package var host = ByteRange.empty
  @usableFromInline package var port: UInt16?
  /// Bytes of the head.
  @usableFromInline package var length = 0
  @usableFromInline package var fields: FieldTable

  package init(fields: FieldTable) { self.fields = fields }

  /// A cell of its own with a table for `fieldCapacity` lines, 1...65535; `release` frees it.
  package static func allocate(fieldCapacity: Int) -> UnsafeMutablePointer<RequestParts> {
    let cell = UnsafeMutablePointer<RequestParts>.allocate(capacity: 1)
    cell.initialize(to: RequestParts(fields: FieldTable(allocating: fieldCapacity)))
    return cell
  }

  package static func release(_ cell: UnsafeMutablePointer<RequestParts>) {
    cell.pointee.fields.deallocate()
    cell.deallocate()
  }
}

/// The parts of a response head.
@usableFromInline
package struct ResponseParts {
  @usableFromInline package var status: UInt16 = 0
  @usableFromInline package var version = HTTPVersion.http11
  /// What the head declares, without regard to status and request method.
  @usableFromInline package var declared = ContentExtent.unknown
  /// The reason phrase; may be empty.
  @usableFromInline package var reason = ByteRange.empty
  /// Bytes of the head.
  @usableFromInline package var length = 0
  @usableFromInline package var fields: FieldTable

  package init(fields: FieldTable) { self.fields = fields }

  /// A cell of its own with a table for `fieldCapacity` lines, 1...65535; `release` frees it.
  package static func allocate(fieldCapacity: Int) -> UnsafeMutablePointer<ResponseParts> {
    let cell = UnsafeMutablePointer<ResponseParts>.allocate(capacity: 1)
    cell.initialize(to: ResponseParts(fields: FieldTable(allocating: fieldCapacity)))
    return cell
  }

  package static func release(_ cell: UnsafeMutablePointer<ResponseParts>) {
    cell.pointee.fields.deallocate()
    cell.deallocate()
  }
}
