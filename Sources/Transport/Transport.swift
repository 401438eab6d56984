// One socket: what is in flight in each direction, what waits to leave, what came too early, and how
// far its end has got. What the bytes mean is its owner's. Nothing here calls the owner: methods do
// one step with the engine that they are lent, and return what happened.

public import MillraceEngine

/// One connected or connecting stream socket.
public struct Transport: ~Copyable {
  /// `none` once it is closed.
  public var socket: Descriptor
  @usableFromInline var receiveState = ReceiveState.idle
  @usableFromInline var sendState = SendState.idle
  @usableFromInline var ladder = ClosingLadder()
  /// How the next receive reads.
  public var mode = ReceiveMode.stream
  /// True while whoever consumes the input wants no more.
  public var paused = false
  /// True once the peer has ended its side within the protocol above the socket (TLS close_notify):
  /// there will be no more input, whatever the socket brings.
  public var peerHasFinished = false
  /// How far the end of our side has got, where that comes before the connection's.
  @usableFromInline var ownEnd = OwnEnd.none
  /// True while the owner's timer wheel is to look at the connection soon.
  public var isWatched = false
  /// The TLS session, in its slot; nil: what is sent and received is plain.
  public internal(set) var tls: UnsafeMutablePointer<TLSChannel>?
  /// What leaves next.
  public var unsent = SendBuffer()
  /// Input that could not be used yet.
  public var unread = InputBuffer()
  /// Monotonic nanoseconds at which the current phase has lasted too long; Int64.max: never.
  public var deadline = Int64.max

  /// A transport over a socket that is connected, or is being connected.
  @inlinable
  public init(socket: Descriptor, connecting: Bool = false) {
    self.socket = socket
    if connecting { receiveState = .connecting }
  }

  /// Steps of the end of our side alone.
  @usableFromInline enum OwnEnd: UInt8, BitwiseCopyable {
    case none
    /// close_notify waits to leave.
    case saying
    case done
  }

  // MARK: What is known

  /// What the receiving half is doing.
  @inlinable @inline(__always)
  public var receive: ReceiveState { receiveState }
  /// What the sending half is doing.
  @inlinable @inline(__always)
  public var send: SendState { sendState }
  /// The step that the end of the connection has reached.
  @inlinable @inline(__always)
  public var closing: ClosingStep { ladder.step }
  /// True exactly while a receive or a connect is in flight.
  @inlinable @inline(__always)
  public var receiving: Bool { receive.isInFlight }
  /// True exactly while a send is in flight.
  @inlinable @inline(__always)
  public var sending: Bool { send.isInFlight }
  /// True when no more input will come.
  @inlinable @inline(__always)
  public var readClosed: Bool { receive.hasEnded || peerHasFinished }
  /// 0, or the negated errno that the stream has ended with.
  @inlinable
  public var endResult: Int32 {
    if case .ended(let result) = receive { result } else { 0 }
  }
  /// Bytes that the peer has still to take.
  @inlinable @inline(__always)
  public var outstanding: Int { send.bytes + unsent.count }
  /// True when there is nothing that the peer has still to take.
  @inlinable @inline(__always)
  public var isIdle: Bool { !sending && unsent.isEmpty }
  /// True once nothing is in flight any more on a connection that is being joined.
  @inlinable @inline(__always)
  public var isJoined: Bool {
    socket.isValid && closing == .joining && !receiving && !sending
  }
}
