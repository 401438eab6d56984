// What a load thread does to single connections at points of time: making one again after a failure,
// reading on where a slow reader has paused. Few at a time, so a binary heap; the timeouts of
// requests are looked after by a sweep instead.

/// Connections by the time at which something is due for them.
struct TimeHeap {
  private var entries: [(time: Int64, slot: UInt32)] = []

  init(capacity: Int) { entries.reserveCapacity(capacity) }

  /// When the next one is due; .max: nothing waits.
  @inline(__always) var next: Int64 { entries.isEmpty ? .max : entries[0].time }

  mutating func push(_ slot: UInt32, at time: Int64) {
    entries.append((time, slot))
    var i = entries.count - 1
    while i > 0, entries[i].time < entries[(i - 1) / 2].time {
      entries.swapAt(i, (i - 1) / 2)
      i = (i - 1) / 2
    }
  }

  /// Takes one that is due.
  mutating func takeDue(_ now: Int64) -> UInt32? {
    guard let first = entries.first, first.time <= now else { return nil }
    entries.swapAt(0, entries.count - 1)
    entries.removeLast()
    var i = 0
    while true {
      var least = i
      for child in [2 * i + 1, 2 * i + 2]
      where child < entries.count && entries[child].time < entries[least].time { least = child }
      if least == i { return first.slot }
      entries.swapAt(i, least)
      i = least
    }
  }
}
