// The bounds of holding a response for its end, where it waits for its audit record.

enum ResponseHold {
  /// Bytes of content above which a response is no longer small. Half of the low watermark: with any
  /// head, what is held does not pause the server.
  static let contentBytes = 65_536
  /// Bytes that one worker holds at most; beyond that a response begins at once, and is counted. The
  /// same as the records that wait for the disk may take.
  static let workerBytes = 16 << 20
}
