// One direction of an exchange's content as a count of bytes: how many were put into the receiver's
// buffer, how many it took, and whether their producer is paused. It never sees the bytes.

/// The bytes that one side has produced and the other has still to take.
///
/// Two marks: at `high` nothing more is put into the buffer; a producer that was paused is asked
/// again at `low`. A producer that is read in large buffers is paused above `low` already, since
/// what it brings next may fill the rest at once.
public struct Flow: BitwiseCopyable, Hashable, Sendable {
  /// The marks, in bytes.
  public struct Limits: BitwiseCopyable, Hashable, Sendable {
    public var low: UInt32
    public var high: UInt32

    public init(low: UInt32, high: UInt32) {
      self.low = low
      self.high = high
    }

    /// The kernel's socket buffers come on top. `low` is one large receive buffer: one leaves while
    /// the next one fills, and what arrives always fits below `high`.
    public static var standard: Limits { Limits(low: 131_072, high: 262_144) }
  }

  /// What a change of the flow means for its producer.
  public enum Change: UInt8, BitwiseCopyable, Sendable {
    case none, pause, resume
  }

  /// Bytes that were put into the buffer so far.
  public private(set) var produced: UInt64 = 0
  /// Bytes of these that the receiver took.
  public private(set) var taken: UInt64 = 0
  /// Bytes of these that were given on to what the receiver shares with others, where it does.
  private var handedOver: UInt64 = 0
  public let limits: Limits
  /// True while the producer is to bring nothing.
  public private(set) var isPaused = false

  public init(_ limits: Limits) { self.limits = limits }

  /// Bytes that the receiver has still to take.
  @inlinable @inline(__always)
  public var waiting: UInt64 { produced &- taken }
  @inlinable @inline(__always)
  public var isEmpty: Bool { produced == taken }
  /// Bytes that are in the buffer of this flow alone.
  @inline(__always)
  public var buffered: UInt64 { produced &- max(taken, handedOver) }
  /// Whether another piece may be put into the buffer; a single piece may exceed the mark.
  @inline(__always)
  public var hasRoom: Bool { buffered < UInt64(limits.high) }

  /// Bytes were put into the buffer.
  @inline(__always)
  mutating func produce(_ count: Int) {
    // TRAP: the driver counts what it has written.
    precondition(count >= 0, "a negative count of bytes")
    produced &+= UInt64(truncatingIfNeeded: count)
  }

  /// The receiver took bytes.
  @inline(__always)
  mutating func take(_ count: Int) -> Change {
    // TRAP: a send reports what it was given, whatever its peer does.
    precondition(count >= 0 && UInt64(count) <= waiting, "more bytes taken than produced")
    taken &+= UInt64(truncatingIfNeeded: count)
    return resumeIfLow()
  }

  /// Bytes of the buffer were given on to one that is shared with others: they still wait to be taken, and no
  /// longer keep their producer from bringing more. Else it would be read on only once they have left, and
  /// others would go before it meanwhile, however urgent it is.
  mutating func handOver(_ count: Int) -> Change {
    // TRAP: the driver counts what it has given on.
    precondition(count >= 0 && UInt64(count) <= buffered, "more bytes given on than there are")
    handedOver = max(taken, handedOver) &+ UInt64(truncatingIfNeeded: count)
    return resumeIfLow()
  }

  @inline(__always)
  private mutating func resumeIfLow() -> Change {
    guard isPaused && buffered <= UInt64(limits.low) else { return .none }
    isPaused = false
    return .resume
  }

  /// There is content, and no room for it.
  mutating func block() -> Change {
    guard !isPaused else { return .none }
    isPaused = true
    return .pause
  }

  /// The input of a turn is used up. - Parameter bulk: the producer is read in large buffers.
  @inline(__always)
  mutating func settle(bulk: Bool) -> Change {
    bulk && buffered > UInt64(limits.low) ? block() : .none
  }

  /// A pause ends for another reason than bytes that were taken.
  mutating func resume() -> Change {
    guard isPaused else { return .none }
    isPaused = false
    return .resume
  }

  /// Bytes were dropped from the buffer, or grew on their way through it (TLS).
  mutating func adjust(by count: Int) {
    // TRAP: the driver adjusts what waits, never what was taken.
    precondition(Int64(bitPattern: waiting) + Int64(count) >= 0, "a negative byte count in a flow")
    produced &+= UInt64(bitPattern: Int64(count))
  }

  /// Nothing waits any more: what the buffer had is gone.
  @inline(__always)
  mutating func clear() { taken = produced }

  /// Nobody is left who would end a pause.
  @inline(__always)
  mutating func unpause() { isPaused = false }

  /// The buffer went with its receiver.
  @inline(__always)
  mutating func close() {
    clear()
    unpause()
  }

  /// The same flow counted from zero: equal states compare equal, whatever they have moved.
  mutating func rebase() {
    handedOver = handedOver > taken ? handedOver &- taken : 0
    produced = waiting
    taken = 0
  }
}
