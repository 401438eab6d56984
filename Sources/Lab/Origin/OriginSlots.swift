// Slots with stable addresses and generations, for connections and streams: reserved at start,
// touched as they are used, last in first out. A full one refuses.

/// Slots for at most `capacity` elements.
struct OriginSlots<Element: ~Copyable>: ~Copyable {
  private let base: UnsafeMutablePointer<Element>
  private let free: UnsafeMutablePointer<UInt32>
  private let generations: UnsafeMutablePointer<UInt32>
  private let used: UnsafeMutablePointer<Bool>
  private var freeCount = 0
  /// Slots that have been used at least once are those below.
  private var touched = 0
  private let capacity: Int

  init(capacity: Int) {
    self.capacity = capacity
    base = .allocate(capacity: capacity)
    free = .allocate(capacity: capacity)
    generations = .allocate(capacity: capacity)
    used = .allocate(capacity: capacity)
  }

  // The worker's threads end with the process: nothing is torn down.

  @inline(__always) var inUse: Int { touched - freeCount }

  /// Takes a slot, whose memory the caller initialises; nil when all are in use.
  @inline(__always)
  mutating func take() -> UInt32? {
    if freeCount > 0 {
      freeCount -= 1
      used[Int(free[freeCount])] = true
      return free[freeCount]
    }
    guard touched < capacity else { return nil }
    generations[touched] = 1
    used[touched] = true
    touched += 1
    return UInt32(touched - 1)
  }

  /// Puts back a slot whose memory the caller has deinitialised.
  @inline(__always)
  mutating func giveBack(_ slot: UInt32) {
    generations[Int(slot)] = (generations[Int(slot)] &+ 1) & 0xFF_FFFF
    used[Int(slot)] = false
    free[freeCount] = slot
    freeCount += 1
  }

  @inline(__always)
  subscript(_ slot: UInt32) -> UnsafeMutablePointer<Element> { base + Int(slot) }

  /// Every slot in use is among these.
  @inline(__always) var all: Range<UInt32> { 0..<UInt32(touched) }

  @inline(__always)
  func isInUse(_ slot: UInt32) -> Bool { Int(slot) < touched && used[Int(slot)] }

  @inline(__always)
  func generation(_ slot: UInt32) -> UInt32 { generations[Int(slot)] }
}
