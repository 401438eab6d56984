import Testing
import Text

@testable import AuditLog

private func escaped(_ bytes: [UInt8]) -> String {
  var memory = [UInt8](repeating: 0, count: bytes.count * 6 + 1)
  let length = memory.withUnsafeMutableBytes { memory in
    bytes.withUnsafeBytes { bytes in
      var cursor = ByteCursor(base: memory.baseAddress!, capacity: memory.count)
      cursor.escaped(bytes)
      return cursor.position
    }
  }
  return String(decoding: memory[0..<length], as: UTF8.self)
}

private func timestamp(_ microseconds: Int64) -> String {
  var memory = [UInt8](repeating: 0, count: 64)
  let length = memory.withUnsafeMutableBytes {
    var cursor = ByteCursor(base: $0.baseAddress!, capacity: 64)
    Timestamp.write(microseconds, into: &cursor)
    return cursor.position
  }
  return String(decoding: memory[0..<length], as: UTF8.self)
}

/// Undoes the escaping of a JSON string's content, as docs/audit-log.md tells readers to.
private func unescaped(_ text: String) -> [UInt8] {
  var result: [UInt8] = []
  var rest = Array(text.utf8)[...]
  while let byte = rest.popFirst() {
    guard byte == 0x5C else {
      result.append(byte)
      continue
    }
    switch rest.popFirst()! {
    case 0x6E: result.append(0x0A)
    case 0x72: result.append(0x0D)
    case 0x74: result.append(0x09)
    case 0x75:
      let value = UInt16(String(decoding: rest.prefix(4), as: UTF8.self), radix: 16)!
      rest = rest.dropFirst(4)
      if 0xF780...0xF7FF ~= value {
        // The code points that stand for single bytes.
        result.append(UInt8(truncatingIfNeeded: value))
      } else if UTF16.isLeadSurrogate(value) {
        let low = UInt16(String(decoding: rest.dropFirst(2).prefix(4), as: UTF8.self), radix: 16)!
        rest = rest.dropFirst(6)
        result += Array(String(decoding: [value, low], as: UTF16.self).utf8)
      } else {
        result += Array(String(decoding: [value], as: UTF16.self).utf8)
      }
    case let other: result.append(other)
    }
  }
  return result
}

@Suite struct RecordWriterTests {
  @Test func controlCharactersQuotesAndBackslashesAreEscaped() {
    #expect(escaped(Array("a\"b\\c\n\r\t".utf8)) == "a\\\"b\\\\c\\n\\r\\t")
    #expect(escaped([0x00, 0x1B, 0x7F]) == "\\u0000\\u001b\\u007f")
  }

  @Test func validTextPassesUnchanged() {
    for text in ["", "plain", "/péché/日本/🜚?x=1", "\u{FFFD}\u{E000}\u{10FFFF}"] {
      #expect(escaped(Array(text.utf8)) == text)
    }
  }

