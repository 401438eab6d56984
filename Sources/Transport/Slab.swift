// Fixed slots with stable addresses and generations. The memory is reserved when the slab is made and
// touched only as slots are used, last in first out; a full slab refuses.

/// A slab of at most `capacity` elements.
public struct Slab<Element: ~Copyable>: ~Copyable {
  @usableFromInline let base: UnsafeMutablePointer<Element>
  @usableFromInline let free: UnsafeMutablePointer<UInt32>
  /// Of each slot that has been in use: its generation, and `inUseBit` while it is in use.
  @usableFromInline let states: UnsafeMutablePointer<UInt32>
  @usableFromInline var freeCount = 0
  @usableFromInline var touchedCount = 0
  @usableFromInline var isAbandoned = false
  public let capacity: Int

  @usableFromInline static var inUseBit: UInt32 { 1 << 31 }
  /// A token has 24 bits for a generation.
  @usableFromInline static var generationMask: UInt32 { 0xFF_FFFF }

  /// Reserves the memory of `capacity` slots.
  @inlinable
  public init(capacity: Int) {
    self.capacity = capacity
    base = .allocate(capacity: capacity)
    free = .allocate(capacity: capacity)
    states = .allocate(capacity: capacity)
  }

  @inlinable
  deinit {
    if inUse > 0 {
      // Operations may still write to elements in use, so their memory stays.
      assert(isAbandoned, "a slab was torn down with slots in use")
      return
    }
    base.deallocate()
    free.deallocate()
    states.deallocate()
  }

  /// Slots in use.
  @inlinable @inline(__always)
  public var inUse: Int { touchedCount - freeCount }

  /// Slots that have been in use at least once are those below this one.
  @inlinable @inline(__always)
  public var touched: UInt32 { UInt32(truncatingIfNeeded: touchedCount) }

  /// Takes a slot, whose memory the caller initialises; nil when all are in use.
  @inlinable @inline(__always)
  public mutating func take() -> UInt32? {
    let index: UInt32
    if freeCount > 0 {
      freeCount -= 1
      index = free[freeCount]
    } else {
      guard touchedCount < capacity else { return nil }
      index = UInt32(truncatingIfNeeded: touchedCount)
      states[touchedCount] = 0
      touchedCount += 1
    }
    states[Int(index)] |= Self.inUseBit
    return index
  }

  /// Puts back a slot whose memory the caller has deinitialised.
  @inlinable @inline(__always)
  public mutating func release(_ index: UInt32) {
    assert(isTaken(index), "a slot was released twice")
    states[Int(index)] = (states[Int(index)] &+ 1) & Self.generationMask
    free[freeCount] = index
    freeCount += 1
  }

  /// The element in a slot. It stays at this address for as long as the slab lives.
  @inlinable @inline(__always)
  public subscript(_ index: UInt32) -> UnsafeMutablePointer<Element> { base + Int(index) }

  /// The slot of an element of this slab.
  @inlinable
  public func index(of element: UnsafeMutablePointer<Element>) -> UInt32 {
    UInt32(truncatingIfNeeded: element - base)
  }

  /// How often the slot has been released, modulo 2^24. - Parameter index: below `touched`.
  @inlinable @inline(__always)
  public func generation(_ index: UInt32) -> UInt32 { states[Int(index)] & Self.generationMask }

  /// Whether the slot holds an element, for any index.
  @inlinable @inline(__always)
  public func isTaken(_ index: UInt32) -> Bool {
    Int(index) < touchedCount && states[Int(index)] & Self.inUseBit != 0
  }

  /// Allows the slab to be torn down with slots in use, whose elements are then leaked: for the end of
  /// a process that does not wait for its connections.
  public mutating func abandon() { isAbandoned = true }
}
