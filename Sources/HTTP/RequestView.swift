// A request head as any protocol gives it: three words that point at the head's parts and its bytes.
// Nothing is copied, retained or allocated to make one, and nothing in it is HTTP/1.1 wire text.
//
// TRAP: (file) indices are counted to `fieldCount` by callers.

/// A borrowed view of a request head.
///
/// It is valid for as long as the head that gave it is not parsed anew and the bytes stay where they
/// are; `OwnedHead` keeps a head for longer.
public struct RequestView {
  @usableFromInline package let base: UnsafeRawPointer
  @usableFromInline package let parts: UnsafePointer<RequestParts>

  /// - Parameter base: the bytes that the parts were made from, `length` of them at least.
  @inlinable @inline(__always)
  package init(base: UnsafeRawPointer, parts: UnsafePointer<RequestParts>) {
    self.base = base
    self.parts = parts
  }

  /// All bytes of the head.
  @inlinable public var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base, count: parts.pointee.length)
  }

  /// The bytes of a range that this view gave.
  // SAFETY: ranges of a head lie within its bytes; the codecs see to it.
  @inlinable @inline(__always)
  public func slice(_ range: ByteRange) -> UnsafeRawBufferPointer {
    assert(Int(range.end) <= parts.pointee.length, "not a range of this head")
    return UnsafeRawBufferPointer(start: base + Int(range.start), count: Int(range.count))
  }

  // MARK: Control data (RFC 9110 6.2)

  @inlinable public var method: HTTPMethod { parts.pointee.method }
  /// The method as received.
  @inlinable public var methodName: UnsafeRawBufferPointer { slice(parts.pointee.methodRange) }
  /// The version of the hop that the request came over.
  @inlinable public var version: HTTPVersion { parts.pointee.version }
  /// The request target as received; of HTTP/2 the path with its query, or the authority of CONNECT.
  @inlinable public var target: UnsafeRawBufferPointer { slice(parts.pointee.targetRange) }
  @inlinable public var targetForm: TargetForm { parts.pointee.target.form }
  /// The path of an origin or absolute form; empty in an absolute form without one, which means "/"
  /// (for OPTIONS "*", RFC 9112 3.2.4), and in the other two forms.
  @inlinable public var path: UnsafeRawBufferPointer { slice(parts.pointee.target.path) }
  /// What follows the first "?"; may be empty where `hasQuery`.
  @inlinable public var query: UnsafeRawBufferPointer { slice(parts.pointee.target.query) }
  @inlinable public var hasQuery: Bool { parts.pointee.target.hasQuery }
  /// Whether an absolute form, or `:scheme`, names https.
  @inlinable public var targetIsHTTPS: Bool { parts.pointee.target.isHTTPS }
  /// The authority that the request is for: of the target where it has one, of `:authority`, else of
  /// Host; empty only in HTTP/1.0 without either (RFC 9112 3.2.2).
  @inlinable public var authority: UnsafeRawBufferPointer { slice(parts.pointee.authority) }
  /// The host of `authority` without its port; an IP literal keeps its brackets.
  @inlinable public var host: UnsafeRawBufferPointer { slice(parts.pointee.host) }
  /// The port of `authority`, or nil if it names none.
  @inlinable public var port: UInt16? { parts.pointee.port }

  // MARK: What the fields mean

  @inlinable public var content: ContentExtent { parts.pointee.content }
  /// Whether the sender waits for a 100 before it sends the content (RFC 9110 10.1.1).
  @inlinable public var expectsContinue: Bool { parts.pointee.expectsContinue }
  /// Whether TE lists `trailers` (RFC 9110 10.1.4).
  @inlinable public var acceptsTrailers: Bool { parts.pointee.acceptsTrailers }
  /// Whether the sender offers to switch to another protocol: by Upgrade where it means this hop, which
  /// HTTP/1.1 alone has (RFC 9110 7.8), or by an extended CONNECT of HTTP/2 (RFC 8441 4).
  @inlinable public var offersUpgrade: Bool { parts.pointee.offersUpgrade }
  /// Whether it is an extended CONNECT: what `:protocol` names is asked for as if by Upgrade.
  @inlinable public var isExtendedConnect: Bool { !parts.pointee.connectProtocol.isEmpty }

  // MARK: Field lines

  @inlinable package var fields: FieldTable { parts.pointee.fields }
  @inlinable public var fieldCount: Int { parts.pointee.fields.count }
  /// The recognised names that the head holds.
  @inlinable public var presentFields: FieldSet { parts.pointee.fields.present }
  /// The recognised names that came more than once.
  @inlinable public var repeatedFields: FieldSet { parts.pointee.fields.repeated }
  /// The field line at `index`, in the order received; traps outside `0..<fieldCount`.
  @inlinable @inline(__always)
  public func field(_ index: Int) -> FieldLine { parts.pointee.fields.line(index) }
  /// The first field line of this name.
  @inlinable public func first(_ known: FieldName) -> FieldLine? {
    parts.pointee.fields.first(known)
  }
}
