// How the end of a message's content is found.

/// The framing of a message's content (RFC 9112 6).
public enum BodyFraming: Equatable, Sendable {
  /// No content: the message ends with its head.
  case none
  /// As many bytes as Content-Length says, 0...2⁶³ − 1.
  case length(UInt64)
  /// The chunked transfer coding (RFC 9112 7.1).
  case chunked
  /// A response that ends with its connection (RFC 9112 6.3 rule 8).
  case untilClose
}
