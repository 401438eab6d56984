// The identity of a trace and of an exchange's place in it (W3C Trace Context): read from the field
// traceparent, and written into it for the server.

import Text

/// Where an exchange belongs in a trace.
public struct TraceContext: BitwiseCopyable, Equatable, Sendable {
  /// The trace's identifier; both 0: there is none.
  public var high: UInt64 = 0
  public var low: UInt64 = 0
  /// The span that the request came from; 0: none.
  public var parent: UInt64 = 0
  /// This exchange's own span; 0: it is not traced.
  public var span: UInt64 = 0
  /// Whoever sent the request records the trace.
  public var isSampled = false

  public init() {}

  public var isEmpty: Bool { high | low == 0 }

  /// The bytes of a field traceparent of version 00.
  public static let fieldBytes = 55

  /// Reads a field traceparent. What is not one is no trace at all (3.2.2.2, 4.3): a longer value of a
  /// later version is read by its known part.
  public init(parsing field: UnsafeRawBufferPointer) {
    guard field.count >= Self.fieldBytes, field[2] == 0x2D, field[35] == 0x2D, field[52] == 0x2D,
      let version = Self.hex(field, 0, 2), version != 0xFF,
      let high = Self.hex(field, 3, 16), let low = Self.hex(field, 19, 16),
      let parent = Self.hex(field, 36, 16), let flags = Self.hex(field, 53, 2),
      high | low != 0, parent != 0
    else { return }
    if version == 0 {
      guard field.count == Self.fieldBytes else { return }
    } else if field.count > Self.fieldBytes {
      guard field[Self.fieldBytes] == 0x2D else { return }
    }
    self.high = high
    self.low = low
    self.parent = parent
    isSampled = flags & 1 != 0
  }

  /// Lower-case digits alone (3.2.2).
  private static func hex(
    _ field: UnsafeRawBufferPointer, _ start: Int, _ count: Int
  ) -> UInt64? {
    var value: UInt64 = 0
    for index in start..<(start + count) {
      switch field[index] {
      case let digit where digit >= 0x30 && digit <= 0x39: value = value << 4 | UInt64(digit - 0x30)
      case let digit where digit >= 0x61 && digit <= 0x66: value = value << 4 | UInt64(digit - 0x57)
      default: return nil
      }
    }
    return value
  }

  /// Writes the field for the server: this exchange's span is the parent of what it does.
  /// - Parameter memory: of `fieldBytes` bytes at least.
  public func write(into memory: UnsafeMutableRawBufferPointer) {
    guard let base = memory.baseAddress, memory.count >= Self.fieldBytes else { return }
    var cursor = ByteCursor(base: base, capacity: Self.fieldBytes)
    cursor.literal("00-")
    cursor.hex(high)
    cursor.hex(low)
    cursor.byte(0x2D)
    cursor.hex(span)
    cursor.literal(isSampled ? "-01" : "-00")
  }
}
