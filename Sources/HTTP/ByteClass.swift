// Which bytes may stand where: one 256-byte table and the word-at-a-time scans built on it. It
// owns no state; the table is a literal in read-only memory, so reaching it costs no lazy
// initialisation. Every scan stays inside the bounds that it is given.

@usableFromInline
package enum ByteClass {
  /// tchar, RFC 9110 5.6.2
  @inlinable package static var token: UInt8 { 1 }
  /// visible ASCII without "#": RFC 9112 3.2 has no fragment
  @inlinable package static var target: UInt8 { 2 }
  /// unreserved, RFC 3986 2.3; see Authority for the rest
  @inlinable package static var host: UInt8 { 4 }
  /// HEXDIG, RFC 5234 B.1
  @inlinable package static var hex: UInt8 { 8 }

  @inlinable package static var tab: UInt8 { 0x09 }
  @inlinable package static var lineFeed: UInt8 { 0x0A }
  @inlinable package static var carriageReturn: UInt8 { 0x0D }
  @inlinable package static var space: UInt8 { 0x20 }
  @inlinable package static var comma: UInt8 { 0x2C }
  @inlinable package static var colon: UInt8 { 0x3A }
  @inlinable package static var semicolon: UInt8 { 0x3B }

  /// One byte of class bits for each byte value.
  // SAFETY: the literal is exactly 256 bytes (a test compares each with its definition), so any
  // UInt8 is a valid index.
  @inlinable @inline(__always)
  package static var table: UnsafePointer<UInt8> {
    let bits: StaticString = """
      \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
      \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
      \0\u{3}\u{2}\u{1}\u{3}\u{3}\u{3}\u{3}\u{2}\u{2}\u{3}\u{3}\u{2}\u{7}\u{7}\u{2}\
      \u{f}\u{f}\u{f}\u{f}\u{f}\u{f}\u{f}\u{f}\u{f}\u{f}\u{2}\u{2}\u{2}\u{2}\u{2}\u{2}\
      \u{2}\u{f}\u{f}\u{f}\u{f}\u{f}\u{f}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\
      \u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{2}\u{2}\u{2}\u{3}\u{7}\
      \u{3}\u{f}\u{f}\u{f}\u{f}\u{f}\u{f}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\
      \u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}\u{2}\u{3}\u{2}\u{7}\0\
      \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
      \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
      \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
      \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
      \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
      \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
      \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
      \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0
      """
    return bits.utf8Start
  }

  @inlinable @inline(__always)
  package static func isBlank(_ byte: UInt8) -> Bool { byte == space || byte == tab }

  @inlinable @inline(__always)
  package static func isControl(_ byte: UInt8) -> Bool { byte < 0x20 || byte == 0x7F }

  @inlinable @inline(__always)
  package static func byte(_ base: UnsafeRawPointer, _ offset: Int) -> UInt8 {
    base.load(fromByteOffset: offset, as: UInt8.self)
  }

  /// Offset of the first control byte (0x00...0x1F, 0x7F) in `start..<end`, or `end`.
  ///
  /// Eight bytes at a time. A borrow in the subtractions can only flag a byte above one that is
  /// flagged rightly, so the lowest flag is exact.
  @inlinable @inline(__always)
  package static func firstControl(_ base: UnsafeRawPointer, from start: Int, to end: Int) -> Int {
    var position = start
    while end &- position >= 8 {
      let raw = base.loadUnaligned(fromByteOffset: position, as: UInt64.self)
      let word = UInt64(littleEndian: raw)
      let low = (word &- 0x2020_2020_2020_2020) & ~word
      let deleted = word ^ 0x7F7F_7F7F_7F7F_7F7F
      let delete = (deleted &- 0x0101_0101_0101_0101) & ~deleted
      let hits = (low | delete) & 0x8080_8080_8080_8080
      if hits != 0 { return position &+ (hits.trailingZeroBitCount &>> 3) }
      position &+= 8
    }
    while position < end, !isControl(byte(base, position)) { position &+= 1 }
    return position
  }

  /// Offset of the first byte in `start..<end` that lacks the class `bits`, or `end`.
  @inlinable @inline(__always)
  package static func firstOutside(
    _ bits: UInt8, _ base: UnsafeRawPointer, from start: Int, to end: Int
  ) -> Int {
    let table = table
    var position = start
    while position < end, table[Int(byte(base, position))] & bits != 0 { position &+= 1 }
    return position
  }

  /// Whether `count` bytes equal the literal, which must be `count` bytes long.
  @inlinable @inline(__always)
  package static func equal(_ bytes: UnsafeRawPointer, _ literal: StaticString, count: Int) -> Bool
  {
    let other = literal.utf8Start
    var index = 0
    while index < count {
      if byte(bytes, index) != other[index] { return false }
      index &+= 1
    }
    return true
  }

  /// Whether `count` bytes equal the literal without regard to ASCII case. The literal is in lower
  /// case and made of letters, digits and "-" only; the bytes must hold no control byte, since
  /// setting bit 5 would turn some of those into what the literal may hold.
  @inlinable @inline(__always)
  package static func equalFolded(_ bytes: UnsafeRawPointer, _ literal: StaticString, count: Int)
    -> Bool
  {
    let other = UnsafeRawPointer(literal.utf8Start)
    if count >= 8 {
      // Two loads that may overlap cover 8...16 bytes; longer names take one more turn each.
      var index = 0
      while index &+ 8 < count {
        if foldedWord(bytes, index) != word(other, index) { return false }
        index &+= 8
      }
      return foldedWord(bytes, count &- 8) == word(other, count &- 8)
    }
    var index = 0
    while index < count {
      if byte(bytes, index) | 0x20 != byte(other, index) { return false }
      index &+= 1
    }
    return true
  }

  /// Whether two runs of bytes are equal without regard to ASCII case.
  @inlinable
  package static func equalFolded(_ left: UnsafeRawPointer, _ right: UnsafeRawPointer, count: Int)
    -> Bool
  {
    for index in 0..<count where lowercase(byte(left, index)) != lowercase(byte(right, index)) {
      return false
    }
    return true
  }

  @inlinable @inline(__always)
  package static func lowercase(_ byte: UInt8) -> UInt8 {
    byte &- 0x41 < 26 ? byte | 0x20 : byte
  }

  @inlinable @inline(__always)
  package static func word(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
    base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
  }

  @inlinable @inline(__always)
  package static func foldedWord(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
    word(base, offset) | 0x2020_2020_2020_2020
  }
}
