// ResponseFacts lends what is known of an exchange when its response is about to be released. It
// owns no memory; times that never came about are negative and are left out of the record.

/// The response's share of a record.
public struct ResponseFacts {
  /// The status code, 100 to 999; 0 when no response was made, and then left out.
  public var status: UInt16
  /// Content bytes received from downstream.
  public var requestBytes: UInt64
  /// Content bytes committed to be sent downstream.
  public var responseBytes: UInt64
  /// The upstream server's address, cut at `RecordWriter.upstreamMaximum` bytes; nil if none.
  public var upstream: UnsafeRawBufferPointer
  /// Microseconds spent waiting for an upstream connection, or −1.
  public var queueMicroseconds: Int64
  /// Microseconds to connect upstream, or −1 on a reused connection.
  public var connectMicroseconds: Int64
  /// Microseconds from the request's head to the response's, or −1.
  public var firstByteMicroseconds: Int64
  /// Microseconds from the request's head to the release of this record, or −1.
  public var totalMicroseconds: Int64
  /// How it ended: `complete`, or the distinct reason of an early end. Printable ASCII without
  /// quotes and backslashes, at most `RecordWriter.endingMaximum` bytes.
  public var ending: StaticString

  public init(
    status: UInt16, requestBytes: UInt64, responseBytes: UInt64,
    upstream: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
    queueMicroseconds: Int64 = -1, connectMicroseconds: Int64 = -1,
    firstByteMicroseconds: Int64 = -1, totalMicroseconds: Int64 = -1,
    ending: StaticString = "complete"
  ) {
    self.status = status
    self.requestBytes = requestBytes
    self.responseBytes = responseBytes
    self.upstream = upstream
    self.queueMicroseconds = queueMicroseconds
    self.connectMicroseconds = connectMicroseconds
    self.firstByteMicroseconds = firstByteMicroseconds
    self.totalMicroseconds = totalMicroseconds
    self.ending = ending
  }
}
