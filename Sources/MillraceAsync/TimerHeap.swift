// Sleeping tasks by their deadline: a binary heap. Tasks that were cancelled stay in it as empty
// places until they come up or outnumber the others, so that a cancellation costs nothing.

struct TimerHeap {
  private struct Entry {
    let deadline: Int64
    let ticket: Ticket
  }

  private var entries: [Entry] = []
  private var removed = 0

  /// The next deadline, in nanoseconds of the monotonic clock.
  var earliest: Int64? { entries.first?.deadline }

  mutating func insert(_ deadline: Int64, _ ticket: Ticket) {
    entries.append(Entry(deadline: deadline, ticket: ticket))
    siftUp(entries.count - 1)
  }

  /// The ticket has been cancelled (`isCancelled` is set): it does not come up any more.
  mutating func remove(_ ticket: Ticket) {
    removed += 1
    guard removed > 64, removed > entries.count / 2 else { return }
    entries.removeAll { $0.ticket.isCancelled }
    removed = 0
    for i in stride(from: entries.count / 2 - 1, through: 0, by: -1) { siftDown(i) }
  }

  /// A ticket whose deadline is not after `now`.
  mutating func popDue(_ now: Int64) -> Ticket? {
    while let first = entries.first, first.deadline <= now {
      let last = entries.removeLast()
      if !entries.isEmpty {
        entries[0] = last
        siftDown(0)
      }
      if !first.ticket.isCancelled { return first.ticket }
      removed -= 1
    }
    return nil
  }

  /// All that still wait.
  mutating func removeAll() -> [Ticket] {
    defer {
      entries = []
      removed = 0
    }
    return entries.map(\.ticket).filter { !$0.isCancelled }
  }

  private mutating func siftUp(_ start: Int) {
    var i = start
    while i > 0 {
      let parent = (i - 1) / 2
      guard entries[i].deadline < entries[parent].deadline else { return }
      entries.swapAt(i, parent)
      i = parent
    }
  }

  private mutating func siftDown(_ start: Int) {
    var i = start
    while true {
      var least = i
      for child in [2 * i + 1, 2 * i + 2]
      where child < entries.count && entries[child].deadline < entries[least].deadline {
        least = child
      }
      if least == i { return }
      entries.swapAt(i, least)
      i = least
    }
  }
}
