// JSON is written as it is read, and foreign bytes that are not JSON are nil.

import Admin
import Testing

@Suite("JSON of the control plane")
struct JSONTests {
  private func read(_ text: String) -> JSONValue? { JSONValue(parsing: Array(text.utf8)) }

  @Test("what is written is read back, members in their order")
  func roundTrip() throws {
    let value = JSONValue.object([
      .init("b", .array([.null, .boolean(true), .boolean(false)])),
      .init("a", .object([])), .init("empty", .array([])),
      .init("n", .integer(-9_007_199_254_740_993)), .init("f", .number(0.25)),
      .init("t", .text("a\"\\\n\t\u{1}\u{7F}é😀")),
    ])
    #expect(read(value.text) == value)
    #expect(value["n"]?.int == -9_007_199_254_740_993)
    #expect(value["f"]?.double == 0.25)
    #expect(value["x"] == nil && value["a"]?["y"] == nil)
    #expect(JSONValue.number(.infinity).text == "null")
    #expect(JSONValue.count(UInt64.max).text == "9223372036854775807")
  }

  @Test("escapes and white space of other writers are read")
  func others() {
    #expect(read(" {\"a\" :\t[ 1 , 2.5e1 ] }\r\n")?["a"] == .array([.integer(1), .number(25)]))
    #expect(read("\"\\u00e9\\ud83d\\ude00\\/\\b\\f\\r\"") == .text("é😀/\u{8}\u{C}\r"))
  }

  @Test(
    "what is no JSON is nil",
    arguments: [
      "", " ", "{", "[1,", "[1,]", "{\"a\"}", "{\"a\":1,}", "{a:1}", "tru", "\"", "\"\\x\"",
      "\"\\ud83d\"", "\"\\udc00\"", "\"\\u+123\"", "1 2", "-", "1e999", "\"\u{1}\"", "+",
    ])
  func malformed(_ text: String) {
    #expect(read(text) == nil)
  }

  @Test("a value that nests too deep is refused, and does not end the process")
  func deep() {
    #expect(read(String(repeating: "[", count: 100_000)) == nil)
    #expect(read(String(repeating: "[", count: 60) + String(repeating: "]", count: 60)) != nil)
  }
}
