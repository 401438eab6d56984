// JSONShape tells whether a line is one JSON object by the grammar of RFC 8259, in UTF-8, without
// building it. It refuses to interpret members; it exists so that verification also proves that jq
// will read what was sealed.

enum JSONShape {
  /// Deeper than any line of the log; the bound keeps the check's memory constant.
  private static let depthMaximum = 16

  static func isObject(_ line: UnsafeRawBufferPointer) -> Bool {
    guard line.first == 0x7B else { return false }
    var position = 0
    return value(line, &position, depth: 0) && position == line.count
  }

  private static func skipSpace(_ line: UnsafeRawBufferPointer, _ position: inout Int) {
    while position < line.count,
      line[position] == 0x20 || line[position] == 0x09 || line[position] == 0x0D
    {
      position += 1
    }
  }

  private static func take(
    _ byte: UInt8, _ line: UnsafeRawBufferPointer, _ position: inout Int
  ) -> Bool {
    guard position < line.count, line[position] == byte else { return false }
    position += 1
    return true
  }

  private static func value(
    _ line: UnsafeRawBufferPointer, _ position: inout Int, depth: Int
  ) -> Bool {
    guard position < line.count, depth < depthMaximum else { return false }
    switch line[position] {
    case 0x7B: return members(line, &position, close: 0x7D, named: true, depth: depth)
    case 0x5B: return members(line, &position, close: 0x5D, named: false, depth: depth)
    case 0x22: return string(line, &position)
    case 0x74: return word("true", line, &position)
    case 0x66: return word("false", line, &position)
    case 0x6E: return word("null", line, &position)
    default: return number(line, &position)
    }
  }

  private static func members(
    _ line: UnsafeRawBufferPointer, _ position: inout Int, close: UInt8, named: Bool, depth: Int
  ) -> Bool {
    position += 1
    skipSpace(line, &position)
    if take(close, line, &position) { return true }
    while true {
      if named {
        guard string(line, &position) else { return false }
        skipSpace(line, &position)
        guard take(0x3A, line, &position) else { return false }
        skipSpace(line, &position)
      }
      guard value(line, &position, depth: depth + 1) else { return false }
      skipSpace(line, &position)
      if take(close, line, &position) { return true }
      guard take(0x2C, line, &position) else { return false }
      skipSpace(line, &position)
    }
  }

  private static func string(_ line: UnsafeRawBufferPointer, _ position: inout Int) -> Bool {
    guard take(0x22, line, &position) else { return false }
    let start = position
    while position < line.count {
      switch line[position] {
      case 0x22:
        // The standard library's decoder knows what valid UTF-8 is.
        let text = UnsafeRawBufferPointer(rebasing: line[start..<position])
        position += 1
        return String(validating: text, as: UTF8.self) != nil
      case 0x5C:
        position += 1
        guard position < line.count else { return false }
        switch line[position] {
        case 0x22, 0x5C, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74: position += 1
        case 0x75:
          guard line.count - position > 4 else { return false }
          for digit in line[(position + 1)...(position + 4)] {
            let isLetter = (0x61...0x66).contains(digit | 0x20)
            guard isLetter || (0x30...0x39).contains(digit) else { return false }
          }
          position += 5
        default: return false
        }
      case 0..<0x20: return false
      default: position += 1
      }
    }
    return false
  }

  private static func word(
    _ text: StaticString, _ line: UnsafeRawBufferPointer, _ position: inout Int
  ) -> Bool {
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: line[position...]))
    guard reader.take(text) else { return false }
    position += text.utf8CodeUnitCount
    return true
  }

  private static func number(_ line: UnsafeRawBufferPointer, _ position: inout Int) -> Bool {
    func digits() -> Int {
      let start = position
      while position < line.count, line[position] >= 0x30, line[position] <= 0x39 {
        position += 1
      }
      return position - start
    }
    _ = take(0x2D, line, &position)
    let start = position
    let count = digits()
    guard count > 0, count == 1 || line[start] != 0x30 else { return false }
    if take(0x2E, line, &position), digits() == 0 { return false }
    if position < line.count, line[position] | 0x20 == 0x65 {
      position += 1
      if !take(0x2B, line, &position) { _ = take(0x2D, line, &position) }
      if digits() == 0 { return false }
    }
    return true
  }
}
