// SegmentHeader is the first line of every segment. It says which run and worker wrote the segment,
// which seal it follows and which sequences a failed commit lost before it; the seal of the first
// batch covers it.

internal import Text

struct SegmentHeader: Equatable {
  /// The longest header line in bytes (369), rounded up.
  static let maximum = 384
  static let format: UInt64 = 1

  var run: RunIdentity
  var worker: Int
  var segment: UInt64
  var createdMicroseconds: Int64
  /// The sequence of the segment's first record.
  var nextSequence: UInt64
  var previous: SealHash
  /// Sequences that a failed commit used up just before this segment; 0 and 0 when none.
  var lostFirst: UInt64 = 0
  var lostLast: UInt64 = 0

  func write(into cursor: inout ByteCursor) {
    cursor.literal("{\"kind\":\"segment\",\"format\":")
    cursor.decimal(Self.format)
    cursor.literal(",\"run\":\"")
    run.write(into: &cursor)
    cursor.literal("\",\"worker\":")
    cursor.decimal(UInt64(worker))
    cursor.literal(",\"segment\":")
    cursor.decimal(segment)
    cursor.literal(",\"created\":\"")
    Timestamp.write(createdMicroseconds, into: &cursor)
    cursor.literal("\",\"seq_next\":")
    cursor.decimal(nextSequence)
    cursor.literal(",\"previous\":\"")
    previous.write(into: &cursor)
    cursor.byte(0x22)
    if lostLast != 0 {
      cursor.literal(",\"lost_first\":")
      cursor.decimal(lostFirst)
      cursor.literal(",\"lost_last\":")
      cursor.decimal(lostLast)
    }
    cursor.literal("}\n")
  }

  /// Parses a line without its newline. The creation time is not read back and is 0.
  static func parse(_ line: UnsafeRawBufferPointer) -> SegmentHeader? {
    var reader = ByteReader(line)
    guard reader.take("{\"kind\":\"segment\",\"format\":"), reader.decimal() == format,
      reader.take(",\"run\":\""), let runText = reader.bytes(32),
      let run = RunIdentity(hex: runText),
      reader.take("\",\"worker\":"), let worker = reader.decimal(), worker <= 999,
      reader.take(",\"segment\":"), let segment = reader.decimal(),
      reader.take(",\"created\":\""), reader.bytes(Timestamp.length) != nil,
      reader.take("\",\"seq_next\":"), let next = reader.sequence(),
      reader.take(",\"previous\":\""), let previous = reader.hash(), reader.take("\"")
    else { return nil }
    var header = SegmentHeader(
      run: run, worker: Int(worker), segment: segment, createdMicroseconds: 0,
      nextSequence: next, previous: previous)
    if reader.take(",\"lost_first\":") {
      guard let first = reader.sequence(), reader.take(",\"lost_last\":"),
        let last = reader.sequence(), first <= last
      else { return nil }
      header.lostFirst = first
      header.lostLast = last
    }
    return reader.take("}") && reader.atEnd ? header : nil
  }
}
