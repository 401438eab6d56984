// How text from a file is quoted in a message: on one line, without control characters, and never
// longer than a person reads. Also the few byte classes that the readers share.

/// The longest excerpt of a file's own text in a message, in characters.
let excerptCharactersMaximum = 60

/// `text` cut to a readable length, on one line.
func excerpt(_ text: String) -> String {
  let line = oneLine(text)
  if line.count <= excerptCharactersMaximum { return line }
  return String(line.prefix(excerptCharactersMaximum)) + "…"
}

/// An excerpt in double quotes.
func quoted(_ text: String) -> String { "\"\(excerpt(text))\"" }

/// `a`, `a or b`, `a, b or c`.
func alternatives(_ names: [String], joined word: String = "or") -> String {
  guard let last = names.last else { return "" }
  if names.count == 1 { return last }
  return names.dropLast().joined(separator: ", ") + " \(word) \(last)"
}

/// The text with every control character and line separator written as an escape, so that a
/// message stays one line in a log and on a terminal whatever a file holds.
func oneLine(_ text: String) -> String {
  guard text.unicodeScalars.contains(where: { isControl($0) }) else { return text }
  var result = ""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\n": result += "\\n"
    case "\t": result += "\\t"
    case "\r": result += "\\r"
    case let other where isControl(other):
      result += "\\u{\(String(other.value, radix: 16))}"
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result
}

/// C0, DEL, C1, the line separators, and the marks that reorder text on a terminal.
func isControl(_ scalar: UnicodeScalar) -> Bool {
  switch scalar.value {
  case 0..<0x20, 0x7F..<0xA0, 0x2028...0x202E, 0x2066...0x2069: true
  default: false
  }
}

func hasControl(_ text: String) -> Bool { text.unicodeScalars.contains { isControl($0) } }

func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

func isLetter(_ byte: UInt8) -> Bool {
  let lower = byte | 0x20
  return lower >= UInt8(ascii: "a") && lower <= UInt8(ascii: "z")
}

/// Letters, digits, hyphen, dot and, because real networks use it, underscore.
func isHostByte(_ byte: UInt8) -> Bool {
  isDigit(byte) || isLetter(byte) || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
    || byte == UInt8(ascii: "_")
}

/// ASCII lower case; other bytes stay.
func lowercased(_ text: String) -> String {
  let bytes = text.utf8.map { byte -> UInt8 in
    byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
  }
  return String(decoding: bytes, as: UTF8.self)
}
