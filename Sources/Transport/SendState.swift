// The sending half of a socket: at most one send is in flight.

/// What the sending half of a socket is doing.
public enum SendState: Equatable, Sendable, BitwiseCopyable {
  /// Nothing is in flight.
  case idle
  /// A send of this many bytes is in flight. `progress` is how far it had got when it was last looked
  /// at, as `Engine.sendProgress` says it; `.min`: it was not looked at yet.
  case inFlight(bytes: Int, progress: Int)

  /// True exactly while a send is in flight.
  @inlinable @inline(__always)
  public var isInFlight: Bool {
    if case .inFlight = self { true } else { false }
  }

  /// Bytes of the send in flight; 0 without one.
  @inlinable @inline(__always)
  public var bytes: Int {
    if case .inFlight(let bytes, _) = self { bytes } else { 0 }
  }

  /// Takes note of how far the send in flight has got. - Returns: whether that is further than before.
  @inlinable
  mutating func note(progress: Int) -> Bool {
    guard case .inFlight(let bytes, let before) = self, progress > before else { return false }
    self = .inFlight(bytes: bytes, progress: progress)
    return true
  }
}
