// Bytes that pass from one transport to another without being seen: to the one it is its receive, to the
// other its send, and one completion ends both.

public import Glibc
public import MillraceEngine

extension Transport {
  /// Whether a relay may begin from here: nothing is being received, nothing waits to be used, and there
  /// is more to come.
  @inlinable
  public var canBeRelayed: Bool {
    receive.isIdle && closing == .open && unread.isEmpty && tls == nil && !peerHasFinished
  }

  /// Whether a relay may begin to here: what was sent before it has left.
  @inlinable
  public var canTakeRelay: Bool { isIdle && closing == .open && tls == nil && ownEnd == .none }

  /// Begins a relay to another transport, which lasts until the input ends, it is finished, or a side
  /// fails.
  /// - Parameters:
  ///   - other: what this transport's owner calls the other one.
  /// - Precondition: `canBeRelayed`, and `canTakeRelay` of the other one.
  @inlinable
  public mutating func relay<E: Engine & ~Copyable>(
    to sink: inout Transport, _ other: UInt32, _ token: Token, _ engine: inout E
  ) {
    assert(canBeRelayed && sink.canTakeRelay, "a relay beside a receive or a send")
    receiveState = .relaying(to: other)
    sink.sendState = .relayed(progress: .min)
    engine.relay(from: socket, to: sink.socket, count: .max, .splice, token)
  }

  /// Asks a relay from here to end without a loss.
  @inlinable
  public func finishRelay<E: Engine & ~Copyable>(_ engine: inout E) {
    if case .relaying = receiveState { engine.finishRelay(from: socket) }
  }

  /// What the owner calls the transport to which this one is relayed; nil: there is no relay.
  @inlinable
  public var relayTarget: UInt32? {
    if case .relaying(let other) = receiveState { other } else { nil }
  }

  /// Takes note that a relay from here has ended. The sink takes note by `sent`.
  @inlinable
  public mutating func relayEnded(_ completion: Completion) { receiveState.noteRelay(completion) }
}

extension Completion {
  /// Of the terminal completion of a relay: whether the stream from its source has ended with this errno.
  /// A relay that could not begin, for want of a pipe or because the kernel splices no such sockets, has
  /// lost nothing.
  @inlinable
  public var isLostRelay: Bool {
    guard result < 0, !isOfSink else { return false }
    switch -result {
    case ECANCELED, ENOBUFS, ENOMEM, EMFILE, ENFILE, EINVAL, EOPNOTSUPP: return false
    default: return true
    }
  }
}
