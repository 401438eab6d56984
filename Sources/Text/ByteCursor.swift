// ByteCursor owns nothing: it writes bytes into memory that its caller lends and counts them. Past
// the end it goes on counting without writing, so that one pass tells how much room is needed. It
// refuses to allocate, and it keeps the JSON string escaping that docs/audit-log.md promises.

public import Glibc

@frozen public struct ByteCursor {
  public let base: UnsafeMutableRawPointer
  public let capacity: Int
  /// Bytes written, or that would have been written had there been room.
  public var position = 0

  @inlinable @inline(__always)
  public init(base: UnsafeMutableRawPointer, capacity: Int) {
    self.base = base
    self.capacity = capacity
  }

  @inlinable @inline(__always)
  public var overflowed: Bool { position > capacity }

  @inlinable @inline(__always)
  public mutating func byte(_ value: UInt8) {
    if position < capacity { base.storeBytes(of: value, toByteOffset: position, as: UInt8.self) }
    position &+= 1
  }

  @inlinable @inline(__always)
  public mutating func literal(_ text: StaticString) {
    raw(text.utf8Start, text.utf8CodeUnitCount)
  }

  @inlinable @inline(__always)
  public mutating func raw(_ start: UnsafeRawPointer, _ count: Int) {
    // SAFETY: the copy happens only when all of it lies inside the lent memory.
    if position &+ count <= capacity { memcpy(base + position, start, count) }
    position &+= count
  }

  @inlinable @inline(__always)
  public mutating func raw(_ bytes: UnsafeRawBufferPointer) {
    if let start = bytes.baseAddress { raw(start, bytes.count) }
  }

  /// Takes back what was written behind a position.
  @inlinable
  public mutating func rewind(to earlier: Int) { position = min(position, earlier) }

  @inlinable
  public mutating func decimal(_ value: UInt64) {
    var digits: (UInt64, UInt64, UInt64) = (0, 0, 0)
    withUnsafeMutableBytes(of: &digits) { scratch in
      var rest = value
      var index = scratch.count
      repeat {
        index &-= 1
        let quotient = rest / 10
        scratch[index] = UInt8(truncatingIfNeeded: 0x30 &+ (rest &- quotient &* 10))
        rest = quotient
      } while rest != 0
      // TRAP: the scratch is 20 bytes on the stack.
      raw(scratch.baseAddress! + index, scratch.count &- index)
    }
  }

  /// Decimal digits with leading zeros to `width`.
  @inlinable @inline(__always)
  public mutating func padded(_ value: Int, _ width: Int) {
    var divisor = 1
    for _ in 1..<width { divisor &*= 10 }
    while divisor > 0 {
      byte(UInt8(truncatingIfNeeded: 0x30 &+ value / divisor % 10))
      divisor /= 10
    }
  }

  @inlinable @inline(__always)
  public mutating func hex(_ value: UInt8) {
    byte(Self.hexDigit(value >> 4))
    byte(Self.hexDigit(value & 15))
  }

  /// Sixteen lower-case hexadecimal digits.
  @inlinable
  public mutating func hex(_ value: UInt64) {
    var shift: UInt64 = 64
    while shift > 0 {
      shift &-= 8
      hex(UInt8(truncatingIfNeeded: value >> shift))
    }
  }

