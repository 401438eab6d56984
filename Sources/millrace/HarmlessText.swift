// Text from elsewhere on its way to a terminal.

/// Text without what a terminal would take for a command, or that changes the order of what is read.
enum HarmlessText {
  /// Control characters, line ends among them, and marks of direction are written as \u001B.
  static func line(_ text: String) -> String {
    if text.unicodeScalars.allSatisfy({ isHarmless($0.value) }) { return text }
    var harmless = ""
    for scalar in text.unicodeScalars {
      if isHarmless(scalar.value) {
        harmless.unicodeScalars.append(scalar)
      } else {
        let digits = String(scalar.value, radix: 16)
        harmless += "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
      }
    }
    return harmless
  }

  /// The same for several lines.
  static func lines(_ text: String) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false).map { line(String($0)) }
      .joined(separator: "\n")
  }

  private static func isHarmless(_ value: UInt32) -> Bool {
    switch value {
    case 0..<0x20, 0x7F...0x9F, 0x061C, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF:
      false
    default: true
    }
  }
}
