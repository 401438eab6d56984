// What the façade throws besides what the kernel said.

/// Why the façade, not the kernel, refused an operation.
public enum AsyncEngineFailure: Error, Sendable, Equatable, CustomStringConvertible {
  /// The engine was shut down before the operation could end.
  case ended
  /// The connection, listener or file was closed on this side before the operation could end.
  case closed
  /// A receive is under way on this connection, and there can be only one.
  case receiving
  /// A limit of `AsyncLimits` is reached: its name.
  case busy(limit: String)

  /// What happened, and what to do about it.
  public var description: String {
    switch self {
    case .ended: "the engine has been shut down"
    case .closed: "it has been closed locally"
    case .receiving: "a receive is in progress on this connection; await it first"
    case .busy(let limit):
      "AsyncLimits.\(limit) is reached; await operations in progress, or raise it"
    }
  }
}
