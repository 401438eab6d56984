// The fields of a head, as the session keeps them: one after the other in an arena, each with its
// two lengths in front.

internal import Glibc
import HTTP

/// A head's fields. Valid until the next call of `receive`: the bytes are the session's.
public struct HTTP2Head {
  /// One field; names are in lower case (RFC 9113, section 8.2).
  public struct Field {
    public let name: UnsafeRawBufferPointer
    public let value: UnsafeRawBufferPointer
  }

  private let start: UnsafeRawPointer
  private let end: UnsafeRawPointer
  /// Fields, pseudo-fields included.
  public let count: Int
  /// `:method`, `:path`, `:authority` and `:scheme`; empty where absent. Looked for at each use: who needs
  /// all fields reads all of them once.
  public var method: UnsafeRawBufferPointer { value(of: ":method") }
  public var path: UnsafeRawBufferPointer { value(of: ":path") }
  public var authority: UnsafeRawBufferPointer { value(of: ":authority") }
  public var scheme: UnsafeRawBufferPointer { value(of: ":scheme") }

  private func value(of name: StaticString) -> UnsafeRawBufferPointer {
    first(name) ?? UnsafeRawBufferPointer(start: nil, count: 0)
  }

  package init(start: UnsafeRawPointer, bytes: Int, fieldCount: Int) {
    self.start = start
    end = start + bytes
    count = fieldCount
  }

  /// Bytes that its fields can take as lines of HTTP/1.1, at most.
  public var byteBound: Int { byteCount + 4 * count + 2 }

  /// Calls `body` with each field in the order received, pseudo-fields included.
  @inline(__always)
  public func forEach(_ body: (Field) -> Void) {
    var cursor = start
    while let field = Self.next(&cursor, end) { body(field) }
  }

  /// The value of the first field of this name, given in lower case.
  public func first(_ name: StaticString) -> UnsafeRawBufferPointer? {
    var cursor = start
    while let field = Self.next(&cursor, end) {
      if Self.spells(field.name, name) { return field.value }
    }
    return nil
  }

  // MARK: Places, for the views

  /// What the places below count from.
  var base: UnsafeRawPointer { start }
  var byteCount: Int { end - start }

  /// The name and the value at `cursor`, which moves behind them; nil at the end.
  @inline(__always)
  func next(_ cursor: inout Int) -> (name: ByteRange, value: ByteRange)? {
    var place = start + cursor
    guard let field = Self.next(&place, end) else { return nil }
    let nameStart = cursor + HeadArena.lengths
    let valueStart = nameStart + field.name.count
    cursor = place - start
    return (
      ByteRange(from: nameStart, to: valueStart), ByteRange(from: valueStart, to: cursor)
    )
  }

  // SAFETY: the arena was written by `HeadArena.append`, whose lengths stay within `end`.
  @inline(__always)
  private static func next(_ cursor: inout UnsafeRawPointer, _ end: UnsafeRawPointer) -> Field? {
    guard cursor < end else { return nil }
    let name = Int(cursor.loadUnaligned(as: UInt32.self))
    let value = Int((cursor + 4).loadUnaligned(as: UInt32.self))
    let bytes = cursor + HeadArena.lengths
    cursor = bytes + name + value
    return Field(
      name: UnsafeRawBufferPointer(start: bytes, count: name),
      value: UnsafeRawBufferPointer(start: bytes + name, count: value))
  }

  @inline(__always)
  private static func spells(_ bytes: UnsafeRawBufferPointer, _ name: StaticString) -> Bool {
    // TRAP: the count is the name's, which is not empty.
    bytes.count == name.utf8CodeUnitCount
      && memcmp(bytes.baseAddress!, name.utf8Start, bytes.count) == 0
  }
}

/// Where heads lie until their events have been looked at. Room for three of the largest: one that
/// waits, one that began before the arena was crowded, and the first field of a third, behind which
/// the session pauses until the arena has been emptied.
struct HeadArena {
  /// The two lengths in front of a field.
  static let lengths = 8

  private let base: UnsafeMutableRawPointer
  private let capacity: Int
  private let largest: Int
  private var used = 0
  /// The head that is coming in.
  private(set) var openStart = 0
  private(set) var openFields: UInt16 = 0
  private(set) var openSize = 0
  private(set) var isOpen = false
  private(set) var isTooLarge = false

  /// - Parameter headBytes: the largest head, counted as the setting counts it; its 32 bytes per
  ///   field cover the lengths here.
  init(headBytes: Int) {
    largest = headBytes
    capacity = headBytes * 3
    base = .allocate(byteCount: max(capacity, 16), alignment: 16)
  }

  func release() { base.deallocate() }

  /// Whether the head that is coming in must wait for those before it to be taken.
  @inline(__always) var isCrowded: Bool { openStart > largest }
  @inline(__always) var openBytes: Int { used - openStart }

  mutating func open() {
    openStart = used
    openFields = 0
    openSize = 0
    isOpen = true
    isTooLarge = false
  }

  mutating func append(
    _ name: UnsafePointer<UInt8>, _ nameCount: Int, _ value: UnsafePointer<UInt8>?,
    _ valueCount: Int, fieldLimit: Int
  ) {
    openSize += nameCount + valueCount + 32
    if isTooLarge { return }
    if openSize > largest || Int(openFields) >= fieldLimit {
      // What fits stays: the reply depends on the content type.
      isTooLarge = true
      return
    }
    let cursor = base + used
    cursor.storeBytes(of: UInt32(nameCount), as: UInt32.self)
    (cursor + 4).storeBytes(of: UInt32(valueCount), as: UInt32.self)
    memcpy(cursor + Self.lengths, name, nameCount)
    if let value, valueCount > 0 { memcpy(cursor + Self.lengths + nameCount, value, valueCount) }
    used += Self.lengths + nameCount + valueCount
    openFields += 1
  }

  mutating func close() { isOpen = false }

  /// Forgets all heads but the one that is coming in, which moves to the front.
  mutating func compact() {
    guard isOpen else {
      used = 0
      openStart = 0
      return
    }
    guard openStart > 0 else { return }
    memmove(base, base + openStart, used - openStart)
    used -= openStart
    openStart = 0
  }

  var start: UnsafeRawPointer { UnsafeRawPointer(base) + openStart }

  func head(_ event: HTTP2Event) -> HTTP2Head {
    HTTP2Head(
      start: base + event.headStart, bytes: event.count, fieldCount: Int(event.fieldCount))
  }
}
