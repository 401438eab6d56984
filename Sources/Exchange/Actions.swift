// What an event asks of the driver: a set of effects and the two numbers that go with them. Plain
// bits in two registers; nothing in it has to be kept or freed.

/// The effects of one event.
///
/// The driver executes them at once and in the order in which they are declared. If one of them
/// fails, it leaves the rest out and reports that as the next event. Behind an effect that ends the exchange
/// (`isLast`) there is no further event. A pause ends without a `resume` where nothing is left to be
/// read for the exchange: when its upstream is released for good, and at the end of a tunnel's direction.
public struct Actions: BitwiseCopyable, Equatable, Sendable {
  /// A set, joined by `|`. Not an `OptionSet`: its array literals are arrays, and allocated, where the
  /// compiler does not specialise them (2,900 of 3,070 instructions of a plain GET's events).
  public struct Effects: BitwiseCopyable, Hashable, Sendable {
    public let rawValue: UInt64
    @inlinable @inline(__always)
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable @inline(__always)
    init(_ bit: UInt64) { rawValue = 1 &<< bit }
    @inlinable @inline(__always)
    public static func | (a: Effects, b: Effects) -> Effects {
      Effects(rawValue: a.rawValue | b.rawValue)
    }
    @inlinable
    public static var none: Effects { Effects(rawValue: 0) }

    // MARK: Counting and logging

    /// A request was received.
    @inlinable
    public static var countRequest: Effects { Effects(0) }
    /// Count `Failure(failure).metrics`.
    @inlinable
    public static var count: Effects { Effects(1) }
    /// A connect was given up by its timer: counted beside the failure, since an errno may say
    /// ETIMEDOUT as well.
    @inlinable
    public static var countTimeout: Effects { Effects(2) }
    @inlinable
    public static var countRetry: Effects { Effects(3) }
    /// A pooled connection proved useless before its request had left.
    @inlinable
    public static var countStale: Effects { Effects(4) }
    /// A refusal that found no room in the audit log, and is sent unrecorded.
    @inlinable
    public static var countAuditReject: Effects { Effects(5) }
    /// Log that the exchange fails of `failure`.
    @inlinable
    public static var log: Effects { Effects(6) }

    // MARK: Before a server is asked

    /// Claim room in the audit log; answered by a `room` event.
    @inlinable
    public static var claimRoom: Effects { Effects(7) }
    /// The same for a record that says who was refused and no more.
    @inlinable
    public static var claimRefusalRoom: Effects { Effects(8) }
    /// Keep the head, pause the downstream, and claim again when there may be room.
    @inlinable
    public static var waitForRoom: Effects { Effects(9) }
    /// Ask the policies and the router; answered by `routed` or `replyLocally`.
    @inlinable
    public static var route: Effects { Effects(10) }

    // MARK: The upstream connection

    /// The exchange is done with its upstream connection, or with its place in the queue for one.
    @inlinable
    public static var releaseUpstream: Effects { Effects(11) }
    /// With `releaseUpstream`: the connection may serve another request; else it is closed.
    @inlinable
    public static var keepUpstream: Effects { Effects(12) }
    /// Get a connection; answered by an `upstream` event or `attachFailed`.
    @inlinable
    public static var attach: Effects { Effects(13) }
    /// With `attach`: another server than the last one, where there are several.
    @inlinable
    public static var avoidServer: Effects { Effects(14) }
    /// With `attach`: no pooled connection; it may be as stale as the one that just failed.
    @inlinable
    public static var newConnection: Effects { Effects(15) }
    /// With `attach`: what the last connection had not sent goes first.
    @inlinable
    public static var carryUnsent: Effects { Effects(16) }
    /// With `attach`: the copy of the request goes first. Reported by `requestWritten`.
    @inlinable
    public static var carryCopy: Effects { Effects(17) }
    /// No more content follows in a tunnel: shut down sending once the buffer has left.
    @inlinable
    public static var halfCloseUpstream: Effects { Effects(18) }

    // MARK: The response

    /// HTTP/1.1: the connection's last exchange; a head still to be written says so.
    @inlinable
    public static var last: Effects { Effects(19) }
    /// Drop what was prepared of a response; none of it has left.
    @inlinable
    public static var discardResponse: Effects { Effects(20) }
    /// Leave the queue of held responses.
    @inlinable
    public static var unhold: Effects { Effects(21) }
    /// Pass the interim head on if there is room; reported by `responseWritten`.
    @inlinable
    public static var writeInterim: Effects { Effects(22) }
    /// Write a local reply with `status`; reported by `replyWritten` or `outputExhausted`.
    @inlinable
    public static var reply: Effects { Effects(23) }
    /// The same for a tunnel as `halfCloseUpstream`.
    @inlinable
    public static var halfCloseDownstream: Effects { Effects(24) }

    // MARK: Records

    @inlinable
    public static var recordBegin: Effects { Effects(25) }
    /// The exchange's only record.
    @inlinable
    public static var recordExchange: Effects { Effects(26) }
    @inlinable
    public static var recordEnd: Effects { Effects(27) }
    /// What was recorded before did not come true.
    @inlinable
    public static var recordAbort: Effects { Effects(28) }
    /// The record of this event is waited for: `recordDurable` or `recordFailed` follows.
    @inlinable
    public static var awaitRecord: Effects { Effects(29) }
    /// Enter the queue of held responses, or say what is held now; `holdRefused` if it is full.
    @inlinable
    public static var hold: Effects { Effects(30) }

    // MARK: Movement

    /// What is in the downstream's buffer may leave; reported by `responseLeft`.
    @inlinable
    public static var send: Effects { Effects(31) }
    @inlinable
    public static var pauseRequest: Effects { Effects(32) }
    @inlinable
    public static var resumeRequest: Effects { Effects(33) }
    @inlinable
    public static var pauseResponse: Effects { Effects(34) }
    @inlinable
    public static var resumeResponse: Effects { Effects(35) }

    // MARK: The end

    /// Give back what is left of the room in the audit log.
    @inlinable
    public static var releaseRoom: Effects { Effects(36) }
    /// The response is delivered; without a downstream, it is known.
    @inlinable
    public static var finish: Effects { Effects(37) }
    /// With `finish`: the request was not read to its end, or not understood. HTTP/1.1 lingers, HTTP/2
    /// resets the stream without an error.
    @inlinable
    public static var linger: Effects { Effects(38) }
    /// End the stream so that it cannot be taken for whole: a reset.
    @inlinable
    public static var cut: Effects { Effects(39) }
    /// End the downstream connection quietly: its request was never begun.
    @inlinable
    public static var close: Effects { Effects(40) }
  }

  public var effects: Effects = .none
  /// The status of a local reply.
  public var status: UInt16 = 0
  /// What the effects are about: what is counted, logged and answered.
  public var failure = Failure.Kind.complete

  @inline(__always)
  init(_ effects: Effects = .none) { self.effects = effects }

  @inline(__always)
  init(_ failure: Failure.Kind, _ effects: Effects = .none) {
    self.effects = effects
    self.failure = failure
  }

  @inline(__always)
  mutating func insert(_ more: Effects) {
    effects = Effects(rawValue: effects.rawValue | more.rawValue)
  }

  @inlinable @inline(__always)
  public func has(_ any: Effects) -> Bool { effects.rawValue & any.rawValue != 0 }
  @inlinable @inline(__always)
  public var isEmpty: Bool { effects.rawValue == 0 }
  /// Whether the exchange is over.
  @inlinable @inline(__always)
  public var isLast: Bool { has(.finish | .cut | .close) }
}
