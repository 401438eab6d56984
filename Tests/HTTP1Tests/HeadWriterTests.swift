import HTTP
import HTTP1
import Testing

/// Writes with exactly `capacity` bytes of room, a canary behind them.
private func write(
  _ capacity: Int, _ body: (inout HeadWriter) -> Void
) -> (text: String, overflowed: Bool) {
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity + 8, alignment: 1)
  defer { memory.deallocate() }
  for index in memory.indices { memory[index] = 0xA5 }
  var writer = HeadWriter(UnsafeMutableRawBufferPointer(rebasing: memory[..<capacity]))
  body(&writer)
  #expect(writer.count <= capacity)
  #expect(memory[writer.count...].allSatisfy { $0 == 0xA5 }, "bytes past the count were touched")
  #expect(writer.remaining == (writer.overflowed ? 0 : capacity - writer.count))
  return (String(decoding: memory[..<writer.count], as: UTF8.self), writer.overflowed)
}

/// The bytes of a request that go on, without `except`.
func forwarded(_ head: String, except: FieldSet = []) -> String {
  let bytes = Array(head.utf8)
  var parsed = RequestHead(fieldCapacity: 100)
  return withExactBytes(bytes) { raw in
    guard case .complete = parsed.parse(raw, limits: HeadLimits()) else { return "refused" }
    return write(65_536) { $0.endToEndFields(of: parsed.view(in: raw), except: except) }.text
  }
}

@Suite struct HeadWriterTests {
  @Test func everyKindOfPieceIsWritten() {
    let written = write(200) { writer in
      writer.statusLine(200)
      writer.field("A", "b")
      writer.field("C", decimal: 0)
      withExactBytes(Array("d e".utf8)) { raw in
        writer.field("D", raw)
        writer.append(ByteRange(start: 2, count: 1), of: raw)
      }
      writer.append(byte: 0x21)
      writer.append(decimal: .max)
      writer.append(hex: 0)
      writer.append(hex: 0xABCDEF)
      writer.append(hex: .max)
      writer.crlf()
    }
    #expect(
      written.text == "HTTP/1.1 200 OK\r\nA: b\r\nC: 0\r\nD: d e\r\ne!18446744073709551615"
        + "0abcdefffffffffffffffff\r\n")
    #expect(!written.overflowed)
  }

  @Test func statusLinesCarryTheirReason() {
    for (status, line) in [
      (100, "HTTP/1.1 100 Continue\r\n"), (204, "HTTP/1.1 204 No Content\r\n"),
      (431, "HTTP/1.1 431 Request Header Fields Too Large\r\n"),
      (502, "HTTP/1.1 502 Bad Gateway\r\n"), (299, "HTTP/1.1 299 \r\n"), (999, "HTTP/1.1 999 \r\n"),
    ] as [(UInt16, String)] {
      #expect(write(99) { $0.statusLine(status) }.text == line)
    }
    withExactBytes(Array("Fine".utf8)) { reason in
      #expect(write(99) { $0.statusLine(200, reason: reason) }.text == "HTTP/1.1 200 Fine\r\n")
    }
  }

  @Test func everyStatusThatTheCodecAnswersWithHasAPhrase() {
    let statuses = Set(HeadRejection.allCases.map(\.status) + BodyRejection.allCases.map(\.status))
    for status in statuses.union([408, 413, 502, 503, 504]) {
      #expect(!String(describing: reasonPhrase(status)).isEmpty, "\(status)")
    }
    #expect(String(describing: reasonPhrase(0)).isEmpty)
  }

  @Test func eachPieceFitsExactlyAndNotWithOneByteLess() {
    let pieces: [(String, (inout HeadWriter) -> Void)] = [
      ("hello", { $0.append("hello") }), ("x", { $0.append(byte: 0x78) }),
      ("1000", { $0.append(decimal: 1000) }), ("ff", { $0.append(hex: 255) }),
      ("\r\n", { $0.crlf() }),
    ]
    for (text, piece) in pieces {
      let count = text.utf8.count
      #expect(write(count - 1, piece) == ("", true))
      #expect(write(count, piece) == (text, false))
      #expect(write(count + 1, piece) == (text, false))
    }
  }

  @Test func nothingIsWrittenAfterAnOverflow() {
    let written = write(5) { writer in
      writer.append("abc")
      writer.append("def")
      writer.append(byte: 0x67)
      writer.append(decimal: 1)
    }
    #expect(written == ("abc", true))
  }

  @Test func noRoomAtAllOverflowsOnlyWithAByte() {
    var writer = HeadWriter(UnsafeMutableRawBufferPointer(start: nil, count: 0))
    writer.append("")
    #expect(!writer.overflowed)
    writer.append(byte: 1)
    #expect(writer.overflowed && writer.count == 0)
  }

  @Test func aWholeHeadFitsAtItsSizeAndOverflowsAtEverySmallerOne() {
    let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\nTE: x\r\nX:y\r\nZ: w\r\n\r\n".utf8)
    var head = RequestHead(fieldCapacity: 8)
    withExactBytes(bytes) { raw in
      #expect(head.parse(raw, limits: HeadLimits()) == .complete(length: raw.count))
      func whole(_ writer: inout HeadWriter) {
        writer.append("GET / HTTP/1.1\r\n")
        writer.endToEndFields(of: head.view(in: raw), except: [.via])
        writer.field("Via", "1.1 m")
        writer.crlf()
      }
      let expected = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nZ: w\r\nVia: 1.1 m\r\n\r\n"
      let count = expected.utf8.count
      for capacity in 0..<count {
        let written = write(capacity, whole)
        #expect(written.overflowed && expected.hasPrefix(written.text))
      }
      #expect(write(count, whole) == (expected, false))
      #expect(write(count + 1, whole) == (expected, false))
    }
  }

  @Test(arguments: [
    ("Host: a\r\nB: c\r\n", "Host: a\r\nB: c\r\n"),
    ("hOsT:a\r\nB:\t c \t\r\nD: e\r\n", "hOsT: a\r\nB: c\r\nD: e\r\n"),
    ("Host:\ta\r\nB: c\r\n", "Host: a\r\nB: c\r\n"),
    ("Host: a\r\nB:\r\nC: \r\nD:  \r\nE: f\r\n", "Host: a\r\nB: \r\nC: \r\nD: \r\nE: f\r\n"),
    ("Connection: x\r\nHost: a\r\nX: 1\r\nY: 2\r\nTE: z\r\n", "Host: a\r\nY: 2\r\n"),
    ("X: 1\r\nHost: a\r\nConnection: x, close\r\nX: 3\r\n", "Host: a\r\n"),
    ("Host: a\r\nVia: 1\r\nB: c\r\nvia: 2\r\n", "Host: a\r\nB: c\r\n"),
    ("Host: a\r\nB: c \r\nD: e\r\nVia: 1\r\nF:g\r\n", "Host: a\r\nB: c\r\nD: e\r\nF: g\r\n"),
  ])
  func endToEndFieldsAreWrittenInOrderAndCanonically(lines: String, expected: String) {
    #expect(forwarded("GET / HTTP/1.1\r\n\(lines)\r\n", except: [.via]) == expected)
  }

  @Test func exceptingOtherLeavesOnlyRecognisedFields() {
    let head = "GET / HTTP/1.1\r\nA: 1\r\nHost: a\r\nB: 2\r\nAccept: 3\r\n\r\n"
    #expect(forwarded(head, except: [.other]) == "Host: a\r\nAccept: 3\r\n")
    #expect(forwarded(head, except: [.other, .host, .accept]) == "")
  }

  @Test func responsesAreForwardedTheSameWay() {
    let bytes = Array("HTTP/1.1 200 OK\r\nA: 1\r\nKeep-Alive: 2\r\nDate: 3\r\nB:4\r\n\r\n".utf8)
    var head = ResponseHead(fieldCapacity: 8)
    withExactBytes(bytes) { raw in
      #expect(head.parse(raw, limits: HeadLimits()) == .complete(length: raw.count))
      let written = write(99) { $0.endToEndFields(of: head.view(in: raw), except: [.date]) }
      #expect(written == ("A: 1\r\nB: 4\r\n", false))
    }
  }

  @Test func trailersAreWrittenAsFieldLines() {
    var decoder = BodyDecoder(.chunked)
    withExactBytes(Array("0\r\nA:1\r\nHost: x\r\nB:  2\r\n\r\n".utf8)) { raw in
      var offset = 0
      #expect(decoder.next(raw, at: &offset) == .complete)
    }
    let expected = "A: 1\r\nB: 2\r\n"
    let count = expected.utf8.count
    #expect(write(count) { $0.trailers(of: decoder) } == (expected, false))
    #expect(write(count - 1) { $0.trailers(of: decoder) }.overflowed)
  }
}

