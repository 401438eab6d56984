// Numbers that no writer gives, in files that verification and recovery read: they are refused, and no
// sum that is formed of them overflows.

import Testing
import Text

@testable import AuditLog

@Suite struct ForgedNumberTests {
  private static let largest = UInt64.max

  /// A segment whose hashes are right, whatever its numbers are.
  private func segment(
    next: UInt64 = 1, lost: (first: UInt64, last: UInt64)? = nil, sequences: [UInt64],
    dropped: UInt64 = 1, sealed: (first: UInt64, last: UInt64)? = nil
  ) -> [UInt8] {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 65_536, alignment: 8)
    defer { memory.deallocate() }
    var cursor = ByteCursor(base: memory, capacity: 65_536)
    var header = SegmentHeader(
      run: RunIdentity(high: 1, low: 1), worker: 0, segment: 1, createdMicroseconds: 0,
      nextSequence: next, previous: .zero)
    if let lost {
      header.lostFirst = lost.first
      header.lostLast = lost.last
    }
    header.write(into: &cursor)
    for sequence in sequences {
      RecordWriter.writeLoss(
        sequence: sequence, wallMicroseconds: 0, dropped: dropped, into: &cursor)
    }
    var digest = SealDigest()
    digest.begin(after: .zero)
    digest.update(UnsafeRawBufferPointer(start: memory, count: cursor.position))
    let range = sealed ?? (sequences.first ?? 1, sequences.last ?? 1)
    Seal(
      firstSequence: range.first, lastSequence: range.last, bytes: UInt64(cursor.position),
      previous: .zero, hash: digest.finish()
    ).write(into: &cursor)
    let written = Array(UnsafeRawBufferPointer(start: memory, count: cursor.position))
    let padding = (4_096 - written.count % 4_096) % 4_096
    return written + [UInt8](repeating: 0x0A, count: padding)
  }

  private func check(_ content: [UInt8], _ verdict: Verdict) throws {
    let folder = Folder()
    try folder.write([("w000-0000000001.jsonl", content)])
    #expect(try folder.verify().verdict == verdict)
    _ = try folder.recover()
  }

  @Test func theForgeMakesWhatIsIntact() throws {
    try check(segment(sequences: [1, 2, 3]), .intact)
    try check(segment(next: 5, lost: (1, 4), sequences: [5]), .intact)
  }

  @Test func sequencesOutOfRangeAreRefused() throws {
    try check(segment(next: 0, sequences: [1]), .broken)
    try check(segment(next: Self.largest, sequences: [Self.largest]), .broken)
    try check(segment(sequences: [Self.largest, 1]), .broken)
    try check(segment(next: 0, sequences: [0, 1]), .broken)
    try check(segment(sequences: [1], sealed: (1, Self.largest)), .broken)
    let limit = ByteReader.sequenceMaximum
    try check(segment(next: limit - 1, sequences: [limit - 1, limit]), .intact)
    try check(segment(next: limit, sequences: [limit, limit + 1]), .broken)
  }

  @Test func lostSequencesOutOfRangeAreRefused() throws {
    try check(segment(next: 1, lost: (1, Self.largest), sequences: [1]), .broken)
    try check(segment(next: 1, lost: (0, 1), sequences: [1]), .broken)
  }

  @Test func sumsOfWhatIsClaimedStopAtTheLargest() throws {
    try check(segment(sequences: [1, 2, 3], dropped: Self.largest), .intact)
  }
}
