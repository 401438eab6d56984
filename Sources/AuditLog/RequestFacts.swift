// RequestFacts lends what is known of an exchange when its request head has been read. It owns no
// memory: every field points into the connection's buffers and is copied out by RecordWriter.

/// The request's share of a record. A field whose base address is nil is left out of the record;
/// one with an address and no bytes is written as an empty string.
public struct RequestFacts {
  /// The client's address and port, as text.
  public var client = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The listener's name.
  public var listener = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The TLS version, such as `TLSv1.3`; nil without TLS.
  public var tlsVersion = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The cipher suite's standard name.
  public var tlsCipher = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The server name that the client asked for (RFC 6066 section 3).
  public var sni = UnsafeRawBufferPointer(start: nil, count: 0)
  /// SHA-256 of the client certificate's DER, 32 raw bytes; written as hexadecimal.
  public var clientCertificate = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The HTTP version, such as `1.1`.
  public var version = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The number of its stream on the client's connection, where that speaks HTTP/2; 0: it does not.
  public var stream: UInt32 = 0
  public var method = UnsafeRawBufferPointer(start: nil, count: 0)
  public var host = UnsafeRawBufferPointer(start: nil, count: 0)
  public var path = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The query without its question mark; nil when the target has none.
  public var query = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Leaves the query's text out and writes `"query_redacted":true` where there was one.
  public var redactsQuery = false
  public var requestID = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The trace identifier (W3C Trace Context, 32 hexadecimal digits).
  public var traceID = UnsafeRawBufferPointer(start: nil, count: 0)

  public init() {}
}