@Suite struct ChunkFramingTests {
  @Test(
    arguments: [
      (1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (255, "ff\r\n"), (65_536, "10000\r\n"),
      (.max, "7fffffffffffffff\r\n"),
    ] as [(Int, String)])
  func headersAreHexadecimal(size: Int, text: String) {
    let memory = UnsafeMutableRawBufferPointer.allocate(
      byteCount: ChunkFraming.headerMaximum, alignment: 1)
    defer { memory.deallocate() }
    let count = ChunkFraming.writeHeader(size, to: memory.baseAddress!)
    #expect(String(decoding: memory[..<count], as: UTF8.self) == text)
    #expect(count <= ChunkFraming.headerMaximum)
  }

  @Test func whatIsFramedDecodesToTheSame() {
    var message: [UInt8] = []
    for size in [1, 2, 15, 16, 17, 4_096] {
      let memory = UnsafeMutableRawBufferPointer.allocate(
        byteCount: ChunkFraming.headerMaximum, alignment: 1)
      defer { memory.deallocate() }
      let count = ChunkFraming.writeHeader(size, to: memory.baseAddress!)
      message += memory[..<count]
      message += [UInt8](repeating: UInt8(size & 0xFF), count: size)
      message += Array(String(describing: ChunkFraming.chunkEnd).utf8)
    }
    let end = Array(String(describing: ChunkFraming.end).utf8)
    #expect(end == Array((String(describing: ChunkFraming.lastChunk) + "\r\n").utf8))
    let result = decode(message + end + [0])
    #expect(result.end == .complete)
    #expect(result.content.count == 1 + 2 + 15 + 16 + 17 + 4_096)
    #expect(result.consumed == message.count + end.count)
  }
}
