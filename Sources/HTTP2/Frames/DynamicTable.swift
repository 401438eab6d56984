// The table of fields that a peer's field blocks build up and refer to (RFC 7541 2.3.2 and 4). Its bytes
// lie in one piece of memory, the oldest first, and move to its beginning when they come to its end; it
// begins small, since most connections enter a few fields and then use them.
//
// TRAP: (file) places within memory whose size is known here.

internal import Glibc

/// A field of a table.
struct TableField {
  var name: UnsafePointer<UInt8>
  var nameCount: Int
  var value: UnsafePointer<UInt8>
  var valueCount: Int
}

struct DynamicTable: ~Copyable {
  /// What an entry counts beside its bytes (RFC 7541 4.1).
  static var overhead: Int { 32 }
  /// What SETTINGS_HEADER_TABLE_SIZE is when it is not sent, as we do.
  static var sizeMaximum: Int { 4096 }
  /// So many entries fit.
  private static var places: Int { sizeMaximum / overhead }
  private static var smallest: Int { 512 }

  private struct Entry {
    var start: UInt16
    var nameCount: UInt16
    var valueCount: UInt16
  }

  private let memory: HTTP2Memory
  /// The entries as a ring, and behind them their bytes.
  private var ring: UnsafeMutablePointer<Entry>?
  private var bytes: UnsafeMutablePointer<UInt8>?
  private var capacity = 0
  /// The oldest entry, and how many there are.
  private var oldest = 0
  private(set) var count = 0
  /// Where the oldest entry's bytes begin, and where the newest one's end.
  private var low = 0
  private var high = 0
  /// As the peer counts.
  private(set) var size = 0
  private(set) var limit = DynamicTable.sizeMaximum

  init(memory: HTTP2Memory) { self.memory = memory }

  deinit {
    memory.store.pointee.giveBack(ring)
    memory.store.pointee.giveBack(bytes)
  }

  /// An entry, counted from the newest one, which is 0. - Returns: nil if there is none.
  @inline(__always)
  subscript(index: Int) -> TableField? {
    guard index < count, let ring, let bytes else { return nil }
    let entry = ring[(oldest + count - 1 - index) % Self.places]
    let name = bytes + Int(entry.start)
    return TableField(
      name: name, nameCount: Int(entry.nameCount),
      value: name + Int(entry.nameCount), valueCount: Int(entry.valueCount))
  }

  /// Changes how much the table may have. - Returns: false if that is more than was allowed.
  mutating func resize(to limit: Int) -> Bool {
    guard limit <= Self.sizeMaximum else { return false }
    self.limit = limit
    evict(to: limit)
    return true
  }

  /// Enters a field; the oldest ones make room for it. Its name may be that of an entry, even of one that
  /// has to go. - Returns: false if memory ran out.
  mutating func insert(_ field: TableField) -> Bool {
    let length = field.nameCount + field.valueCount
    guard length + Self.overhead <= limit else {
      // It empties the table, and is no error (RFC 7541 4.4).
      evict(to: 0)
      return true
    }
    var field = field
    // What memory was replaced by a larger one goes when nothing refers to it any more.
    var replaced: UnsafeMutablePointer<UInt8>?
    if ring == nil || high + length > capacity {
      guard makeRoom(length, &field, &replaced) else { return false }
    }
    guard let ring, let bytes else { return false }
    let start = high
    memcpy(bytes + start, field.name, field.nameCount)
    memcpy(bytes + start + field.nameCount, field.value, field.valueCount)
    memory.store.pointee.giveBack(replaced)
    high += length
    evict(to: limit - length - Self.overhead)
    if count == 0 { low = start }
    ring[(oldest + count) % Self.places] = Entry(
      start: UInt16(start), nameCount: UInt16(field.nameCount), valueCount: UInt16(field.valueCount)
    )
    count += 1
    size += length + Self.overhead
    return true
  }

  /// Makes room for `length` bytes behind the newest entry. A field whose bytes are the table's moves along.
  private mutating func makeRoom(
    _ length: Int, _ field: inout TableField, _ replaced: inout UnsafeMutablePointer<UInt8>?
  ) -> Bool {
    let live = high - low
    if ring == nil {
      guard let block = memory.store.pointee.take(Self.places * MemoryLayout<Entry>.stride) else {
        return false
      }
      ring = block.bindMemory(to: Entry.self, capacity: Self.places)
    }
    let shift = low
    // Half of it is free after it was filled or moved, so that moving stays rare.
    var wanted = max(capacity, Self.smallest)
    while wanted < 2 * (live + length) && wanted < 2 * Self.sizeMaximum { wanted *= 2 }
    let old = bytes
    if wanted > capacity {
      guard let block = memory.store.pointee.take(wanted) else { return false }
      let larger = block.bindMemory(to: UInt8.self, capacity: wanted)
      if let old { memcpy(larger, old + low, live) }
      replaced = old
      bytes = larger
      capacity = wanted
    } else if let old {
      memmove(old, old + low, live)
      if field.name >= UnsafePointer(old), field.name < UnsafePointer(old + high) {
        field.name -= shift
      }
    }
    if let ring {
      for i in 0..<count { ring[(oldest + i) % Self.places].start -= UInt16(shift) }
    }
    low = 0
    high = live
    return true
  }

  private mutating func evict(to size: Int) {
    guard self.size > size, let ring else { return }
    while self.size > size, count > 0 {
      let entry = ring[oldest]
      let length = Int(entry.nameCount) + Int(entry.valueCount)
      self.size -= length + Self.overhead
      low = Int(entry.start) + length
      oldest = (oldest + 1) % Self.places
      count -= 1
    }
  }
}
