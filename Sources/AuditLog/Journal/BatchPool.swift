// BatchPool owns a journal's batch memory: one batch that gathers, a queue of full ones, at most
// one in flight and the rest free. It refuses to grow, and it keeps the promise behind
// reservations: what `guaranteedBytes` says can be appended whatever the sizes and the order of the
// records.
//
// TRAP: (file) a buffer is lent to one lane and comes back by it; completions carry the engine's
// own buffers.

internal import Glibc
internal import MillraceEngine
internal import Text

/// What is known of one batch.
struct Batch {
  var used = 0
  var records: UInt64 = 0
  var firstSequence: UInt64 = 0
  var lastSequence: UInt64 = 0
  var hasLoss = false
}

struct BatchPool: ~Copyable {
  private static let none = -1

  private let size: Int
  private let count: Int
  private let recordMaximum: Int
  private let memory: UnsafeMutablePointer<FileBuffer?>
  private let bases: UnsafeMutablePointer<UnsafeMutableRawPointer>
  private let batches: UnsafeMutablePointer<Batch>
  private let freeIndices: UnsafeMutablePointer<Int>
  private let queue: UnsafeMutablePointer<Int>
  private var freeCount = 0
  private var queueHead = 0
  private(set) var waitingCount = 0
  /// Disk that the waiting batches will take at most.
  private var waitingDisk = 0
  private var gathering = BatchPool.none
  private var inFlight = BatchPool.none

  init(size: Int, count: Int, recordMaximum: Int) {
    self.size = size
    self.count = count
    self.recordMaximum = recordMaximum
    memory = .allocate(capacity: count)
    bases = .allocate(capacity: count)
    batches = .allocate(capacity: count)
    freeIndices = .allocate(capacity: count)
    queue = .allocate(capacity: count)
    batches.initialize(repeating: Batch(), count: count)
    for index in 0..<count {
      let buffer = FileBuffer(capacity: size, alignment: SegmentName.blockSize)
      (bases + index).initialize(to: buffer.base)
      (memory + index).initialize(to: buffer)
      (queue + index).initialize(to: 0)
      // The lowest index is taken first.
      (freeIndices + index).initialize(to: count - 1 - index)
    }
    freeCount = count
    takeGathering()
  }

  deinit {
    memory.deinitialize(count: count)
    memory.deallocate()
    bases.deallocate()
    batches.deallocate()
    freeIndices.deallocate()
    queue.deallocate()
  }

  /// Bytes of a batch that lines may fill; the rest is for a header and a seal.
  private var room: Int { size - SegmentHeader.maximum - Seal.maximum }
  /// Bytes of an empty batch that records may fill; the rest is for one `loss` record.
  private var recordRoom: Int { room - RecordWriter.lossMaximum }

  /// Bytes that records may still fill in the gathering batch.
  private var gatheringRoom: Int {
    if gathering < 0 { return 0 }
    let batch = batches[gathering]
    return (batch.hasLoss ? room : recordRoom) - batch.used
  }

  /// Bytes of records, none longer than the maximum, that fit in any case: each batch may lose up
  /// to one record's length at its end. The gathering batch counts only if it cannot be cut short,
  /// which happens when nothing is in flight and nothing waits before it.
  var guaranteedBytes: Int {
    let whole = freeCount * (recordRoom - recordMaximum)
    if inFlight < 0 && waitingCount == 0 { return whole }
    return whole + max(0, gatheringRoom - recordMaximum)
  }

  var isEmpty: Bool { waitingCount == 0 && inFlight < 0 && gatheringUsed == 0 }
  var gatheringUsed: Int { gathering < 0 ? 0 : batches[gathering].used }

  /// Disk that everything not yet committed may take.
  var pendingDisk: Int {
    waitingDisk + (gatheringUsed > 0 ? Self.disk(gatheringUsed) : 0)
      + (inFlight < 0 ? 0 : Self.disk(batches[inFlight].used))
  }

  static func disk(_ used: Int) -> Int {
    SegmentName.roundUp(used + Seal.maximum)
  }

  /// A cursor over the free part of the gathering batch.
  @inline(__always)
  func cursor() -> ByteCursor {
    if gathering < 0 {
      // SAFETY: with no capacity nothing is written; the cursor only counts.
      return ByteCursor(base: bases[0], capacity: 0)
    }
    return ByteCursor(
      base: bases[gathering] + batches[gathering].used, capacity: max(0, gatheringRoom))
  }

  /// A cursor for the one `loss` record of the gathering batch, or nil if it has one.
  func lossCursor() -> ByteCursor? {
    if gathering < 0 || batches[gathering].hasLoss { return nil }
    let used = batches[gathering].used
    return ByteCursor(base: bases[gathering] + used, capacity: room - used)
  }

  /// Accounts for a line that was written through a cursor.
  @inline(__always)
  mutating func advance(_ length: Int, sequence: UInt64, isLoss: Bool = false) {
    let batch = batches + gathering
    if batch.pointee.records == 0 { batch.pointee.firstSequence = sequence }
    batch.pointee.lastSequence = sequence
    batch.pointee.records &+= 1
    batch.pointee.used &+= length
    if isLoss { batch.pointee.hasLoss = true }
  }

  /// Closes the gathering batch and opens a free one, if there is one.
  mutating func cut() {
    if gathering >= 0 {
      queue[(queueHead + waitingCount) % count] = gathering
      waitingCount += 1
      waitingDisk += Self.disk(batches[gathering].used)
      gathering = Self.none
    }
    takeGathering()
  }

  private mutating func takeGathering() {
    if freeCount == 0 { return }
    freeCount -= 1
    gathering = freeIndices[freeCount]
    batches[gathering] = Batch()
  }

  /// The oldest batch that waits.
  var oldestUsed: Int { batches[queue[queueHead]].used }

  /// Moves the oldest batch that waits into flight.
  mutating func beginCommit() {
    let index = queue[queueHead]
    queueHead = (queueHead + 1) % count
    waitingCount -= 1
    waitingDisk -= Self.disk(batches[index].used)
    inFlight = index
  }

  /// Puts something into flight if nothing is, even what still gathers. The pool is not empty.
  mutating func beginAnyCommit() {
    if inFlight >= 0 { return }
    if waitingCount == 0 { cut() }
    beginCommit()
  }

  /// Drops the batch in flight and makes its memory free.
  mutating func endCommit() {
    freeIndices[freeCount] = inFlight
    freeCount += 1
    inFlight = Self.none
    if gathering < 0 { takeGathering() }
  }

  // MARK: The batch in flight

  var batchInFlight: Batch { batches[inFlight] }

  var baseInFlight: UnsafeMutableRawPointer { bases[inFlight] }

  /// Lends its buffer to a write, whose completion gives it back.
  mutating func lend() -> FileBuffer { memory[inFlight].take()! }

  mutating func giveBack(_ buffer: consuming FileBuffer) {
    precondition(buffer.base == bases[inFlight], "a completion returned a different buffer")
    memory[inFlight] = consume buffer
  }
}
