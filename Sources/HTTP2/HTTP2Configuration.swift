// What a session is made with: the side that it is, the settings that it announces, and the bounds
// of its queues. Everything that a session will hold beside nghttp2's own is sized from it.

/// Settings and bounds of a session.
public struct HTTP2Configuration: Sendable {
  public enum Side: Sendable { case client, server }

  public var side: Side
  /// Streams that may be open at once: what a server announces (SETTINGS_MAX_CONCURRENT_STREAMS),
  /// and what a client opens at most, whatever the server allows.
  public var concurrentStreams = 128
  /// Bytes that the peer may send on a stream before it must wait (SETTINGS_INITIAL_WINDOW_SIZE),
  /// at most 2³¹ − 1. The protocol's own default, 65,535, stalls a 100 µs path at 5 Gbit/s.
  public var streamWindow = 1_048_576
  /// The same for the whole connection.
  public var connectionWindow = 16_777_216
  /// Bytes of a head that is accepted: names, values and 32 per field, as
  /// SETTINGS_MAX_HEADER_LIST_SIZE counts. A larger one comes as an event that says so.
  public var headBytes = 16_384
  /// Fields of a head that is accepted.
  public var headFields = 128
  /// Whether heads are kept to be read. A client that only wants the status saves the copy.
  public var keepsFields = true
  /// Whether windows open by `consume` rather than by themselves: where content is passed on, a slow
  /// receiver must stop its sender.
  public var consumesByHand = false

  public init(_ side: Side) { self.side = side }
}
