// Field blocks written without the dynamic table (RFC 7541 6.2.2, 6.2.3): a block then means the same
// wherever it stands among the others, so that it can be written when the head is known and leave when
// the audit log lets it, and a stream holds its own bytes and no entry in anybody's table.

internal import Glibc
internal import HTTP

/// One field block in the making, in the caller's memory.
public struct FieldBlockWriter: ~Copyable {
  private let base: UnsafeMutableRawPointer
  private let capacity: Int
  public private(set) var count = 0
  /// Whether a field did not fit: what was written is no block then.
  public private(set) var overflowed = false

  public init(_ room: UnsafeMutableRawBufferPointer) {
    // TRAP: the caller's room is never empty.
    base = room.baseAddress!
    capacity = room.count
  }

  /// Bytes that a field can take beside its name and value: where it begins, and two lengths.
  public static var fieldOverhead: Int { 12 }

  // MARK: Representations

  /// Says that the dynamic table has no room (RFC 7541 6.3): what a decoder waits for whose owner has
  /// made its table smaller (4.2).
  mutating func noDynamicTable() { put(0x20) }

  /// A field of the static table.
  @inline(__always)
  mutating func indexed(_ index: UInt8) { put(0x80 | index) }

  /// A field that is not entered into the dynamic table, its name in the static one.
  @inline(__always)
  mutating func field(named index: UInt8, _ value: UnsafeRawBufferPointer, secret: Bool = false) {
    integer(UInt64(index), prefix: 4, secret ? 0x10 : 0)
    text(value)
  }

  /// The same with its name, which is put in lower case.
  mutating func field(
    lowercasing name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer,
    secret: Bool = false
  ) {
    put(secret ? 0x10 : 0)
    integer(UInt64(name.count), prefix: 7, 0)
    guard count + name.count <= capacity else {
      overflowed = true
      return
    }
    for position in 0..<name.count {
      base.storeBytes(
        of: ByteClass.lowercase(name[position]), toByteOffset: count + position, as: UInt8.self)
    }
    count += name.count
    text(value)
  }

  mutating func field(named index: UInt8, decimal number: UInt64) {
    withUnsafeTemporaryAllocation(byteCount: 20, alignment: 1) { room in
      field(named: index, Self.digits(number, room))
    }
  }

  /// The digits of a number, at the end of room for 20.
  static func digits(
    _ number: UInt64, _ room: UnsafeMutableRawBufferPointer
  ) -> UnsafeRawBufferPointer {
    var position = 20
    var rest = number
    repeat {
      position -= 1
      room[position] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    } while rest > 0
    return UnsafeRawBufferPointer(rebasing: room[position...])
  }

  /// A line of a head, as it came by whichever protocol. Credentials are never entered into a table on
  /// any hop (RFC 7541 7.1.3).
  @inline(__always)
  mutating func line(
    _ known: FieldName, _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) {
    let secret = Self.secrets.has(known)
    let index = StaticTable.index(of: known)
    if index != 0 {
      field(named: index, value, secret: secret)
    } else {
      field(lowercasing: name, value, secret: secret)
    }
  }

  private static var secrets: FieldSet {
    [.authorization, .proxyAuthorization, .setCookie, .cookie]
  }

  // MARK: Bytes

  @inline(__always)
  private mutating func put(_ byte: UInt8) {
    guard count < capacity else {
      overflowed = true
      return
    }
    base.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
    count += 1
  }

  /// An integer behind `bits` in a prefix (RFC 7541 5.1).
  @inline(__always)
  private mutating func integer(_ value: UInt64, prefix: UInt8, _ bits: UInt8) {
    let limit = UInt64(1) << prefix - 1
    if value < limit { return put(bits | UInt8(truncatingIfNeeded: value)) }
    put(bits | UInt8(truncatingIfNeeded: limit))
    var rest = value - limit
    while rest >= 128 {
      put(UInt8(truncatingIfNeeded: rest & 0x7F) | 0x80)
      rest >>= 7
    }
    put(UInt8(truncatingIfNeeded: rest))
  }

  /// A string as it is (RFC 7541 5.2): Huffman coding would save a fifth of some hundred bytes, and take
  /// more than the rest of the head.
  @inline(__always)
  private mutating func text(_ bytes: UnsafeRawBufferPointer) {
    integer(UInt64(bytes.count), prefix: 7, 0)
    guard count + bytes.count <= capacity else {
      overflowed = true
      return
    }
    if let start = bytes.baseAddress, bytes.count > 0 { memcpy(base + count, start, bytes.count) }
    count += bytes.count
  }
}
