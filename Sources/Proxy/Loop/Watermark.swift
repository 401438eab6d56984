// How much of a message waits for a slow peer, and for how long a closing connection is waited for.

/// Bounds of the relay.
enum Watermark {
  /// Remaining content from which a body is read in large buffers. A smaller one arrives within
  /// two or three bursts of small ones, which a change of mode would only delay.
  static let largeBody: UInt64 = 32_768
  /// What a lingering close reads and drops at most, in bytes: an upload that was refused goes on
  /// for a while before its sender looks at the answer.
  static let lingerBytes = 67_108_864
  /// How long a lingering close waits for the peer's end, in nanoseconds; nginx's
  /// lingering_timeout is the same.
  static let lingerNanoseconds: Int64 = 5_000_000_000
}
