// The streams of a connection: a record each at a place that stays, found by number. Streams
// that have ended are remembered for a while, because what may still come for one depends on how it
// ended (RFC 9113 5.1).

internal import Glibc

/// What a connection keeps of a stream that is open or half-closed.
struct StreamEntry: BitwiseCopyable {
  /// 0: the record is free.
  var id: UInt32 = 0
  /// The caller's name for it.
  var tag: UInt64 = 0
  /// Bytes of DATA that the peer lets us send; a change of its settings may make it negative (6.9.2).
  var sendWindow: Int = 0
  /// Bytes of DATA that the peer may still send.
  var receiveWindow: Int = 0
  /// What that is filled up to; it grows while content is passed on as it comes.
  var window: Int = 0
  /// Bytes that have come and that the caller has not consumed.
  var unconsumed: Int = 0
  /// Bytes that were consumed and are not given back yet.
  var credit: Int = 0
  /// Bytes of content that are announced and still to come; -1: unknown.
  var announced: Int64 = -1
  /// The head of a server's final response has come.
  var hasHead = false
  /// The peer has sent END_STREAM.
  var remoteEnded = false
  /// RFC 9218: 0 is the most urgent; parts of an incremental response are useful by themselves.
  var urgency: UInt8 = 3
  var isIncremental = false
  /// It is in the list of streams that have a window to give back.
  var isInUpdates = false
  /// The next free record, or the next stream in that list; -1: none.
  var next: Int16 = -1
}

/// How a stream ended that has no record any more.
enum StreamEnd: UInt8 {
  /// With END_STREAM from both sides, or by the peer's RST_STREAM: it sends nothing more.
  case byPeer
  /// By our RST_STREAM: what the peer had sent before it learnt of that may still come.
  case byReset
  /// It ended, or was passed over, longer ago than is remembered.
  case forgotten
}

struct StreamTable: ~Copyable {
  /// Room for some of them, and for more once there were more at a time: most connections have few streams,
  /// and many have none for most of their time.
  private var records: UnsafeMutablePointer<StreamEntry>
  private var room: Int
  /// Places of records by number, open-addressed; -1: none.
  private let table: UnsafeMutablePointer<Int16>
  private let mask: Int
  private let homeShift: UInt32
  let capacity: Int
  private static var roomAtFirst: Int { 8 }
  private var free: Int16 = -1
  private var touched = 0
  private(set) var inUse = 0
  /// The streams that ended last, as their number with the end in the highest bit: as many as may be
  /// open at once and end together.
  private let ended: UnsafeMutablePointer<UInt32>
  private var endedNext = 0
  /// The highest number that is no longer among them.
  private var forgottenThrough: UInt32 = 0

  /// - Parameter capacity: streams at a time, 1...16384.
  init(capacity: Int) {
    // TRAP: the operator's limit, which the configuration bounds.
    precondition(capacity > 0 && capacity <= 16_384, "number of streams out of range")
    self.capacity = capacity
    var size = 4
    while size < capacity * 2 { size *= 2 }
    mask = size - 1
    homeShift = UInt32(32 - size.trailingZeroBitCount)
    room = min(capacity, Self.roomAtFirst)
    records = .allocate(capacity: room)
    table = .allocate(capacity: size)
    table.initialize(repeating: -1, count: size)
    ended = .allocate(capacity: capacity)
    ended.initialize(repeating: 0, count: capacity)
  }

  deinit {
    records.deallocate()
    table.deallocate()
    ended.deallocate()
  }

  @inline(__always)
  subscript(index: Int) -> UnsafeMutablePointer<StreamEntry> {
    assert(index >= 0 && index < touched && records[index].id != 0, "not a stream in use")
    return records + index
  }

  /// Where a number is looked for first. A peer's numbers follow each other; spread (multiplied by 2³² divided by
  /// the golden ratio) they leave gaps, at which a search and a removal end.
  @inline(__always)
  private func home(_ id: UInt32) -> Int { Int(((id >> 1) &* 0x9E37_79B1) &>> homeShift) }

  /// The place of a stream's record, or nil.
  @inline(__always)
  func find(_ id: UInt32) -> Int? {
    var slot = home(id)
    while table[slot] >= 0 {
      if records[Int(table[slot])].id == id { return Int(table[slot]) }
      slot = (slot + 1) & mask
    }
    return nil
  }

  /// Makes a record, which may move the others. - Returns: its place; nil when all are in use.
  mutating func open(_ id: UInt32, sendWindow: Int, receiveWindow: Int) -> Int? {
    let index: Int
    if free >= 0 {
      index = Int(free)
      free = records[index].next
    } else if touched < capacity {
      if touched == room { grow() }
      index = touched
      touched += 1
    } else {
      return nil
    }
    (records + index).initialize(
      to: StreamEntry(
        id: id, sendWindow: sendWindow, receiveWindow: receiveWindow, window: receiveWindow))
    var slot = home(id)
    while table[slot] >= 0 { slot = (slot + 1) & mask }
    table[slot] = Int16(truncatingIfNeeded: index)
    inUse += 1
    return index
  }

  private mutating func grow() {
    let wider = min(capacity, room * 2)
    let place = UnsafeMutablePointer<StreamEntry>.allocate(capacity: wider)
    place.moveInitialize(from: records, count: touched)
    records.deallocate()
    records = place
    room = wider
  }

  /// Frees a record, and remembers how its stream ended.
  mutating func close(_ index: Int, _ end: StreamEnd) {
    let id = records[index].id
    remove(id)
    records[index].id = 0
    records[index].next = free
    free = Int16(truncatingIfNeeded: index)
    inUse -= 1
    remember(id, end)
  }

  /// Remembers how a stream ended.
  mutating func remember(_ id: UInt32, _ end: StreamEnd) {
    forgottenThrough = max(forgottenThrough, ended[endedNext] & 0x7FFF_FFFF)
    ended[endedNext] = id | (end == .byReset ? 0x8000_0000 : 0)
    endedNext = endedNext + 1 < capacity ? endedNext + 1 : 0
  }

  /// How a stream without a record ended; nil: it was never open.
  func end(of id: UInt32) -> StreamEnd? {
    for i in 0..<capacity where ended[i] & 0x7FFF_FFFF == id {
      return ended[i] & 0x8000_0000 != 0 ? .byReset : .byPeer
    }
    return id <= forgottenThrough ? .forgotten : nil
  }

  /// Calls `body` with each open stream.
  func forEach(_ body: (Int, UnsafeMutablePointer<StreamEntry>) -> Void) {
    for index in 0..<touched where records[index].id != 0 { body(index, records + index) }
  }

  /// Takes a number out of the table; those behind it move up, so that no search ends too early.
  private func remove(_ id: UInt32) {
    var slot = home(id)
    while table[slot] >= 0, records[Int(table[slot])].id != id { slot = (slot + 1) & mask }
    var hole = slot
    var next = (slot + 1) & mask
    while table[next] >= 0 {
      let wanted = home(records[Int(table[next])].id)
      // It may move into the hole if that lies between its home and its place.
      if (next - wanted) & mask >= (next - hole) & mask {
        table[hole] = table[next]
        hole = next
      }
      next = (next + 1) & mask
    }
    table[hole] = -1
  }
}
