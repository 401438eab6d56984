// The bounds of the façade.

/// Bounds of an `AsyncEngine`: what may be open, waiting or under way.
public struct AsyncLimits: Sendable {
  /// Operations under way; one more throws `AsyncEngineFailure.busy`.
  public var operations = 16_384
  /// Connections open. A listener stops accepting at it (clients wait in the kernel's backlog), a
  /// connect beyond it throws `AsyncEngineFailure.busy`.
  public var connections = 8192
  /// Accepted connections per listener that nobody has taken. With so many the listener stops accepting;
  /// those that the kernel had accepted already are kept.
  public var acceptedWaiting = 64
  /// Sends per connection that wait behind the one under way; one more throws
  /// `AsyncEngineFailure.busy`.
  public var sendsWaiting = 64
  /// File operations handed to the engine at once. Others wait their turn.
  public var fileOperations = 32

  /// The defaults.
  public init() {}
}
