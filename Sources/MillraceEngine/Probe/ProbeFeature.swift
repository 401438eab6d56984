// One thing that was tried, and how it went: a line of the log, of the status page, of `doctor`.

/// What the probe found out about one feature of the ring.
public struct ProbeFeature: Sendable, Equatable {
  /// Whether a feature is used.
  public enum State: String, Sendable {
    /// Tried, and it did what it must.
    case on
    /// Not used: this kernel has it not, or it could not be tried here. The engine does without.
    case off
    /// Tried, and the kernel refused it or did something else.
    case refused
  }

  /// Its name, as operators switch it and logs show it.
  public let name: String
  /// How it went.
  public let state: State
  /// Why it is not on; empty if it is.
  public let cause: String
}
