// What to do about text that is not YAML. libyaml says what it met, in the words of a grammar; this
// looks at the character that stands there and says what a person most likely did.

enum SyntaxHint {
  /// The advice for a syntax error, never empty.
  static func text(
    for error: YAMLSyntaxError, at mark: Mark, in bytes: UnsafeBufferPointer<UInt8>
  ) -> String {
    if error.mark == nil, error.message.contains("control") { return "remove the character" }
    if error.mark == nil { return "save the file as UTF-8 text" }
    let line = line(mark.line, in: bytes)
    let indentation = line.prefix { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
    if indentation.contains(UInt8(ascii: "\t")) { return "indent with spaces, not with tabs" }
    switch character(mark.column, of: line) {
    case UInt8(ascii: "@"), UInt8(ascii: "`"), UInt8(ascii: "%"):
      return "put quotes around the value: it starts with a character that is reserved in YAML"
    case UInt8(ascii: ":"):
      return "put quotes around the value if the colon is part of it"
    default: break
    }
    let message = error.message
    let text = String(decoding: line, as: UTF8.self)
    if message.contains("flow"), text.contains("${") {
      return "put quotes around ${…} inside brackets"
    }
    if message.contains("block mapping") || message.contains("block collection") {
      return "align the keys of one mapping in the same column, and the dashes of one list"
    }
    if message.contains("flow") { return "close every [ with ] and every { with }" }
    if message.contains("quoted scalar") { return "close the quotes" }
    if message.contains("simple key") { return "write KEY: VALUE, with a colon and a space" }
    return "check the indentation and the quotes of this line and the one before"
  }

  private static func line(
    _ number: Int, in bytes: UnsafeBufferPointer<UInt8>
  ) -> Slice<UnsafeBufferPointer<UInt8>> {
    var start = bytes.startIndex
    for _ in 1..<max(number, 1) {
      guard let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) else { break }
      start = end + 1
    }
    return bytes[start...].prefix { $0 != UInt8(ascii: "\n") }
  }

  /// The byte at a 1-based column, which counts characters.
  private static func character(
    _ column: Int, of line: Slice<UnsafeBufferPointer<UInt8>>
  ) -> UInt8? {
    var left = column
    for byte in line where byte & 0xC0 != 0x80 {
      left -= 1
      if left == 0 { return byte }
    }
    return nil
  }
}
