// The elements of a comma-separated list (RFC 9110 5.6.1) in one field value, empty ones left out.
// It does not know quoted strings: the lists that it is used for hold tokens.

package struct ListElements {
  private var position: Int
  private let end: Int

  package init(_ value: ByteRange) {
    position = Int(value.start)
    end = Int(value.end)
  }

  /// The next element without the white space around it, or nil at the end.
  package mutating func next(_ base: UnsafeRawPointer) -> ByteRange? {
    while position < end {
      let byte = ByteClass.byte(base, position)
      if byte != ByteClass.comma, !ByteClass.isBlank(byte) { break }
      position += 1
    }
    guard position < end else { return nil }
    let start = position
    while position < end, ByteClass.byte(base, position) != ByteClass.comma { position += 1 }
    var last = position
    while ByteClass.isBlank(ByteClass.byte(base, last - 1)) { last -= 1 }
    return ByteRange(from: start, to: last)
  }
}
