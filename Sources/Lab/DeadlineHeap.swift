// Moments at which something is to be looked at again, of origin and load alike: a binary heap of plain
// values. A value is not taken out when what it was for is over; where that can be, it carries a
// generation by which whoever looks sees that it is stale. It is not the engine's heap of timeouts, which
// never grows and takes out by number.

/// A heap of moments, earliest first.
struct DeadlineHeap<Value: BitwiseCopyable>: ~Copyable {
  private struct Entry {
    var due: Int64
    var value: Value
  }

  private var entries: UnsafeMutablePointer<Entry>
  private var capacity: Int
  private(set) var count = 0

  /// - Parameter capacity: entries; grows by doubling, to the most that ever waited at once.
  init(capacity: Int) {
    self.capacity = max(1, capacity)
    entries = .allocate(capacity: self.capacity)
  }

  deinit { entries.deallocate() }

  /// When the next one is due; .max: nothing waits.
  @inline(__always) var nextDue: Int64 { count > 0 ? entries[0].due : .max }

  mutating func insert(_ value: Value, at due: Int64) {
    let entry = Entry(due: due, value: value)
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

  /// Takes the earliest value if its moment has come.
  mutating func takeDue(_ now: Int64) -> Value? {
    guard count > 0, entries[0].due <= now else { return nil }
    let first = entries[0].value
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
