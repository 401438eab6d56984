// Field blocks decoded into an arena (RFC 7541). What is kept of a head, and how much of it, is the
// arena's to say.
//
// TRAP: (file) an offset below a count that was looked at.

internal import Glibc

/// Memory that the decoders of one thread share, for what lives no longer than a block.
struct BlockScratch: ~Copyable {
  /// Strings out of Huffman code.
  private(set) var strings: UnsafeMutablePointer<UInt8>?
  private var room = 0
  /// Blocks that came in more than one frame.
  private var joined: UnsafeMutableRawPointer?
  private var joinedRoom = 0
  private var joinedCount = 0

  deinit {
    strings?.deallocate()
    joined?.deallocate()
  }

  /// Room for all strings of a block of so many bytes.
  mutating func reserve(_ blockBytes: Int) {
    let wanted = HuffmanCode.bound(blockBytes)
    guard wanted > room else { return }
    strings?.deallocate()
    room = max(wanted, 4096)
    strings = .allocate(capacity: room)
  }

  mutating func beginJoin(_ bytes: Int) {
    joinedCount = 0
    guard bytes > joinedRoom else { return }
    joined?.deallocate()
    joinedRoom = bytes
    joined = .allocate(byteCount: bytes, alignment: 8)
  }

  /// Puts a fragment behind those before it; together they have no more than was said at the beginning.
  mutating func join(_ fragment: UnsafeRawBufferPointer) {
    guard let joined, let from = fragment.baseAddress, joinedCount + fragment.count <= joinedRoom
    else { return }
    memcpy(joined + joinedCount, from, fragment.count)
    joinedCount += fragment.count
  }

  var block: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: joined, count: joinedCount) }
}

/// The decoder of one connection. Every block that a peer sends goes through it, in order, be it of a
/// stream that is refused: the peer's next blocks refer to it.
struct FieldBlockReader: ~Copyable {
  private var table: DynamicTable
  private let fieldLimit: Int
  private let huffman = HuffmanCode.shared
  private let fixed = StaticTable.fields

  init(fieldLimit: Int, memory: HTTP2Memory) {
    table = DynamicTable(memory: memory)
    self.fieldLimit = fieldLimit
  }

  /// Decodes a whole block.
  /// - Returns: false if it cannot be decoded, after which no other block can be (RFC 7541 3.1).
  mutating func decode(
    _ block: UnsafeRawBufferPointer, into arena: inout HeadArena, _ scratch: inout BlockScratch
  ) -> Bool {
    scratch.reserve(block.count)
    var at = 0
    var mayResize = true
    while at < block.count {
      let first = block[at]
      if first & 0x80 != 0 {
        guard let index = Self.integer(block, &at, bits: 7), let field = field(index) else {
          return false
        }
        arena.append(
          field.name, field.nameCount, field.value, field.valueCount, fieldLimit: fieldLimit)
      } else if first & 0xE0 == 0x20 {
        // At the beginning of a block only (RFC 7541 4.2).
        guard mayResize, let limit = Self.integer(block, &at, bits: 5), table.resize(to: limit)
        else { return false }
        continue
      } else {
        let isEntered = first & 0x40 != 0
        guard let field = literal(block, &at, bits: isEntered ? 6 : 4, scratch.strings) else {
          return false
        }
        arena.append(
          field.name, field.nameCount, field.value, field.valueCount, fieldLimit: fieldLimit)
        if isEntered && !table.insert(field) { return false }
      }
      mayResize = false
    }
    return true
  }

  /// An entry of both tables (RFC 7541 2.3.3).
  @inline(__always)
  private func field(_ index: Int) -> TableField? {
    if index > StaticTable.count { return table[index - StaticTable.count - 1] }
    return index > 0 ? fixed[index - 1] : nil
  }

  /// A field that stands there itself (RFC 7541 6.2). - Parameter strings: room for what is decoded.
  @inline(__always)
  private func literal(
    _ block: UnsafeRawBufferPointer, _ at: inout Int, bits: Int,
    _ strings: UnsafeMutablePointer<UInt8>?
  ) -> TableField? {
    guard let index = Self.integer(block, &at, bits: bits) else { return nil }
    var room = strings
    if index > 0 {
      guard var field = field(index), let value = string(block, &at, &room) else { return nil }
      field.value = value.start
      field.valueCount = value.count
      return field
    }
    guard let name = string(block, &at, &room), let value = string(block, &at, &room) else {
      return nil
    }
    return TableField(
      name: name.start, nameCount: name.count, value: value.start, valueCount: value.count)
  }

  /// A string (RFC 7541 5.2), where it stands or, decoded, in `room`, which moves behind it.
  @inline(__always)
  private func string(
    _ block: UnsafeRawBufferPointer, _ at: inout Int, _ room: inout UnsafeMutablePointer<UInt8>?
  ) -> (start: UnsafePointer<UInt8>, count: Int)? {
    guard at < block.count else { return nil }
    let isCoded = block[at] & 0x80 != 0
    guard let count = Self.integer(block, &at, bits: 7), count <= block.count - at,
      let base = block.baseAddress, let start = room
    else { return nil }
    let bytes = base + at
    at += count
    guard isCoded else { return (bytes.assumingMemoryBound(to: UInt8.self), count) }
    let coded = UnsafeRawBufferPointer(start: bytes, count: count)
    guard let decoded = huffman.decode(coded, into: start) else { return nil }
    room = start + decoded
    return (UnsafePointer(start), decoded)
  }

  /// An integer with a prefix of `bits` bits (RFC 7541 5.1). - Returns: nil if it is cut or above 2²⁸.
  @inline(__always)
  private static func integer(
    _ block: UnsafeRawBufferPointer, _ at: inout Int, bits: Int
  ) -> Int? {
    let mask = (1 << bits) - 1
    var value = Int(block[at]) & mask
    at += 1
    return value < mask ? value : continued(block, &at, &value)
  }

  @inline(never)
  private static func continued(
    _ block: UnsafeRawBufferPointer, _ at: inout Int, _ value: inout Int
  ) -> Int? {
    var shift = 0
    while at < block.count, shift <= 21 {
      let byte = Int(block[at])
      at += 1
      value += (byte & 0x7F) << shift
      if byte & 0x80 == 0 { return value }
      shift += 7
    }
    return nil
  }
}
