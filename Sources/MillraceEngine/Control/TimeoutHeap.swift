// Timeouts in the order of their deadlines: a binary heap of control slots, as large as there are
// slots, so that it never grows.
//
// TRAP: (file) as many timeouts as control operations, whose slab refuses first.

import Glibc

struct TimeoutHeap: ~Copyable {
  private struct Entry {
    var deadline: Int64
    var index: UInt32
  }

  private let entries: UnsafeMutablePointer<Entry>
  private let capacity: Int
  private(set) var count = 0

  init(capacity: Int) {
    self.capacity = capacity
    entries = .allocate(capacity: capacity)
  }

  deinit { entries.deallocate() }

  /// The earliest deadline; Int64.max without any.
  @inline(__always)
  var nextDeadline: Int64 { count > 0 ? entries[0].deadline : .max }

  mutating func insert(_ index: UInt32, _ deadline: Int64) {
    precondition(count < capacity)
    (entries + count).initialize(to: Entry(deadline: deadline, index: index))
    count += 1
    rise(count - 1)
  }

  /// Takes the earliest out.
  mutating func popFirst() -> UInt32? {
    guard count > 0 else { return nil }
    let index = entries[0].index
    removeEntry(0)
    return index
  }

  /// Takes a slot's timeout out. - Returns: false if there is none.
  mutating func remove(_ index: UInt32) -> Bool {
    for at in 0..<count where entries[at].index == index {
      removeEntry(at)
      return true
    }
    return false
  }

  private mutating func removeEntry(_ at: Int) {
    count -= 1
    guard at < count else { return }
    entries[at] = entries[count]
    sink(at)
    rise(at)
  }

  private func rise(_ start: Int) {
    var at = start
    while at > 0 {
      let parent = (at - 1) / 2
      guard entries[at].deadline < entries[parent].deadline else { return }
      swap(&entries[at], &entries[parent])
      at = parent
    }
  }

  private func sink(_ start: Int) {
    var at = start
    while true {
      var least = at
      let left = 2 * at + 1
      if left < count && entries[left].deadline < entries[least].deadline { least = left }
      let right = left + 1
      if right < count && entries[right].deadline < entries[least].deadline { least = right }
      guard least != at else { return }
      swap(&entries[at], &entries[least])
      at = least
    }
  }
}
