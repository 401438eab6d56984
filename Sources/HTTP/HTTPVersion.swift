// The protocol version of a message, as far as the codecs speak it.

/// A version of HTTP. A higher minor version of HTTP/1 is read as HTTP/1.1 (RFC 9110 2.5).
public enum HTTPVersion: UInt8, Sendable {
  case http10
  case http11
  case http2

  /// How the version is written in Via, where the name is left out (RFC 9110 7.6.3).
  @inlinable
  public var number: StaticString {
    switch self {
    case .http10: "1.0"
    case .http11: "1.1"
    case .http2: "2.0"
    }
  }

  /// How logs write the version.
  @inlinable
  public var name: StaticString {
    switch self {
    case .http10: "HTTP/1.0"
    case .http11: "HTTP/1.1"
    case .http2: "HTTP/2.0"
    }
  }
}