  @Test(
    arguments: [
      [0x80], [0xC0, 0xAF], [0xC2], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80],
      [0xF5, 0x80, 0x80, 0x80],
      [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82], [0xF0, 0x9F, 0x9C], [0xFF, 0xFE],
      // U+F7A1 itself, which stands for a byte when the writer makes it.
      [0xEF, 0x9E, 0xA1],
    ] as [[UInt8]])
  func bytesThatAreNoTextAreUnambiguous(bytes: [UInt8]) {
    let text = escaped(bytes)
    #expect(text.utf8.count == bytes.count * 6)
    #expect(unescaped(text) == bytes)
  }

  @Test func everyByteStringComesBackFromItsEscapedForm() {
    var random = SplitMix(state: 11)
    for _ in 0..<3_000 {
      let bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ -> UInt8 in
        random.chance(50)
          ? UInt8.random(in: 0...255, using: &random)
          : [0xEF, 0x9E, 0x9F, 0x80, 0xE2, 0x22, 0x5C, 0x41].randomElement(using: &random)!
      }
      let text = escaped(bytes)
      #expect(unescaped(text) == bytes)
      let object = Array("{\"a\":\"\(text)\"}".utf8)
      #expect(object.withUnsafeBytes { JSONShape.isObject($0) })
    }
  }

  @Test func timesAreUTCWithMicroseconds() {
    #expect(timestamp(0) == "1970-01-01T00:00:00.000000Z")
    #expect(timestamp(1_795_224_838_123_456) == "2026-11-21T01:33:58.123456Z")
    #expect(timestamp(951_782_399_999_999) == "2000-02-28T23:59:59.999999Z")
    #expect(timestamp(951_782_400_000_000) == "2000-02-29T00:00:00.000000Z")
    #expect(timestamp(4_107_542_400_000_000) == "2100-03-01T00:00:00.000000Z")
    #expect(timestamp(-1) == "1970-01-01T00:00:00.000000Z")
    #expect(timestamp(.max) == "9999-12-31T23:59:59.999999Z")
  }

  @Test func aRequestPartTellsWhatItNeedsAtOneByteTooFew() {
    let path = Array("/a\"b".utf8)
    path.withUnsafeBytes { path in
      var facts = RequestFacts()
      facts.path = path
      let needed = ",\"path\":\"/a\\\"b\"".utf8.count
      var memory = [UInt8](repeating: 0xEE, count: needed + 1)
      memory.withUnsafeMutableBytes { memory in
        let exact = UnsafeMutableRawBufferPointer(rebasing: memory[..<needed])
        let short = UnsafeMutableRawBufferPointer(rebasing: memory[..<(needed - 1)])
        #expect(RecordWriter.writeRequestPart(facts, into: short) == -needed)
        #expect(memory[needed - 1] == 0xEE)
        #expect(RecordWriter.writeRequestPart(facts, into: exact) == needed)
        #expect(RecordWriter.writeRequestPart(facts, into: memory) == needed)
        #expect(memory[needed] == 0xEE)
        let nothing = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        #expect(RecordWriter.writeRequestPart(facts, into: nothing) == -needed)
      }
    }
  }

  @Test func aRedactedQueryIsNamedButNotShown() {
    let query = Array("token=secret".utf8)
    query.withUnsafeBytes { query in
      var facts = RequestFacts()
      facts.query = query
      facts.redactsQuery = true
      var memory = [UInt8](repeating: 0, count: 100)
      let length = memory.withUnsafeMutableBytes { RecordWriter.writeRequestPart(facts, into: $0) }
      let text = String(decoding: memory[0..<length], as: UTF8.self)
      #expect(text == ",\"query_redacted\":true")
      facts.query = UnsafeRawBufferPointer(start: nil, count: 0)
      let none = memory.withUnsafeMutableBytes { RecordWriter.writeRequestPart(facts, into: $0) }
      #expect(none == 0)
    }
  }

  @Test func theWorstRecordStaysWithinItsBound() {
    // Every byte of the upstream is escaped to six, every number has all its digits.
    let upstream = [UInt8](repeating: 0xFF, count: RecordWriter.upstreamMaximum + 50)
    let part = Array(",\"path\":\"/\"".utf8)
    var memory = [UInt8](repeating: 0, count: 8_192)
    upstream.withUnsafeBytes { upstream in
      let facts = ResponseFacts(
        status: .max, requestBytes: .max, responseBytes: .max, upstream: upstream,
        queueMicroseconds: .max, connectMicroseconds: .max, firstByteMicroseconds: .max,
        totalMicroseconds: .max,
        ending: "an ending that is much longer than endings are, in fact so long as to be cut off")
      let length = memory.withUnsafeMutableBytes { memory in
        part.withUnsafeBytes { part in
          var cursor = ByteCursor(base: memory.baseAddress!, capacity: memory.count)
          RecordWriter.writeRecord(
            .exchange, sequence: .max, exchangeID: .max, wallMicroseconds: .max,
            requestPart: part, response: facts, into: &cursor)
          return cursor.position
        }
      }
      #expect(length <= RecordWriter.recordMaximum(requestPart: part.count))
      #expect(length > RecordWriter.recordMaximum(requestPart: part.count) - 100)
      #expect(
        memory[0..<(length - 1)].withUnsafeBytes { JSONShape.isObject($0) })
    }
  }

  @Test func chainLinesStayWithinTheirBounds() {
    var memory = [UInt8](repeating: 0, count: 1_024)
    memory.withUnsafeMutableBytes { memory in
      var cursor = ByteCursor(base: memory.baseAddress!, capacity: memory.count)
      SegmentHeader(
        run: RunIdentity(high: .max, low: .max), worker: 999, segment: .max,
        createdMicroseconds: .max, nextSequence: .max, previous: .zero, lostFirst: .max,
        lostLast: .max
      ).write(into: &cursor)
      #expect(cursor.position <= SegmentHeader.maximum)
      var seal = ByteCursor(base: memory.baseAddress!, capacity: memory.count)
      Seal(
        firstSequence: .max, lastSequence: .max, bytes: .max, previous: .zero, hash: .zero
      ).write(into: &seal)
      // ,"signature":"…" with the 128 digits of an Ed25519 signature has to fit too.
      #expect(seal.position + 15 + 128 <= Seal.maximum)
      var loss = ByteCursor(base: memory.baseAddress!, capacity: memory.count)
      RecordWriter.writeLoss(
        sequence: .max, wallMicroseconds: .max, dropped: .max, into: &loss)
      #expect(loss.position <= RecordWriter.lossMaximum)
    }
  }

  @Test(arguments: [
    "{}x", "{", "{\"a\"}", "{\"a\":}", "{\"a\":01}", "{\"a\":1,}", "{\"a\":\"\u{1}\"}", "[]",
    "{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}", "{\"a\":tru}", "{\"a\":1.}", "{\"a\":-}", "",
  ])
  func whatIsNoObjectIsRefused(text: String) {
    #expect(!Array(text.utf8).withUnsafeBytes { JSONShape.isObject($0) })
  }

  @Test func objectsOfEveryKindOfValueAreAccepted() {
    let text = "{\"a\":[1,-2.5e+3,true,false,null,{}],\"b\":\"\\u00e9\\n\",\"c\":{\"d\":[]}}"
    #expect(Array(text.utf8).withUnsafeBytes { JSONShape.isObject($0) })
    let nested = String(repeating: "{\"a\":", count: 17) + "1" + String(repeating: "}", count: 17)
    #expect(!Array(nested.utf8).withUnsafeBytes { JSONShape.isObject($0) })
  }
}
