// Direct slots: numbers that a caller holds before anything is open in them. The kernel's table of
// registered files gives them meaning (io_uring), or this one, which then keeps the descriptor that
// is behind each. It refuses rather than grows.

import Glibc

struct DirectSlots: ~Copyable {
  let count: Int
  private let free: UnsafeMutablePointer<Int32>
  private var freeCount: Int
  /// Which are with a caller: one that is given back twice would be given out twice.
  private let isTaken: UnsafeMutablePointer<Bool>
  /// The descriptor behind each slot where the engine keeps it; -1: none.
  private let descriptors: UnsafeMutablePointer<Int32>
  private(set) var refusals = 0

  init(count: Int) {
    self.count = count
    free = .allocate(capacity: max(count, 1))
    descriptors = .allocate(capacity: max(count, 1))
    isTaken = .allocate(capacity: max(count, 1))
    isTaken.initialize(repeating: false, count: max(count, 1))
    for i in 0..<count {
      (free + i).initialize(to: Int32(count - 1 - i))
      (descriptors + i).initialize(to: -1)
    }
    freeCount = count
  }

  deinit {
    free.deallocate()
    descriptors.deallocate()
    isTaken.deallocate()
  }

  var inUse: Int { count - freeCount }

  mutating func take() -> Descriptor? {
    guard freeCount > 0 else {
      refusals += 1
      return nil
    }
    freeCount -= 1
    isTaken[Int(free[freeCount])] = true
    return Descriptor(slot: Int(free[freeCount]))
  }

  mutating func giveBack(_ slot: Descriptor) {
    // TRAP: slots are taken and given back by the caller; nothing that arrives names one.
    precondition(slot.isDirect && Int(slot.slot) < count, "not a slot of this engine")
    precondition(isTaken[Int(slot.slot)], "release of a slot that is not in use")
    isTaken[Int(slot.slot)] = false
    descriptors[Int(slot.slot)] = -1
    free[freeCount] = slot.slot
    freeCount += 1
  }

  /// The descriptor behind a slot that the engine keeps.
  subscript(_ slot: Int32) -> Int32 {
    get { descriptors[Int(slot)] }
    set { descriptors[Int(slot)] = newValue }
  }
}
