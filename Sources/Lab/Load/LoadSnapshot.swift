// A look at a run while it runs, for a person who watches.

/// What a load run is doing.
public struct LoadSnapshot: Sendable {
  /// Parts of a run, in their order.
  public enum Phase: String, Sendable {
    /// Connections are made.
    case connecting
    /// Requests are sent, and not counted.
    case warmUp = "warm-up"
    case counting
    /// Nothing new is planned; responses are waited for.
    case finishing
  }

  public var phase = Phase.connecting
  /// Since the warm-up began; 0 before.
  public var elapsedNanoseconds: Int64 = 0
  /// Until the end of the counted part.
  public var nanosecondsLeft: Int64 = 0
  /// Requests that were sent, good responses, and failures, warm-up included.
  public var sent = 0
  public var completed = 0
  public var failed = 0
  /// Good responses per second in the last quarter of a second, and their latency in nanoseconds.
  public var rate = 0.0
  public var p50 = 0
  public var p99 = 0

  public init() {}
}

/// A run that could not be made: what was tried, what happened, what to do.
public struct LoadFailure: Error, Sendable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}
