// The receiving half of a socket: at most one operation is in flight, and its terminal completion is
// what changes the state back.

public import Glibc
public import MillraceEngine

/// What the receiving half of a socket is doing.
public enum ReceiveState: Equatable, Sendable {
  /// Nothing is in flight.
  case idle
  /// The socket is being connected: nothing can be received before that has ended.
  case connecting
  /// A receive is in flight.
  case armed(ReceiveMode)
  /// Its bytes are relayed to another socket: `to` is what the owner calls that one.
  case relaying(to: UInt32)
  /// A receive or a connect is in flight and has been asked to end.
  case stopping
  /// The stream has ended: 0, or the negated errno of the last receive.
  case ended(Int32)

  /// True exactly while an operation is in flight.
  @inlinable @inline(__always)
  public var isInFlight: Bool {
    switch self {
    case .idle, .ended: false
    case .connecting, .armed, .relaying, .stopping: true
    }
  }

  /// True after end of stream or an error of the receive.
  @inlinable @inline(__always)
  public var hasEnded: Bool {
    if case .ended = self { true } else { false }
  }

  @inlinable @inline(__always)
  public var isIdle: Bool {
    if case .idle = self { true } else { false }
  }

  /// Takes note of a completion of the receive in flight. One that was stopped may start again; an
  /// end of stream or an error is the last of it.
  @inlinable @inline(__always)
  mutating func note(_ completion: Completion) {
    guard completion.isTerminal else { return }
    self =
      completion.hasBytes || completion.result == -ECANCELED ? .idle : .ended(completion.result)
  }

  /// Takes note that the relay has ended: 0, ECANCELED, or an errno of this side. An end of the other side,
  /// or for want of memory, is none of this stream.
  @inlinable
  mutating func noteRelay(_ completion: Completion) {
    if completion.result >= 0 {
      self = .ended(0)
    } else {
      self = completion.isLostRelay ? .ended(completion.result) : .idle
    }
  }
}
