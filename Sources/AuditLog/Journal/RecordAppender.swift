// RecordAppender owns the order of the records: it numbers them and writes them into the batch that
// gathers. It refuses to know of reservations, seals and files.

internal import Text

struct RecordAppender {
  private(set) var nextSequence: UInt64
  /// UTC, since 1970, of the last record.
  private(set) var wallMicroseconds: Int64 = 0
  /// Drops that no `loss` record has reported yet.
  private var unreportedDrops: UInt64 = 0

  init(nextSequence: UInt64) {
    self.nextSequence = nextSequence
  }

  /// Counts an exchange that leaves no record; the next record is preceded by one that says so.
  mutating func countDropped() { unreportedDrops &+= 1 }

  /// Writes one record.
  /// - Returns: its sequence and its length in bytes.
  @inline(__always)
  mutating func append(
    _ kind: RecordKind, exchangeID: UInt64, requestPart: UnsafeRawBufferPointer,
    response: ResponseFacts?, wallMicroseconds: Int64, to pool: inout BatchPool
  ) -> (sequence: UInt64, length: Int) {
    self.wallMicroseconds = wallMicroseconds
    if unreportedDrops != 0 { writeLossRecord(to: &pool) }
    let sequence = nextSequence
    var cursor = pool.cursor()
    RecordWriter.writeRecord(
      kind, sequence: sequence, exchangeID: exchangeID, wallMicroseconds: wallMicroseconds,
      requestPart: requestPart, response: response, into: &cursor)
    if cursor.overflowed {
      pool.cut()
      cursor = pool.cursor()
      RecordWriter.writeRecord(
        kind, sequence: sequence, exchangeID: exchangeID, wallMicroseconds: wallMicroseconds,
        requestPart: requestPart, response: response, into: &cursor)
      // TRAP: `RecordWriter`'s bounds are worst cases for the very bytes that are written: each
      // escapes to six at most.
      precondition(!cursor.overflowed, "a record that its reservation does not cover")
    }
    let length = cursor.position
    pool.advance(length, sequence: sequence)
    nextSequence &+= 1
    return (sequence, length)
  }

  private mutating func writeLossRecord(to pool: inout BatchPool) {
    guard var cursor = pool.lossCursor() else { return }
    RecordWriter.writeLoss(
      sequence: nextSequence, wallMicroseconds: wallMicroseconds, dropped: unreportedDrops,
      into: &cursor)
    if cursor.overflowed { return }
    pool.advance(cursor.position, sequence: nextSequence, isLoss: true)
    nextSequence &+= 1
    unreportedDrops = 0
  }
}
