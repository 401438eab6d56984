// Moments at which something is to be looked at again: a binary heap of plain values. An entry is
// not taken out when what it was for is over; whoever looks sees by the generation that it is stale.

/// A heap of moments, earliest first.
struct DelayHeap: ~Copyable {
  struct Entry {
    var due: Int64
    /// Which slab the slot is in, and what the entry is compared with when it is due.
    var isStream: Bool
    var slot: UInt32
    var generation: UInt32
  }

  private var entries: UnsafeMutablePointer<Entry>
  private var capacity: Int
  private(set) var count = 0

  /// - Parameter capacity: entries; grows by doubling, to the most that ever waited at once.
  init(capacity: Int) {
    self.capacity = capacity
    entries = .allocate(capacity: capacity)
  }

  deinit { entries.deallocate() }

  @inline(__always) var nextDue: Int64? { count > 0 ? entries[0].due : nil }

  mutating func insert(_ entry: Entry) {
    if count == capacity { grow() }
    var index = count
    count += 1
    while index > 0 {
      let parent = (index - 1) / 2
      if entries[parent].due <= entry.due { break }
      (entries + index).initialize(to: entries[parent])
      index = parent
    }
    (entries + index).initialize(to: entry)
  }

  /// Takes the earliest entry if its moment has come.
  mutating func takeDue(_ now: Int64) -> Entry? {
    guard count > 0, entries[0].due <= now else { return nil }
    let first = entries[0]
    count -= 1
    let last = entries[count]
    var index = 0
    while true {
      var child = index * 2 + 1
      guard child < count else { break }
      if child + 1 < count, entries[child + 1].due < entries[child].due { child += 1 }
      if last.due <= entries[child].due { break }
      entries[index] = entries[child]
      index = child
    }
    entries[index] = last
    return first
  }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<Entry>.allocate(capacity: capacity * 2)
    larger.moveInitialize(from: entries, count: count)
    entries.deallocate()
    entries = larger
    capacity *= 2
  }
}
