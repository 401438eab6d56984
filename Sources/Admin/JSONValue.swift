// JSON (RFC 8259) as the control plane writes and reads it: values in the order in which they were put
// together, written without white space, and read from foreign bytes with bounds on depth and size.

/// A JSON value. The members of an object keep their order.
package indirect enum JSONValue: Equatable, Sendable {
  case null
  case boolean(Bool)
  case integer(Int64)
  case number(Double)
  case text(String)
  case array([JSONValue])
  case object([Member])

  package struct Member: Equatable, Sendable {
    package let name: String
    package let value: JSONValue

    package init(_ name: String, _ value: JSONValue) {
      self.name = name
      self.value = value
    }
  }

  package static func count(_ value: Int) -> JSONValue { .integer(Int64(value)) }

  /// A counter; what is beyond 63 bits is shown as the largest such number.
  package static func count(_ value: UInt64) -> JSONValue { .integer(Int64(clamping: value)) }

  package static func optional(_ text: String?) -> JSONValue { text.map { .text($0) } ?? .null }

  /// The member of an object; nil where it has none, and for other values.
  package subscript(_ name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }

  package var items: [JSONValue] {
    if case .array(let items) = self { return items }
    return []
  }

  package var members: [Member] {
    if case .object(let members) = self { return members }
    return []
  }

  package var string: String? {
    if case .text(let text) = self { return text }
    return nil
  }

  package var double: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }

  package var int: Int? {
    switch self {
    case .integer(let value): Int(value)
    case .number(let value): Int(exactly: value.rounded())
    default: nil
    }
  }

  package var bool: Bool? {
    if case .boolean(let value) = self { return value }
    return nil
  }
}

// MARK: - Writing

extension JSONValue {
  /// Its text, without white space.
  package var text: String {
    var text = ""
    write(to: &text)
    return text
  }

  private func write(to text: inout String) {
    switch self {
    case .null: text += "null"
    case .boolean(let value): text += value ? "true" : "false"
    case .integer(let value): text += "\(value)"
    // JSON has no infinity.
    case .number(let value): text += value.isFinite ? "\(value)" : "null"
    case .text(let value): Self.quote(value, to: &text)
    case .array(let items):
      text += "["
      for (i, item) in items.enumerated() {
        if i > 0 { text += "," }
        item.write(to: &text)
      }
      text += "]"
    case .object(let members):
      text += "{"
      for (i, member) in members.enumerated() {
        if i > 0 { text += "," }
        Self.quote(member.name, to: &text)
        text += ":"
        member.value.write(to: &text)
      }
      text += "}"
    }
  }

  private static func quote(_ value: String, to text: inout String) {
    text += "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F:
        let digits = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: text.unicodeScalars.append(scalar)
      }
    }
    text += "\""
  }
}
