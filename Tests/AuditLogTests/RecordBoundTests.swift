// What a client chooses is bounded as it is written, and what could drive a terminal is written by
// its number.

import Testing
import Text

@testable import AuditLog

private func escaped(_ text: [UInt8]) -> String {
  var memory = [UInt8](repeating: 0, count: 6 * text.count + 1)
  let length = memory.withUnsafeMutableBytes { memory in
    text.withUnsafeBytes { bytes in
      var cursor = ByteCursor(base: memory.baseAddress!, capacity: memory.count)
      cursor.escaped(bytes)
      return cursor.position
    }
  }
  return String(decoding: memory[..<length], as: UTF8.self)
}

/// The request part of facts of which every client-controlled member has these bytes.
private func part(_ bytes: [UInt8]) -> String {
  var memory = [UInt8](repeating: 0, count: 128 << 10)
  let length = memory.withUnsafeMutableBytes { memory in
    bytes.withUnsafeBytes { bytes in
      var facts = RequestFacts()
      facts.client = bytes
      facts.listener = bytes
      facts.tlsVersion = bytes
      facts.tlsCipher = bytes
      facts.sni = bytes
      facts.clientCertificate = bytes
      facts.version = bytes
      facts.stream = UInt32.max
      facts.method = bytes
      facts.host = bytes
      facts.path = bytes
      facts.query = bytes
      facts.requestID = bytes
      facts.traceID = bytes
      return RecordWriter.writeRequestPart(facts, into: memory)
    }
  }
  return length < 0 ? "" : String(decoding: memory[..<length], as: UTF8.self)
}

@Suite struct RecordBoundTests {
  @Test(arguments: [0x80, 0x22, 0x41, 0x00, 0x7F] as [UInt8])
  func aRecordFitsWhateverTheClientSends(byte: UInt8) {
    let text = part([UInt8](repeating: byte, count: 70_000))
    #expect(!text.isEmpty && text.utf8.count <= RecordWriter.requestPartMaximum)
    #expect(text.contains("\"request_id_truncated\":70000"))
    #expect(text.contains("\"path_truncated\":70000"))
    #expect(text.contains(",\"stream\":4294967295,"))
    let line = Array("{\"a\":1\(text)}".utf8)
    #expect(line.withUnsafeBytes { JSONShape.isObject($0) })
  }

  @Test func aStreamHasANumberAndHTTP1HasNone() {
    var memory = [UInt8](repeating: 0, count: 100)
    for (stream, text) in [(0, ""), (7, ",\"stream\":7")] {
      let length = memory.withUnsafeMutableBytes { memory in
        var facts = RequestFacts()
        facts.stream = UInt32(stream)
        return RecordWriter.writeRequestPart(facts, into: memory)
      }
      #expect(String(decoding: memory[..<length], as: UTF8.self) == text)
    }
  }

  @Test func theLongestRecordIsWithinTheJournalsLimit() {
    let configuration = JournalConfiguration(
      directory: "/log", worker: 0, run: RunIdentity(high: 1, low: 7))
    let longest = RecordWriter.recordMaximum(requestPart: RecordWriter.requestPartMaximum)
    #expect(longest <= configuration.recordMaximum)
  }

  @Test(arguments: [(170, false), (171, true), (172, true)])
  func aMemberIsCutAtItsBoundAsEscaped(count: Int, isCut: Bool) {
    // 1,024 bytes hold 170 escapes of six.
    let text = part([UInt8](repeating: 0x80, count: count))
    #expect(text.contains("\"request_id_truncated\":\(count)") == isCut)
    #expect(text.contains("\"sni_truncated\":\(count)") == isCut)
    #expect(!text.contains("\"path_truncated\""))
  }

  @Test(arguments: [16_383, 16_384, 16_385])
  func aPlainTargetIsKeptWholeUpToItsBound(count: Int) {
    let text = part([UInt8](repeating: 0x61, count: count))
    #expect(text.contains("\"path_truncated\":\(count)") == (count > 16_384))
    #expect(text.contains("\"query_truncated\":\(count)") == (count > 16_384))
  }

  @Test func aCutNeverSplitsACharacter() {
    for text in ["é", "€", "𝄞", "\u{202E}", "\"", "\u{E0041}"] {
      let unit = Array(text.utf8)
      let width = escaped(unit).utf8.count
      let many = Array(repeatElement(unit, count: 400).joined())
      for maximum in (3 * width)...(6 * width) {
        let kept = many.withUnsafeBytes { ByteCursor.prefix(of: $0, escapedMaximum: maximum) }
        #expect(kept % unit.count == 0)
        #expect(kept / unit.count == maximum / width, "\(text.debugDescription) \(maximum)")
      }
    }
  }

  @Test(arguments: [
    ("\u{80}", "\\u0080"), ("\u{9B}31m", "\\u009b31m"), ("\u{9F}", "\\u009f"), ("\u{A0}", "\u{A0}"),
    ("\u{AD}", "\\u00ad"), ("\u{61C}", "\\u061c"), ("\u{180E}", "\\u180e"),
    ("\u{200A}", "\u{200A}"), ("\u{200B}", "\\u200b"), ("\u{200E}", "\\u200e"),
    ("\u{200F}", "\\u200f"), ("\u{2010}", "\u{2010}"), ("\u{2028}", "\\u2028"),
    ("\u{2029}", "\\u2029"), ("\u{202A}", "\\u202a"), ("\u{202E}", "\\u202e"),
    ("\u{202F}", "\u{202F}"), ("\u{2060}", "\\u2060"), ("\u{2066}", "\\u2066"),
    ("\u{2069}", "\\u2069"), ("\u{2070}", "\u{2070}"), ("\u{FEFF}", "\\ufeff"),
    ("\u{FFFB}", "\\ufffb"), ("\u{FFFC}", "\u{FFFC}"), ("\u{1D173}", "\\ud834\\udd73"),
    ("\u{E0001}", "\\udb40\\udc01"), ("\u{E0080}", "\u{E0080}"), ("é€𝄞", "é€𝄞"),
    ("\u{7F}", "\\u007f"),
    ("\u{1B}[2J", "\\u001b[2J"),
  ])
  func whatCouldDriveATerminalIsWrittenByItsNumber(text: String, expected: String) {
    #expect(escaped(Array(text.utf8)) == expected)
    #expect(escaped(Array("a\(text)b".utf8)) == "a\(expected)b")
  }
}
