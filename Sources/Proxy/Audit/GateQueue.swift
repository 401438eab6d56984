// Exchanges whose response waits for an audit record, in the order of the records: the log is
// released strictly in sequence, so a queue is all it takes.

import Glibc

/// A first-in first-out queue of waiting exchanges.
struct GateQueue: ~Copyable {
  struct Entry {
    var sequence: UInt64
    var slot: UInt32
    var generation: UInt32
  }

  private var entries: UnsafeMutablePointer<Entry>
  private var mask: Int
  private var head = 0
  private var tail = 0

  /// - Parameter capacity: entries at first. An exchange that ends while it waits leaves its entry
  ///   behind and its slot is used again, so exchanges are no bound; the journal's memory is, since
  ///   each entry's record lies in it. The queue grows towards that, once.
  init(capacity: Int) {
    var size = 1
    while size < capacity { size *= 2 }
    entries = .allocate(capacity: size)
    mask = size - 1
  }

  deinit { entries.deallocate() }

  var isEmpty: Bool { head == tail }

  @inline(__always)
  mutating func append(_ entry: Entry) {
    if tail - head > mask { grow() }
    (entries + (tail & mask)).initialize(to: entry)
    tail += 1
  }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<Entry>.allocate(capacity: (mask + 1) * 2)
    let waiting = tail - head
    for i in 0..<waiting { (larger + i).initialize(to: entries[(head + i) & mask]) }
    entries.deallocate()
    entries = larger
    mask = mask * 2 + 1
    head = 0
    tail = waiting
  }

  /// The first entry whose sequence is at most `sequence`, or nil.
  @inline(__always)
  mutating func popFirst(through sequence: UInt64) -> Entry? {
    guard head != tail, entries[head & mask].sequence <= sequence else { return nil }
    let entry = entries[head & mask]
    head += 1
    return entry
  }
}