  @inlinable @inline(__always)
  public static func hexDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? 0x30 &+ value : 0x57 &+ value
  }

  /// The content of a JSON string (without its quotes) for arbitrary bytes.
  ///
  /// Valid UTF-8 passes. A byte that is not part of valid UTF-8 becomes `\uf7XX`, a private-use
  /// code point with the byte as its low half. Those code points (U+F780…U+F7FF) are themselves
  /// treated as three such bytes when they occur, so the mapping has one inverse. Characters that
  /// could drive a terminal or hide text are written by their number, which any JSON parser undoes.
  @inlinable
  public mutating func escaped(_ bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress else { return }
    let count = bytes.count
    var index = 0
    var plainFrom = 0
    while index < count {
      if index &+ 8 <= count {
        let word = (start + index).loadUnaligned(as: UInt64.self)
        if Self.isPlain(word) {
          index &+= 8
          continue
        }
      }
      let value = start.load(fromByteOffset: index, as: UInt8.self)
      if value >= 0x20 && value < 0x7F && value != 0x22 && value != 0x5C {
        index &+= 1
        continue
      }
      if value >= 0x80 {
        let length = Self.sequenceLength(start + index, count &- index)
        if length > 0 {
          if Self.mayMislead(start + index, length) {
            raw(start + plainFrom, index &- plainFrom)
            numbered(start + index, length)
            plainFrom = index &+ length
          }
          index &+= length
          continue
        }
      }
      raw(start + plainFrom, index &- plainFrom)
      escape(value)
      index &+= 1
      plainFrom = index
    }
    raw(start + plainFrom, count &- plainFrom)
  }

  /// The most bytes at the front of `bytes` whose escaped form has at most `maximum` bytes. No
  /// character and no escape is split.
  @inlinable
  public static func prefix(of bytes: UnsafeRawBufferPointer, escapedMaximum maximum: Int) -> Int {
    // No byte takes more than six.
    guard bytes.count > maximum / 6, let start = bytes.baseAddress else { return bytes.count }
    var index = 0
    var length = 0
    while index < bytes.count {
      let value = start.load(fromByteOffset: index, as: UInt8.self)
      var taken = 1
      switch value {
      case 0x22, 0x5C, 0x0A, 0x0D, 0x09: length &+= 2
      case 0x20..<0x7F: length &+= 1
      case 0x80...:
        taken = max(1, sequenceLength(start + index, bytes.count &- index))
        if taken == 1 {
          length &+= 6
        } else if mayMislead(start + index, taken) {
          length &+= taken == 4 ? 12 : 6
        } else {
          length &+= taken
        }
      default: length &+= 6
      }
      if length > maximum { return index }
      index &+= taken
    }
    return index
  }

  /// True for characters that a terminal takes for commands or that change how the text around them
  /// reads: the control characters of ISO 6429's second block (C1), line and paragraph separators,
  /// bidirectional controls, and format characters that show nothing (Unicode 15, general category
  /// Cf, without those that scripts need, such as the Arabic number signs).
  @inlinable
  static func mayMislead(_ start: UnsafeRawPointer, _ length: Int) -> Bool {
    // Two and three bytes: only some leading bytes have any of them.
    switch start.load(as: UInt8.self) {
    case 0xC2, 0xD8, 0xE1, 0xE2, 0xEF, 0xF0, 0xF3: break
    default: return false
    }
    switch scalar(start, length) {
    case 0x80...0x9F, 0xAD, 0x061C, 0x180E, 0x200B...0x200F, 0x2028...0x202E, 0x2060...0x206F,
      0xFEFF, 0xFFF9...0xFFFB, 0x1D173...0x1D17A, 0xE0000...0xE007F:
      return true
    default: return false
    }
  }

  /// The code point of a valid sequence.
  @inlinable
  static func scalar(_ start: UnsafeRawPointer, _ length: Int) -> UInt32 {
    var value = UInt32(start.load(as: UInt8.self)) & (0xFF >> UInt32(length + 1))
    for offset in 1..<length {
      value = value << 6 | UInt32(start.load(fromByteOffset: offset, as: UInt8.self) & 0x3F)
    }
    return value
  }

  /// `\uXXXX`, or the two of a surrogate pair, RFC 8259 section 7.
  @inlinable
  mutating func numbered(_ start: UnsafeRawPointer, _ length: Int) {
    let value = Self.scalar(start, length)
    if value < 0x10000 { return unit(value) }
    unit(0xD800 + (value - 0x10000) >> 10)
    unit(0xDC00 + (value - 0x10000) & 0x3FF)
  }

  @inlinable
  mutating func unit(_ value: UInt32) {
    literal("\\u")
    hex(UInt8(truncatingIfNeeded: value >> 8))
    hex(UInt8(truncatingIfNeeded: value))
  }

  @inlinable
  mutating func escape(_ value: UInt8) {
    switch value {
    case 0x22: literal("\\\"")
    case 0x5C: literal("\\\\")
    case 0x0A: literal("\\n")
    case 0x0D: literal("\\r")
    case 0x09: literal("\\t")
    case 0x80...:
      literal("\\uf7")
      hex(value)
    default:
      literal("\\u00")
      hex(value)
    }
  }

  /// True if each of eight bytes is printable ASCII other than `"` and `\`.
  @inlinable @inline(__always)
  static func isPlain(_ word: UInt64) -> Bool {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let tops: UInt64 = 0x8080_8080_8080_8080
    let quote = word ^ (ones &* 0x22)
    let slash = word ^ (ones &* 0x5C)
    let delete = word ^ (ones &* 0x7F)
    let below = (word &- ones &* 0x20) & ~word
    let hits =
      word | below | ((quote &- ones) & ~quote) | ((slash &- ones) & ~slash)
      | ((delete &- ones) & ~delete)
    return hits & tops == 0
  }

  /// The length of the valid UTF-8 sequence at `start` (Unicode 15, table 3-7), or 0 for a byte
  /// that must be escaped.
  @inlinable
  static func sequenceLength(_ start: UnsafeRawPointer, _ count: Int) -> Int {
    @inline(__always) func at(_ offset: Int) -> UInt8 {
      start.load(fromByteOffset: offset, as: UInt8.self)
    }
    @inline(__always) func continues(_ offset: Int) -> Bool { at(offset) & 0xC0 == 0x80 }
    let first = at(0)
    switch first {
    case 0xC2...0xDF:
      return count >= 2 && continues(1) ? 2 : 0
    case 0xE0...0xEF:
      guard count >= 3, continues(1), continues(2) else { return 0 }
      let second = at(1)
      if first == 0xE0 && second < 0xA0 { return 0 }
      if first == 0xED && second > 0x9F { return 0 }
      // U+F780…U+F7FF is EF 9E 80 … EF 9F BF: taken for escaped bytes, see above.
      if first == 0xEF && (second == 0x9E || second == 0x9F) { return 0 }
      return 3
    case 0xF0...0xF4:
      guard count >= 4, continues(1), continues(2), continues(3) else { return 0 }
      let second = at(1)
      if first == 0xF0 && second < 0x90 { return 0 }
      if first == 0xF4 && second > 0x8F { return 0 }
      return 4
    default:
      return 0
    }
  }
}
