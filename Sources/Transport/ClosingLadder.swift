// The end of a connection as a ladder that is only walked down. Each way to the end is a path through
// these steps, whoever begins it.

/// Steps of a connection's end.
public enum ClosingStep: UInt8, Sendable, BitwiseCopyable {
  /// In use.
  case open
  /// Nothing more is read as requests; what is to be sent still leaves.
  case flushing
  /// A reset follows, a moment after what was sent.
  case resetting
  /// Our side is shut down; what the peer still sends is read and dropped, for a while.
  case lingering
  /// Operations in flight are being joined; then the descriptor is closed.
  case joining

  /// Whether a connection may go from this step to another one.
  @inlinable
  public func allows(_ next: ClosingStep) -> Bool {
    switch (self, next) {
    case (.open, .flushing), (.open, .resetting), (.flushing, .lingering): true
    case (.open, .joining), (.flushing, .joining), (.resetting, .joining), (.lingering, .joining):
      true
    default: false
    }
  }
}

/// How far a connection's end has got, and whether it will be seen as a reset.
public struct ClosingLadder: Equatable, Sendable, BitwiseCopyable {
  @usableFromInline var current = ClosingStep.open
  /// True when the close shall be seen as a reset.
  public var resets = false

  @inlinable
  public init() {}

  /// The step that was reached.
  @inlinable @inline(__always)
  public var step: ClosingStep { current }

  /// Goes on to a further step. Which steps follow which is up to this process alone, never to a peer.
  @inlinable @inline(__always)
  public mutating func go(to next: ClosingStep) {
    assert(current.allows(next), "the end of a connection goes from \(current) to \(next)")
    current = next
  }
}
