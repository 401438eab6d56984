// Field lines into a head: those of this program's own, those of a received head that go on to the
// next hop, and trailers. Received lines that stand in canonical form next to each other, as nearly
// all do, are copied as one run.
//
// TRAP: (file) the caller gives the bytes that the table was parsed from; their length is the
// parser's.

public import HTTP

extension HeadWriter {
  public mutating func field(_ name: StaticString, _ value: StaticString) {
    append(name)
    append(": ")
    append(value)
    crlf()
  }

  /// Appends a field line; the value must be one (RFC 9110 5.5): a CR or LF in it would end the
  /// line, so a debug build traps on any control byte but HTAB.
  public mutating func field(_ name: StaticString, _ value: UnsafeRawBufferPointer) {
    assert(value.allSatisfy { !ByteClass.isControl($0) || $0 == ByteClass.tab })
    append(name)
    append(": ")
    append(value)
    crlf()
  }

  /// Appends a field line whose value is a number.
  public mutating func field(_ name: StaticString, decimal value: UInt64) {
    append(name)
    append(": ")
    append(decimal: value)
    crlf()
  }

  /// Appends Date with the text of the last `refresh`.
  public mutating func dateField(_ date: borrowing HTTPDate) {
    date.withLatest { field("Date", $0) }
  }

  /// Appends the field lines of a head that go on to the next hop and are not in `except`, in the
  /// order and with the names received, as `name: value`.
  public mutating func endToEndFields(of head: RequestView, except: FieldSet) {
    forward(head.fields, head.bytes, except)
  }

  /// As above, for a response.
  public mutating func endToEndFields(of head: ResponseView, except: FieldSet) {
    forward(head.fields, head.bytes, except)
  }

  /// Appends the trailer lines of a complete message that may be forwarded. The last chunk goes
  /// before them and an empty line behind (`ChunkFraming.lastChunk`, `crlf`).
  public mutating func trailers(of decoder: borrowing BodyDecoder) {
    for index in 0..<decoder.trailerCount {
      let line = decoder.trailer(index)
      append(line.name)
      append(": ")
      append(line.value)
      crlf()
    }
  }

  // SAFETY: the table's ranges lie within the bytes that were parsed, up to and including the CRLF
  // of each line; the precondition refuses other, shorter bytes.
  private mutating func forward(
    _ table: FieldTable, _ bytes: UnsafeRawBufferPointer, _ except: FieldSet
  ) {
    guard table.count > 0, let base = bytes.baseAddress else { return }
    let last = Int(table.line(table.count &- 1).value.end)
    precondition(last &+ 2 <= bytes.count, "not the bytes of this head")
    var runStart = 0
    var runEnd = 0
    for index in 0..<table.count {
      let line = table.line(index)
      if line.isHopByHop || except.has(line.known) { continue }
      let nameStart = Int(line.name.start)
      let nameEnd = Int(line.name.end)
      let valueStart = Int(line.value.start)
      let valueEnd = Int(line.value.end)
      let isCanonical =
        valueStart == nameEnd &+ 2 && ByteClass.byte(base, nameEnd &+ 1) == ByteClass.space
        && ByteClass.byte(base, valueEnd) == ByteClass.carriageReturn
      if isCanonical, nameStart == runEnd {
        runEnd = valueEnd &+ 2
        continue
      }
      append(base + runStart, runEnd &- runStart)
      runStart = nameStart
      runEnd = valueEnd &+ 2
      if isCanonical { continue }
      append(base + nameStart, nameEnd &- nameStart)
      append(": ")
      append(base + valueStart, valueEnd &- valueStart)
      crlf()
      runStart = 0
      runEnd = 0
    }
    append(base + runStart, runEnd &- runStart)
  }
}
