// The sending half of a socket: at most one send is in flight, or one relay from another socket.

/// What the sending half of a socket is doing.
public enum SendState: Equatable, Sendable, BitwiseCopyable {
  /// Nothing is in flight.
  case idle
  /// A send of this many bytes is in flight. `progress` is how far it had got when it was last looked
  /// at, as `Engine.sendProgress` says it; `.min`: it was not looked at yet.
  case inFlight(bytes: Int, progress: Int)
  /// Another socket's bytes are relayed to it. `progress` as with a send.
  case relayed(progress: Int)

  /// True exactly while a send or a relay is in flight.
  @inlinable @inline(__always)
  public var isInFlight: Bool {
    if case .idle = self { false } else { true }
  }
  @inlinable @inline(__always)
  public var isRelayed: Bool {
    if case .relayed = self { true } else { false }
  }

  /// Bytes of the send in flight; 0 without one.
  @inlinable @inline(__always)
  public var bytes: Int {
    if case .inFlight(let bytes, _) = self { bytes } else { 0 }
  }

  /// Takes note of how far the send in flight has got. - Returns: whether that is further than before.
  @inlinable
  mutating func note(progress: Int) -> Bool {
    switch self {
    case .inFlight(let bytes, let before) where progress > before:
      self = .inFlight(bytes: bytes, progress: progress)
    case .relayed(let before) where progress > before: self = .relayed(progress: progress)
    default: return false
    }
    return true
  }
}
