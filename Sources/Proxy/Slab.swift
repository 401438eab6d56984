// Fixed slots with stable addresses and generations. The memory is reserved at start and touched
// only as slots are used, last in first out; a full slab refuses.

import Glibc

/// A slab of at most `capacity` elements.
struct Slab<Element: ~Copyable>: ~Copyable {
  let base: UnsafeMutablePointer<Element>
  private let free: UnsafeMutablePointer<UInt32>
  /// The generation in 24 bits; the highest bit is set while the slot is taken.
  private let generations: UnsafeMutablePointer<UInt32>
  private static var taken: UInt32 { 1 << 31 }
  private var freeCount: Int
  let capacity: Int
  /// Slots that have been in use at least once are those below this one.
  private(set) var touched: UInt32 = 0

  init(capacity: Int) {
    self.capacity = capacity
    base = .allocate(capacity: capacity)
    free = .allocate(capacity: capacity)
    generations = .allocate(capacity: capacity)
    generations.initialize(repeating: 0, count: capacity)
    for i in 0..<capacity { (free + i).initialize(to: UInt32(capacity - 1 - i)) }
    freeCount = capacity
  }

  deinit {
    guard freeCount == capacity else {
      assertionFailure("a slab was torn down with slots in use")
      return
    }
    base.deallocate()
    free.deallocate()
    generations.deallocate()
  }

  @inline(__always) var inUse: Int { capacity - freeCount }

  /// Takes a slot, whose memory the caller initialises; nil when all are in use.
  @inline(__always)
  mutating func take() -> UInt32? {
    guard freeCount > 0 else { return nil }
    freeCount -= 1
    let index = free[freeCount]
    if index >= touched { touched = index + 1 }
    generations[Int(index)] |= Self.taken
    return index
  }

  /// Puts back a slot whose memory the caller has deinitialised, or never initialised.
  @inline(__always)
  mutating func release(_ index: UInt32) {
    generations[Int(index)] = (generations[Int(index)] &+ 1) & 0xFF_FFFF
    free[freeCount] = index
    freeCount += 1
  }

  @inline(__always)
  subscript(_ index: UInt32) -> UnsafeMutablePointer<Element> { base + Int(index) }

  /// Whether a slot is taken. A free one may never have been initialised: who walks over the slots asks.
  @inline(__always)
  func isTaken(_ index: UInt32) -> Bool { generations[Int(index)] & Self.taken != 0 }

  @inline(__always)
  func generation(_ index: UInt32) -> UInt32 { generations[Int(index)] & 0xFF_FFFF }
}
