// The request methods that the proxy treats by name. Any other token is a valid method (RFC 9110
// 9.1) and is `other`: it is forwarded as received and promises neither safety nor idempotence.

/// A request method (RFC 9110 9.3; PATCH from RFC 5789). Method names are case-sensitive.
public enum HTTPMethod: UInt8, Sendable {
  case other, get, head, post, put, delete, options, patch, trace, connect

  /// Whether repeating the request has the effect of sending it once (RFC 9110 9.2.2), so that it
  /// may be tried again on another connection.
  @inlinable
  public var isIdempotent: Bool {
    switch self {
    case .get, .head, .put, .delete, .options, .trace: true
    case .other, .post, .patch, .connect: false
    }
  }

  /// Whether the request asks for no change of state at the origin (RFC 9110 9.2.1).
  @inlinable
  public var isSafe: Bool {
    switch self {
    case .get, .head, .options, .trace: true
    case .other, .post, .put, .delete, .patch, .connect: false
    }
  }

  /// The method that `count` bytes at `name` spell.
  @inlinable @inline(__always)
  package init(_ name: UnsafeRawPointer, _ count: Int) {
    switch count {
    case 3:
      if ByteClass.equal(name, "GET", count: 3) {
        self = .get
      } else {
        self = ByteClass.equal(name, "PUT", count: 3) ? .put : .other
      }
    case 4:
      if ByteClass.equal(name, "POST", count: 4) {
        self = .post
      } else {
        self = ByteClass.equal(name, "HEAD", count: 4) ? .head : .other
      }
    case 5:
      if ByteClass.equal(name, "PATCH", count: 5) {
        self = .patch
      } else {
        self = ByteClass.equal(name, "TRACE", count: 5) ? .trace : .other
      }
    case 6: self = ByteClass.equal(name, "DELETE", count: 6) ? .delete : .other
    case 7:
      if ByteClass.equal(name, "OPTIONS", count: 7) {
        self = .options
      } else {
        self = ByteClass.equal(name, "CONNECT", count: 7) ? .connect : .other
      }
    default: self = .other
    }
  }
}
