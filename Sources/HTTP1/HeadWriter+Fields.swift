// Field lines into a head: those of this program's own, those of a received head that go on to the
// next hop, and trailers. Received lines that stand in canonical form next to each other, as nearly
// all do, are copied as one run.
//
// TRAP: (file) the caller gives the bytes that the table was parsed from; their length is the
// parser's.

public import HTTP

extension HeadWriter {
  @inline(__always)
  public mutating func field(_ name: StaticString, _ value: StaticString) {
    append(name)
    append(": ")
    append(value)
    crlf()
  }

  /// Appends a field line, whole or not at all; the value must be one (RFC 9110 5.5): a CR or LF in it
  /// would end the line, so a debug build traps on any control byte but HTAB.
  // SAFETY: `reserve` gave room for the name, the two separators and the value.
  @inline(__always)
  public mutating func field(_ name: StaticString, _ value: UnsafeRawBufferPointer) {
    assert(value.allSatisfy { !ByteClass.isControl($0) || $0 == ByteClass.tab })
    let nameCount = name.utf8CodeUnitCount
    guard let place = reserve(nameCount &+ value.count &+ 4) else { return }
    place.copyMemory(from: UnsafeRawPointer(name.utf8Start), byteCount: nameCount)
    place.storeBytes(of: 0x3A, toByteOffset: nameCount, as: UInt8.self)
    place.storeBytes(of: 0x20, toByteOffset: nameCount &+ 1, as: UInt8.self)
    let start = place + (nameCount &+ 2)
    if let base = value.baseAddress { start.copyMemory(from: base, byteCount: value.count) }
    start.storeBytes(of: 0x0D, toByteOffset: value.count, as: UInt8.self)
    start.storeBytes(of: 0x0A, toByteOffset: value.count &+ 1, as: UInt8.self)
  }

  /// Appends a field line whose value is a number.
  public mutating func field(_ name: StaticString, decimal value: UInt64) {
    append(name)
    append(": ")
    append(decimal: value)
    crlf()
  }

  /// Appends the field lines of a head that go on to the next hop and are not in `except`, in the
  /// order and with the names received, as `name: value`.
  public mutating func endToEndFields(of head: RequestView, except: FieldSet) {
    if head.version == .http2 {
      forwardLines(of: head, except)
    } else {
      forward(head.fields, head.bytes, except)
    }
  }

  /// As above, for a response.
  public mutating func endToEndFields(of head: ResponseView, except: FieldSet) {
    if head.version == .http2 {
      forwardLines(of: head, except)
    } else {
      forward(head.fields, head.bytes, except)
    }
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

  /// Field lines of HTTP/2, which stand in no text that could be copied as a run. Cookies that came in
  /// parts are put together again (RFC 9113 8.2.3).
  @inline(never)
  private mutating func forwardLines(of head: RequestView, _ except: FieldSet) {
    let joinsCookies = head.repeatedFields.has(.cookie)
    var hasCookie = false
    for index in 0..<head.fieldCount {
      let line = head.field(index)
      if line.isHopByHop || except.has(line.known) { continue }
      if joinsCookies, line.known == .cookie {
        if !hasCookie { appendCookies(of: head) }
        hasCookie = true
        continue
      }
      appendLine(head.slice(line.name), head.slice(line.value))
    }
  }

  private mutating func appendCookies(of head: RequestView) {
    var separator: StaticString = "cookie: "
    for index in 0..<head.fieldCount {
      let line = head.field(index)
      if line.known != .cookie || line.isHopByHop { continue }
      append(separator)
      append(head.slice(line.value))
      separator = "; "
    }
    crlf()
  }

  @inline(never)
  private mutating func forwardLines(of head: ResponseView, _ except: FieldSet) {
    for index in 0..<head.fieldCount {
      let line = head.field(index)
      if line.isHopByHop || except.has(line.known) { continue }
      appendLine(head.slice(line.name), head.slice(line.value))
    }
  }

  private mutating func appendLine(
    _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) {
    append(name)
    append(": ")
    append(value)
    crlf()
  }
}
