// From the bytes of a field name to its FieldName: the length first, then the first byte, then
// one comparison by words. A name that is not in the list costs at most that one comparison, or
// a few where names share length and first letter.

extension FieldName {
  /// The name that `count` bytes at `name` spell. The bytes must all be token characters (RFC 9110
  /// 5.6.2): the comparison relies on it.
  @inlinable @inline(__always)
  package init(_ name: UnsafeRawPointer, _ count: Int) {
    self = FieldName.recognise(name, count, ByteClass.byte(name, 0) | 0x20)
  }

  /// A candidate if the bytes spell `literal`, `other` if not.
  @inline(__always)
  private static func test(
    _ name: UnsafeRawPointer, _ literal: StaticString, _ candidate: FieldName
  ) -> FieldName {
    ByteClass.equalFolded(name, literal, count: literal.utf8CodeUnitCount) ? candidate : .other
  }

  @usableFromInline
  package static func recognise(
    _ name: UnsafeRawPointer, _ count: Int, _ first: UInt8
  ) -> FieldName {
    let known: FieldName =
      switch count {
      case 2...8: recogniseShort(name, count, first)
      case 9...12: recogniseMedium(name, count, first)
      case 13...25: recogniseLong(name, count, first)
      default: .other
      }
    if known == .other, mayImitate(first: first, count: count) { return imitation(name, count) }
    return known
  }

  @inline(__always)
  private static func recogniseShort(
    _ name: UnsafeRawPointer, _ count: Int, _ first: UInt8
  ) -> FieldName {
    switch (count, first) {
    case (2, 0x74):  // t
      return test(name, "te", .te)
    case (3, 0x61):  // a
      return test(name, "age", .age)
    case (3, 0x76):  // v
      return test(name, "via", .via)
    case (4, 0x64):  // d
      return test(name, "date", .date)
    case (4, 0x65):  // e
      return test(name, "etag", .etag)
    case (4, 0x68):  // h
      return test(name, "host", .host)
    case (4, 0x76):  // v
      return test(name, "vary", .vary)
    case (5, 0x61):  // a
      return test(name, "allow", .allow)
    case (5, 0x72):  // r
      return test(name, "range", .range)
    case (6, 0x61):  // a
      return test(name, "accept", .accept)
    case (6, 0x63):  // c
      return test(name, "cookie", .cookie)
    case (6, 0x65):  // e
      return test(name, "expect", .expect)
    case (6, 0x6F):  // o
      return test(name, "origin", .origin)
    case (6, 0x70):  // p
      return test(name, "pragma", .pragma)
    case (6, 0x73):  // s
      return test(name, "server", .server)
    case (7, 0x65):  // e
      return test(name, "expires", .expires)
    case (7, 0x72):  // r
      return test(name, "referer", .referer)
    case (7, 0x74):  // t
      return test(name, "trailer", .trailer)
    case (7, 0x75):  // u
      return test(name, "upgrade", .upgrade)
    case (8, 0x69):  // i
      if ByteClass.equalFolded(name, "if-match", count: 8) { return .ifMatch }
      return test(name, "if-range", .ifRange)
    case (8, 0x6C):  // l
      return test(name, "location", .location)
    default: return .other
    }
  }

  @inline(__always)
  private static func recogniseMedium(
    _ name: UnsafeRawPointer, _ count: Int, _ first: UInt8
  ) -> FieldName {
    switch (count, first) {
    case (9, 0x66):  // f
      return test(name, "forwarded", .forwarded)
    case (9, 0x78):  // x
      return test(name, "x-real-ip", .xRealIP)
    case (10, 0x63):  // c
      return test(name, "connection", .connection)
    case (10, 0x6B):  // k
      return test(name, "keep-alive", .keepAlive)
    case (10, 0x73):  // s
      return test(name, "set-cookie", .setCookie)
    case (10, 0x74):  // t
      return test(name, "tracestate", .tracestate)
    case (10, 0x75):  // u
      return test(name, "user-agent", .userAgent)
    case (11, 0x72):  // r
      return test(name, "retry-after", .retryAfter)
    case (11, 0x74):  // t
      return test(name, "traceparent", .traceparent)
    case (12, 0x63):  // c
      return test(name, "content-type", .contentType)
    case (12, 0x6D):  // m
      return test(name, "max-forwards", .maxForwards)
    case (12, 0x78):  // x
      return test(name, "x-request-id", .xRequestID)
    default: return .other
    }
  }

  @inline(__always)
  private static func recogniseLong(
    _ name: UnsafeRawPointer, _ count: Int, _ first: UInt8
  ) -> FieldName {
    switch (count, first) {
    case (13, 0x61):  // a
      return test(name, "authorization", .authorization)
    case (13, 0x63):  // c
      if ByteClass.equalFolded(name, "content-range", count: 13) { return .contentRange }
      return test(name, "cache-control", .cacheControl)
    case (13, 0x69):  // i
      return test(name, "if-none-match", .ifNoneMatch)
    case (13, 0x6C):  // l
      return test(name, "last-modified", .lastModified)
    case (14, 0x63):  // c
      return test(name, "content-length", .contentLength)
    case (14, 0x68):  // h
      return test(name, "http2-settings", .http2Settings)
    case (15, 0x61):  // a
      return test(name, "accept-encoding", .acceptEncoding)
    case (15, 0x78):  // x
      return test(name, "x-forwarded-for", .xForwardedFor)
    case (16, 0x63):  // c
      return test(name, "content-encoding", .contentEncoding)
    case (16, 0x70):  // p
      return test(name, "proxy-connection", .proxyConnection)
    case (16, 0x77):  // w
      return test(name, "www-authenticate", .wwwAuthenticate)
    case (16, 0x78):  // x
      if ByteClass.equalFolded(name, "x-forwarded-host", count: 16) { return .xForwardedHost }
      return test(name, "x-forwarded-port", .xForwardedPort)
    case (17, 0x69):  // i
      return test(name, "if-modified-since", .ifModifiedSince)
    case (17, 0x74):  // t
      return test(name, "transfer-encoding", .transferEncoding)
    case (17, 0x78):  // x
      if ByteClass.equalFolded(name, "x-accel-buffering", count: 17) { return .xAccelBuffering }
      return test(name, "x-forwarded-proto", .xForwardedProto)
    case (18, 0x70):  // p
      return test(name, "proxy-authenticate", .proxyAuthenticate)
    case (19, 0x69):  // i
      return test(name, "if-unmodified-since", .ifUnmodifiedSince)
    case (19, 0x70):  // p
      return test(name, "proxy-authorization", .proxyAuthorization)
    case (25, 0x70):  // p
      return test(name, "proxy-authentication-info", .proxyAuthenticationInfo)
    default: return .other
    }
  }
}
