// The protocol version that a start line carries, as far as this codec speaks it.

/// A version of HTTP/1. A higher minor version is read as HTTP/1.1 (RFC 9110 2.5).
public enum HTTPVersion: UInt8, Sendable {
  case http10
  case http11
}
