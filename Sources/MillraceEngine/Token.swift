// A token is the caller's name for one operation. The engine stores it, gives it back in every
// completion of that operation, and never looks inside.

/// The caller's name for an operation: a kind, a generation and a slot, packed in 64 bits.
///
/// The generation defeats slot reuse: a completion that arrives for a slot that has since been
/// given to somebody else no longer matches. The kind lets the loop dispatch with one switch.
public struct Token: Equatable, Sendable {
  public let rawValue: UInt64

  @inline(__always)
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Packs `kind` (8 bits), `generation` (24 bits, higher bits are cut off) and `slot` (32 bits).
  @inline(__always)
  public init(kind: UInt8, generation: UInt32, slot: UInt32) {
    rawValue = UInt64(kind) << 56 | UInt64(generation & 0xFF_FFFF) << 32 | UInt64(slot)
  }

  /// The top 8 bits.
  @inline(__always) public var kind: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 56) }
  /// The 24 bits below the kind.
  @inline(__always) public var generation: UInt32 {
    UInt32(truncatingIfNeeded: rawValue >> 32) & 0xFF_FFFF
  }
  /// The low 32 bits.
  @inline(__always) public var slot: UInt32 { UInt32(truncatingIfNeeded: rawValue) }
}
