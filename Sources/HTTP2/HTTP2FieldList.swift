// Fields to be sent, prepared once: bytes in memory of the list's own and the table that nghttp2
// reads. A list that outlives its sends is not even copied by nghttp2.
//
// TRAP: (file) the lab's own code makes these lists, before the first connection.

internal import CNghttp2
internal import Glibc
import HTTP

/// Fields of a head in the order in which they are sent; pseudo-fields first, names in lower case.
public struct HTTP2FieldList: ~Copyable {
  private let bytes: UnsafeMutableRawPointer
  private let byteCapacity: Int
  private var used = 0
  private let table: UnsafeMutablePointer<nghttp2_nv>
  private let capacity: Int
  public private(set) var count = 0
  private let flags: UInt8
  /// Whether a field did not fit since the list was made or emptied.
  public private(set) var overflowed = false

  /// - Parameters:
  ///   - fields: fields that fit.
  ///   - bytes: bytes of names and values that fit.
  ///   - lasting: whether the list will not change, and will outlive every session that it is given
  ///     to: nghttp2 then reads it in place. Otherwise it is copied when it is submitted.
  public init(fields: Int = 16, bytes byteCapacity: Int = 1024, lasting: Bool) {
    capacity = fields
    self.byteCapacity = byteCapacity
    bytes = .allocate(byteCount: byteCapacity, alignment: 16)
    table = .allocate(capacity: fields)
    flags =
      lasting
      ? UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue) : 0
  }

  deinit {
    bytes.deallocate()
    table.deallocate()
  }

  /// Adds a field; false when it does not fit.
  @discardableResult
  public mutating func append(
    _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) -> Bool {
    guard count < capacity, used + name.count + value.count <= byteCapacity else {
      overflowed = true
      return false
    }
    let start = bytes + used
    if let base = name.baseAddress { memcpy(start, base, name.count) }
    if let base = value.baseAddress { memcpy(start + name.count, base, value.count) }
    add(start, name.count, value.count)
    return true
  }

  /// Adds a field with its name in lower case (RFC 9113 8.2), and its value in two pieces.
  mutating func append(
    lowercased name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer,
    _ rest: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) {
    let valueCount = value.count + rest.count
    guard count < capacity, used + name.count + valueCount <= byteCapacity else {
      overflowed = true
      return
    }
    let start = bytes + used
    for index in 0..<name.count {
      start.storeBytes(
        of: ByteClass.lowercase(name[index]), toByteOffset: index, as: UInt8.self)
    }
    let place = start + name.count
    if let base = value.baseAddress { memcpy(place, base, value.count) }
    if let base = rest.baseAddress { memcpy(place + value.count, base, rest.count) }
    add(start, name.count, valueCount)
  }

  /// Enters the name and the value at `start` into the table; there is room.
  private mutating func add(
    _ start: UnsafeMutableRawPointer, _ nameCount: Int, _ valueCount: Int
  ) {
    used += nameCount + valueCount
    (table + count).initialize(
      to: nghttp2_nv(
        name: start.assumingMemoryBound(to: UInt8.self),
        value: (start + nameCount).assumingMemoryBound(to: UInt8.self), namelen: nameCount,
        valuelen: valueCount, flags: flags))
    count += 1
  }

  /// Adds a field whose name is known when the program is written.
  @discardableResult
  public mutating func append(_ name: StaticString, _ value: UnsafeRawBufferPointer) -> Bool {
    append(UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount), value)
  }

  /// Adds a field of two texts that are known when the program is written.
  @discardableResult
  public mutating func append(_ name: StaticString, _ value: StaticString) -> Bool {
    append(
      name, UnsafeRawBufferPointer(start: value.utf8Start, count: value.utf8CodeUnitCount))
  }

  /// Adds a field from strings, at set-up.
  @discardableResult
  public mutating func append(_ name: String, _ value: String) -> Bool {
    var name = name
    var value = value
    return name.withUTF8 { name in
      value.withUTF8 { append(UnsafeRawBufferPointer(name), UnsafeRawBufferPointer($0)) }
    }
  }

  /// Adds a field whose value is a number in decimal digits.
  @discardableResult
  public mutating func append(_ name: StaticString, number: Int) -> Bool {
    precondition(number >= 0, "a negative number in a field")
    return withUnsafeTemporaryAllocation(byteCount: 20, alignment: 1) { room in
      var position = 20
      var rest = number
      repeat {
        position -= 1
        room[position] = UInt8(ascii: "0") + UInt8(rest % 10)
        rest /= 10
      } while rest > 0
      return append(name, UnsafeRawBufferPointer(rebasing: room[position...]))
    }
  }

  /// Empties a list that is not lasting.
  public mutating func removeAll() {
    precondition(flags == 0, "a fixed list cannot change")
    count = 0
    used = 0
    overflowed = false
  }

  /// Calls `body` with the name and the value of each field.
  package func forEach(_ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Void) {
    for index in 0..<count {
      let field = table[index]
      body(
        UnsafeRawBufferPointer(start: field.name, count: field.namelen),
        UnsafeRawBufferPointer(start: field.value, count: field.valuelen))
    }
  }

  var start: UnsafeMutablePointer<nghttp2_nv> { table }
}
