// Names that a request cannot be believed about, apart from those that have a FieldName of their
// own: what only a proxy in front of the server can know, and spellings that a server may take for
// a field that this proxy writes. Asked only about names that recognition has no case for, and
// only where length and first letter leave a doubt.

extension FieldName {
  /// First letters of the names below, as bits by the letter's place in the alphabet: c, m, p, t, x.
  private static let firstLetters: UInt32 =
    1 << 3 | 1 << 13 | 1 << 16 | 1 << 20 | 1 << 24

  /// Whether an unrecognised name that begins so may be one of those below.
  @inline(__always)
  static func mayImitate(first: UInt8, count: Int) -> Bool {
    count >= 5 && firstLetters & (1 << UInt32(first & 31)) != 0
  }

  /// `untrusted`, `ambiguous` or `other`, for a name that is none of the recognised ones.
  ///
  /// The list is of what servers and their frameworks act on without being told to: X-Forwarded-*
  /// as a whole (Rack, gunicorn, Spring, oauth2-proxy and others read some twenty of them);
  /// Client-IP (Rails), True-Client-IP (chi), X-Client-IP and X-Cluster-Client-IP (request-ip);
  /// X-Original-URL and X-Rewrite-URL, which replace the path that was routed (IIS, Zend; Symfony
  /// until CVE-2018-14773); Proxy, which CGI hands on as HTTP_PROXY (CVE-2016-5385).
  @inline(never)
  static func imitation(_ name: UnsafeRawPointer, _ count: Int) -> FieldName {
    let own: FieldName
    switch count {
    case 5: return judge(name, "proxy", .untrusted)
    case 9:
      own = either(judge(name, "x-real-ip", .xRealIP), judge(name, "client-ip", .untrusted))
    case 11: own = judge(name, "x-client-ip", .untrusted)
    case 12: own = judge(name, "max-forwards", .maxForwards)
    case 13: own = judge(name, "x-rewrite-url", .untrusted)
    case 14:
      own = either(
        either(
          judge(name, "content-length", .contentLength),
          judge(name, "true-client-ip", .untrusted)),
        judge(name, "x-original-url", .untrusted))
    case 17: own = judge(name, "transfer-encoding", .transferEncoding)
    case 19: own = judge(name, "x-cluster-client-ip", .untrusted)
    default: own = .other
    }
    return own == .other ? forwarded(name, count) : own
  }

  /// X-Forwarded, and everything that goes on with a separator behind it.
  private static func forwarded(_ name: UnsafeRawPointer, _ count: Int) -> FieldName {
    let prefix: StaticString = "x-forwarded"
    let length = prefix.utf8CodeUnitCount
    guard count >= length, readsAs(name, prefix),
      count == length || !isAlphanumeric(ByteClass.byte(name, length))
    else { return .other }
    for index in 0..<count {
      let byte = ByteClass.byte(name, index)
      if byte != 0x2D, !isAlphanumeric(byte) { return .ambiguous }
    }
    return .untrusted
  }

  @inline(__always)
  private static func either(_ first: FieldName, _ second: FieldName) -> FieldName {
    first == .other ? second : first
  }

  /// `exact` if the bytes spell the literal, `ambiguous` if a server may read them so.
  private static func judge(
    _ name: UnsafeRawPointer, _ literal: StaticString, _ exact: FieldName
  ) -> FieldName {
    guard readsAs(name, literal) else { return .other }
    let isExact = ByteClass.equalFolded(name, literal, count: literal.utf8CodeUnitCount)
    return isExact ? exact : .ambiguous
  }

  /// Whether the bytes spell the literal once every separator is read as "-". CGI, and what
  /// follows it (FastCGI, WSGI, PSGI, Rack), writes "-" as "_" and so cannot tell the two apart
  /// (RFC 3875 4.1.18); some servers do the same with every byte that is no letter or digit
  /// (lighttpd, Apache httpd before 2.4), so that X.Forwarded.For is one more spelling.
  private static func readsAs(_ name: UnsafeRawPointer, _ literal: StaticString) -> Bool {
    let wanted = literal.utf8Start
    for index in 0..<literal.utf8CodeUnitCount {
      let byte = ByteClass.byte(name, index)
      if wanted[index] == 0x2D {
        if isAlphanumeric(byte) { return false }
      } else if byte | 0x20 != wanted[index] {
        return false
      }
    }
    return true
  }

  @inline(__always)
  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    (byte | 0x20) &- 0x61 < 26 || byte &- 0x30 < 10
  }
}
