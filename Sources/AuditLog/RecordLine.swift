// RecordLine is the part of a record that readers of the chain need: its sequence, kind and
// exchange. It refuses lines whose opening members are not exactly as RecordWriter writes them.

internal import Text

struct RecordLine {
  var sequence: UInt64
  var kind: RecordKind
  /// Where the time's text begins.
  var timeStart = 0
  /// The exchange's identifier; 0 for `loss` and `recovery`.
  var exchangeID: UInt64 = 0
  /// What a `loss` record counts.
  var dropped: UInt64 = 0
  /// Where the members begin that follow `id`, or `time` where there is none; with their comma.
  var membersStart = 0

  private static let kinds: [(StaticString, RecordKind)] = [
    ("exchange\"", .exchange), ("begin\"", .begin), ("end\"", .end), ("abort\"", .abort),
    ("loss\"", .loss), ("recovery\"", .recovery),
  ]

  /// Parses the opening members of a line without its newline.
  static func parse(_ line: UnsafeRawBufferPointer) -> RecordLine? {
    var reader = ByteReader(line)
    guard reader.take("{\"seq\":"), let sequence = reader.sequence(),
      reader.take(",\"kind\":\"")
    else { return nil }
    var kind: RecordKind?
    for (name, candidate) in kinds where reader.take(name) {
      kind = candidate
      break
    }
    guard let kind, reader.take(",\"time\":\"") else { return nil }
    let timeStart = reader.position
    guard reader.bytes(Timestamp.length) != nil, reader.take("\"") else { return nil }
    var record = RecordLine(sequence: sequence, kind: kind, timeStart: timeStart)
    record.membersStart = reader.position
    switch kind {
    case .loss:
      guard reader.take(",\"dropped\":"), let dropped = reader.decimal() else { return nil }
      record.dropped = dropped
    case .recovery:
      break
    case .exchange, .begin, .end, .abort:
      guard reader.take(",\"id\":\""), let text = reader.bytes(16), reader.take("\"") else {
        return nil
      }
      for digit in text {
        guard let value = SealHash.value(digit) else { return nil }
        record.exchangeID = record.exchangeID << 4 | UInt64(value)
      }
      record.membersStart = reader.position
    }
    return record
  }
}
