// A response head as any protocol gives it; the counterpart of RequestView.
//
// TRAP: (file) indices are counted to `fieldCount` by callers.

/// A borrowed view of a response head, valid like a `RequestView`.
public struct ResponseView {
  @usableFromInline let base: UnsafeRawPointer
  @usableFromInline let parts: UnsafePointer<ResponseParts>

  /// - Parameter base: the bytes that the parts were made from, `length` of them at least.
  @inlinable @inline(__always)
  package init(base: UnsafeRawPointer, parts: UnsafePointer<ResponseParts>) {
    self.base = base
    self.parts = parts
  }

  /// The bytes of a range that this view gave.
  // SAFETY: ranges of a head lie within its bytes; the codecs see to it.
  @inlinable @inline(__always)
  public func slice(_ range: ByteRange) -> UnsafeRawBufferPointer {
    assert(Int(range.end) <= parts.pointee.length, "not a range of this head")
    return UnsafeRawBufferPointer(start: base + Int(range.start), count: Int(range.count))
  }

  /// All bytes of the head.
  @inlinable public var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base, count: parts.pointee.length)
  }

  /// The status code, 100...999.
  @inlinable public var status: UInt16 { parts.pointee.status }
  /// The reason phrase as received; empty in HTTP/2, which has none.
  @inlinable public var reason: UnsafeRawBufferPointer { slice(parts.pointee.reason) }
  /// The version of the hop that the response came over.
  @inlinable public var version: HTTPVersion { parts.pointee.version }
  /// Whether this is an interim response, which another head follows (RFC 9110 15.2).
  @inlinable public var isInterim: Bool { parts.pointee.status < 200 }

  /// The content of this response to a request with this method (RFC 9110 6.4.1). A successful
  /// response to CONNECT has none: what follows it is the tunnel.
  @inlinable
  public func content(for method: HTTPMethod) -> ContentExtent {
    let status = parts.pointee.status
    if method == .head || status < 200 || status == 204 || status == 304 { return .none }
    if method == .connect, status < 300 { return .none }
    return parts.pointee.declared
  }

  @inlinable package var fields: FieldTable { parts.pointee.fields }
  @inlinable public var fieldCount: Int { parts.pointee.fields.count }
  /// The recognised names that the head holds.
  @inlinable public var presentFields: FieldSet { parts.pointee.fields.present }
  /// The field line at `index`, in the order received; traps outside `0..<fieldCount`.
  @inlinable @inline(__always)
  public func field(_ index: Int) -> FieldLine { parts.pointee.fields.line(index) }
  /// The first field line of this name.
  @inlinable public func first(_ known: FieldName) -> FieldLine? {
    parts.pointee.fields.first(known)
  }
}
