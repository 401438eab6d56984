// The request target taken apart (RFC 9112 3.2). It splits and checks, and decodes nothing: what
// is forwarded is what was received.

/// The four forms of a request target (RFC 9112 3.2.1 to 3.2.4).
public enum TargetForm: UInt8, Sendable {
  case origin, absolute, authority, asterisk
}

@usableFromInline
package struct RequestTarget {
  @usableFromInline package var form = TargetForm.origin
  @usableFromInline package var path = ByteRange.empty
  @usableFromInline package var query = ByteRange.empty
  @usableFromInline package var hasQuery = false
  /// The authority of an absolute or authority form, else empty.
  @usableFromInline package var authority = ByteRange.empty
  @usableFromInline package var host = ByteRange.empty
  @usableFromInline package var port: UInt16?
  @usableFromInline package var isHTTPS = false

  @usableFromInline
  package init() {}

  /// Takes apart `range`, all of whose bytes are of the target class; nil if it is of no form that
  /// `method` allows.
  @inlinable @inline(__always)
  package init?(_ range: ByteRange, method: HTTPMethod, _ base: UnsafeRawPointer) {
    let start = Int(range.start)
    let end = Int(range.end)
    guard start < end else { return nil }
    if ByteClass.byte(base, start) == 0x2F, method != .connect {  // "/"
      split(start, end, base)
      return
    }
    guard readRare(range, method: method, base) else { return nil }
  }

  /// Every form but the origin form.
  @usableFromInline
  mutating func readRare(
    _ range: ByteRange, method: HTTPMethod, _ base: UnsafeRawPointer
  ) -> Bool {
    let start = Int(range.start)
    let end = Int(range.end)
    if method == .connect {
      form = .authority
      // RFC 9112 3.2.3: host and port, and the port is not optional.
      return readAuthority(range, base) && port != nil
    }
    if range.count == 1, ByteClass.byte(base, start) == 0x2A {  // "*"
      form = .asterisk
      return method == .options
    }
    form = .absolute
    let authorityStart: Int
    if range.count > 7, ByteClass.equalFolded(base + start, "http", count: 4),
      ByteClass.equal(base + start + 4, "://", count: 3)
    {
      authorityStart = start + 7
    } else if range.count > 8, ByteClass.equalFolded(base + start, "https", count: 5),
      ByteClass.equal(base + start + 5, "://", count: 3)
    {
      authorityStart = start + 8
      isHTTPS = true
    } else {
      return false
    }
    var authorityEnd = authorityStart
    while authorityEnd < end {
      let byte = ByteClass.byte(base, authorityEnd)
      if byte == 0x2F || byte == 0x3F { break }
      authorityEnd += 1
    }
    split(authorityEnd, end, base)
    return readAuthority(ByteRange(from: authorityStart, to: authorityEnd), base)
  }

  private mutating func readAuthority(_ range: ByteRange, _ base: UnsafeRawPointer) -> Bool {
    guard let parsed = Authority(range, base) else { return false }
    authority = range
    host = parsed.host
    port = parsed.port
    return true
  }

  /// Parts path and query at the first "?".
  @inlinable @inline(__always)
  mutating func split(_ start: Int, _ end: Int, _ base: UnsafeRawPointer) {
    var position = start
    while position < end, ByteClass.byte(base, position) != 0x3F { position &+= 1 }
    path = ByteRange(from: start, to: position)
    guard position < end else { return }
    hasQuery = true
    query = ByteRange(from: position &+ 1, to: end)
  }
}
