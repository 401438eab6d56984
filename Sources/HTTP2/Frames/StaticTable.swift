// Where a field name stands in HPACK's static table (RFC 7541, appendix A).

import HTTP

enum StaticTable {
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
