import Glibc
import MillraceEngine
import Testing

@testable import AuditLog

private let anchor = Anchor(
  run: RunIdentity(high: 0x0123_4567_89ab_cdef, low: 7), worker: 3, workers: 4, sequence: 1_801,
  seal: Array(String(repeating: "5a", count: 32).utf8).withUnsafeBytes { SealHash(hex: $0)! })

/// Finds in a text that arrives in parts of the given size.
private func find(_ text: String, parts: Int = 1 << 20) -> AnchorFinder {
  var finder = AnchorFinder()
  let bytes = Array(text.utf8)
  bytes.withUnsafeBytes { bytes in
    var at = 0
    while at < bytes.count {
      let end = min(at + parts, bytes.count)
      finder.feed(UnsafeRawBufferPointer(rebasing: bytes[at..<end]))
      at = end
    }
  }
  finder.finish()
  return finder
}

private func escaped(_ text: String) -> String {
  text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
}

@Suite struct AnchorTests {
  private static let text = anchor.text
  private static let spaced = text.replacing(":", with: ": ").replacing(",", with: ", ")
  private static let pretty =
    text.replacing("{", with: "{\n  ").replacing(",", with: ",\n  ").replacing("}", with: "\n}")
  private static let reordered =
    "{\"seq\":1801,\"seal\":\"\(anchor.seal.hex)\",\"workers\":4,\"worker\":3,"
    + "\"run\":\"\(anchor.run.hexadecimal)\",\"host\":\"edge-1\",\"kind\":\"anchor\"}"

  @Test(arguments: [
    text, "2026-11-21T01:33:58.123Z info audit anchor " + text, text + "\n", spaced, pretty,
    reordered, "{\"level\":\"info\",\"msg\":\"audit anchor \(escaped(text))\"}",
    "{\"log\":\"\(escaped("{\"msg\":\"audit anchor \(escaped(text))\"}"))\\n\"}",
    "{\"msg\":\"\(escaped(pretty).replacing("\n", with: "\\n"))\"}",
    "{\"a\":{\"b\":[1,{\"c\":\(spaced)}]}}", "{{{" + text + "}}}", "{\"kind\":\"anchor\",\(text)",
  ])
  func anAnchorIsFoundHoweverItWasPrinted(_ text: String) {
    for parts in [1 << 20, 1, 7, 100] {
      #expect(find(text, parts: parts).anchors == [anchor], "\(parts): \(text)")
    }
  }

  @Test func everyAnchorOfATextIsFound() {
    let text = (0..<50).map { _ in
      "noise {\"x\":1} " + Self.text + String(repeating: " ", count: 97)
    }.joined()
    for parts in [1 << 20, 1_000, 4_096] { #expect(find(text, parts: parts).anchors.count == 50) }
    #expect(
      find("{" + String(repeating: "\"a\":1,", count: 10_000) + Self.text).anchors == [anchor])
  }

  @Test func whatIsNoWholeAnchorIsCountedAndNotTaken() {
    let cut = String(Self.text.dropLast(10))
    let wrong = [
      "{\"kind\":\"anchor\"}", cut, Self.text.replacing("5a5a5a5a", with: "5a5a5a"),
      Self.text.replacing(":1801", with: ":-1"), Self.text.replacing(":1801", with: ":01"),
      Self.text.replacing("\"worker\":3", with: "\"worker\":3000"),
      Self.text.replacing("}", with: ",\"seq\":1}"),
    ]
    for text in wrong {
      let found = find(text)
      #expect(found.anchors == [], "\(text)")
      #expect(found.malformed == 1, "\(text)")
    }
    for text in ["", "noise", "{\"kind\":\"seal\"}", "{\"msg\":\"kind anchor\"}", "{", "{\""] {
      let found = find(text)
      #expect(found.anchors == [] && found.malformed == 0, "\(text)")
    }
  }

  @Test func aPipeIsReadToItsEnd() throws {
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    let bytes = Array((Self.text + "\n" + Self.spaced).utf8)
    #expect(write(ends[1], bytes, bytes.count) == bytes.count)
    close(ends[1])
    defer { close(ends[0]) }
    #expect(try AnchorFinder.read("/proc/self/fd/\(ends[0])").anchors == [anchor, anchor])
  }

  @Test func aFolderIsNoFileOfAnchors() {
    #expect(throws: Errno.self) { try AnchorFinder.read("/") }
  }
}
