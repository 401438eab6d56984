// Exchanges whose response waits for an audit record, in the order of the records: the log is
// released strictly in sequence, so a queue is all it takes.

import Glibc

/// A first-in first-out queue of waiting exchanges; at most one entry per exchange slot.
struct GateQueue: ~Copyable {
  struct Entry {
    var sequence: UInt64
    var slot: UInt32
    var generation: UInt32
  }

  private let entries: UnsafeMutablePointer<Entry>
  private let mask: Int
  private var head = 0
  private var tail = 0

  /// - Parameter capacity: exchanges; two entries each fit, for `begin` and `end` may both wait.
  init(capacity: Int) {
    var size = 1
    while size < capacity * 2 { size *= 2 }
    entries = .allocate(capacity: size)
    mask = size - 1
  }

  deinit { entries.deallocate() }

  var isEmpty: Bool { head == tail }

  @inline(__always)
  mutating func append(_ entry: Entry) {
    precondition(tail - head <= mask, "more waiting exchanges than there are")
    (entries + (tail & mask)).initialize(to: entry)
    tail += 1
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
