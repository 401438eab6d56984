// HPACK's static table (RFC 7541, appendix A): its fields, for reading, and where a name stands in it, for
// writing.

import HTTP

enum StaticTable {
  static var count: Int { 61 }

  /// The fields by index less 1.
  // SAFETY: written once, before it is published, and never freed; literals outlive everything.
  nonisolated(unsafe) static let fields: UnsafePointer<TableField> = {
    let fields = UnsafeMutablePointer<TableField>.allocate(capacity: count)
    for (index, (name, value)) in literals.enumerated() {
      (fields + index).initialize(
        to: TableField(
          name: name.utf8Start, nameCount: name.utf8CodeUnitCount,
          value: value.utf8Start, valueCount: value.utf8CodeUnitCount))
    }
    return UnsafePointer(fields)
  }()

  private static let literals: [(StaticString, StaticString)] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
  ]

  /// `:status` with a value of its own: 200, 204, 206, 304, 400, 404, 500.
  static func index(ofStatus status: UInt16) -> UInt8? {
    switch status {
    case 200: 8
    case 204: 9
    case 206: 10
    case 304: 11
    case 400: 12
    case 404: 13
    case 500: 14
    default: nil
    }
  }

  /// The first entry of a pseudo-field.
  static var authority: UInt8 { 1 }
  static var methodGET: UInt8 { 2 }
  static var methodPOST: UInt8 { 3 }
  static var path: UInt8 { 4 }
  static var pathRoot: UInt8 { 4 }
  static var schemeHTTP: UInt8 { 6 }
  static var schemeHTTPS: UInt8 { 7 }
  static var status: UInt8 { 8 }

  /// The entry of a name, or 0: it is in none.
  @inline(__always)
  static func index(of name: FieldName) -> UInt8 { names[Int(name.rawValue)] }

  /// By `FieldName.rawValue`.
  private static let names: InlineArray<64, UInt8> = {
    var table = InlineArray<64, UInt8>(repeating: 0)
    let entries: [(FieldName, UInt8)] = [
      (.acceptEncoding, 16), (.accept, 19), (.age, 21), (.allow, 22), (.authorization, 23),
      (.cacheControl, 24), (.contentEncoding, 26), (.contentLength, 28), (.contentRange, 30),
      (.contentType, 31), (.cookie, 32), (.date, 33), (.etag, 34), (.expect, 35), (.expires, 36),
      (.host, 38), (.ifMatch, 39), (.ifModifiedSince, 40), (.ifNoneMatch, 41), (.ifRange, 42),
      (.ifUnmodifiedSince, 43), (.lastModified, 44), (.location, 46), (.maxForwards, 47),
      (.proxyAuthenticate, 48), (.proxyAuthorization, 49), (.range, 50), (.referer, 51),
      (.retryAfter, 53), (.server, 54), (.setCookie, 55), (.transferEncoding, 57),
      (.userAgent, 58), (.vary, 59), (.via, 60), (.wwwAuthenticate, 61),
    ]
    for (name, index) in entries { table[Int(name.rawValue)] = index }
    return table
  }()
}
