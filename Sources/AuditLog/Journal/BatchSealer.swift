// BatchSealer owns the end of the chain: the last seal that was committed, the digest that makes the
// next one, and the sequences that failed commits used up. It adds the header, the seal and the
// padding to a batch, and follows the chain only when the batch is on the device.
//
// TRAP: (file) a batch keeps room for its header and its seal (BatchPool).

internal import Glibc
internal import Text

/// A batch as it is written.
struct SealedBatch {
  /// Bytes with header, seal and padding: whole blocks.
  var count: Int
  /// Bytes of padding in them.
  var padding: Int
}

struct BatchSealer: ~Copyable {
  private let run: RunIdentity
  private let worker: Int
  private let batchSize: Int
  private var digest = SealDigest()
  /// Of the last batch that was committed.
  private(set) var previousSeal: SealHash
  /// Of the batch that is being committed.
  private var nextSeal = SealHash.zero
  private var lostFirst: UInt64 = 0
  private var lostLast: UInt64 = 0

  init(run: RunIdentity, worker: Int, batchSize: Int, previousSeal: SealHash) {
    self.run = run
    self.worker = worker
    self.batchSize = batchSize
    self.previousSeal = previousSeal
  }

  /// Adds the seal and the padding, and the header where the batch opens a segment.
  /// - Parameters:
  ///   - base: the batch's memory, of `batchSize` bytes.
  ///   - segment: its number if the batch opens it.
  mutating func seal(
    _ batch: Batch, at base: UnsafeMutableRawPointer, opening segment: UInt64?,
    wallMicroseconds: Int64
  ) -> SealedBatch {
    var used = batch.used
    if let segment {
      used += insertHeader(
        SegmentHeader(
          run: run, worker: worker, segment: segment, createdMicroseconds: wallMicroseconds,
          nextSequence: batch.firstSequence, previous: previousSeal, lostFirst: lostFirst,
          lostLast: lostLast),
        base, used)
    }
    digest.begin(after: previousSeal)
    digest.update(UnsafeRawBufferPointer(start: base, count: used))
    nextSeal = digest.finish()
    var cursor = ByteCursor(base: base + used, capacity: batchSize - used)
    Seal(
      firstSequence: batch.firstSequence, lastSequence: batch.lastSequence,
      bytes: UInt64(used), previous: previousSeal, hash: nextSeal
    ).write(into: &cursor)
    used += cursor.position
    let padded = SegmentName.roundUp(used)
    precondition(padded <= batchSize, "a batch without room for its seal")
    memset(base + used, 0x0A, padded - used)
    return SealedBatch(count: padded, padding: padded - used)
  }

  /// Moves the lines up and writes the header before them.
  /// - Returns: its length.
  private func insertHeader(
    _ header: SegmentHeader, _ base: UnsafeMutableRawPointer, _ used: Int
  ) -> Int {
    // SAFETY: records leave SegmentHeader.maximum bytes of every batch free, so that they can move
    // up by the header's length.
    var measure = ByteCursor(base: base, capacity: 0)
    header.write(into: &measure)
    let length = measure.position
    memmove(base + length, base, used)
    var cursor = ByteCursor(base: base, capacity: length)
    header.write(into: &cursor)
    return length
  }

  /// The batch that was sealed last is committed: the next one follows it.
  mutating func commit() {
    previousSeal = nextSeal
    lostFirst = 0
    lostLast = 0
  }

  /// A batch has failed: the next segment's header says so.
  mutating func fail(_ first: UInt64, through last: UInt64) {
    if lostLast == 0 { lostFirst = first }
    lostLast = last
  }
}
