// A place inside bytes that somebody else owns, as an offset and a count. It holds no memory and
// keeps none alive: whoever pairs it with bytes must pair it with those that it was made from.

/// A range of bytes, relative to the start of the bytes given to the parser that made it.
public struct ByteRange: Equatable, Sendable {
  /// Offset of the first byte.
  public var start: UInt32
  /// Number of bytes; 0 is a valid, empty range.
  public var count: UInt32

  @inlinable
  public init(start: UInt32, count: UInt32) {
    self.start = start
    self.count = count
  }

  /// The range `start..<end`; both fit 32 bits because a head is bounded by its limits.
  @inlinable @inline(__always)
  package init(from start: Int, to end: Int) {
    self.start = UInt32(truncatingIfNeeded: start)
    self.count = UInt32(truncatingIfNeeded: end &- start)
  }

  /// An empty range at offset 0.
  @inlinable
  public static var empty: ByteRange { ByteRange(start: 0, count: 0) }

  /// Offset just past the last byte.
  @inlinable
  public var end: UInt32 { start &+ count }

  @inlinable
  public var isEmpty: Bool { count == 0 }

  /// The bytes of this range inside `bytes`, which must be those that it was made from.
  /// Traps if the range reaches past their end.
  @inlinable
  public func slice(of bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: bytes[Int(start)..<Int(start) + Int(count)])
  }
}
