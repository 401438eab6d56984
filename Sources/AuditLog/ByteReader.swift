// ByteReader walks over one line that this module wrote, by exact templates. It refuses any other
// spelling of the same JSON (leading zeros, spaces, reordered members), because chain lines have
// one.

internal import Glibc

struct ByteReader {
  private let start: UnsafeRawPointer?
  private let count: Int
  private(set) var position = 0

  init(_ bytes: UnsafeRawBufferPointer) {
    start = bytes.baseAddress
    count = bytes.count
  }

  var atEnd: Bool { position == count }

  /// Steps over `text`, or stays and returns false.
  mutating func take(_ text: StaticString) -> Bool {
    let length = text.utf8CodeUnitCount
    guard let start, count - position >= length,
      memcmp(start + position, text.utf8Start, length) == 0
    else { return false }
    position += length
    return true
  }

  /// A decimal number without leading zeros that fits 64 bits.
  mutating func decimal() -> UInt64? {
    guard let start else { return nil }
    let first = position
    var value: UInt64 = 0
    while position < count {
      let digit = start.load(fromByteOffset: position, as: UInt8.self)
      guard digit >= 0x30 && digit <= 0x39 else { break }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(digit - 0x30))
      if overflow || carry { return nil }
      value = sum
      position += 1
    }
    if position == first { return nil }
    let leading = start.load(fromByteOffset: first, as: UInt8.self)
    return leading == 0x30 && position - first > 1 ? nil : value
  }

  /// The largest sequence that a chain can have: 300,000 years of a million records a second. What a
  /// file claims beyond it is refused, so that no sum that is formed of sequences overflows.
  static let sequenceMaximum: UInt64 = 1 << 63

  /// A sequence: a decimal number from 1 to `sequenceMaximum`.
  mutating func sequence() -> UInt64? {
    guard let value = decimal(), value > 0, value <= Self.sequenceMaximum else { return nil }
    return value
  }

  mutating func bytes(_ length: Int) -> UnsafeRawBufferPointer? {
    guard let start, count - position >= length else { return nil }
    defer { position += length }
    return UnsafeRawBufferPointer(start: start + position, count: length)
  }

  mutating func hash() -> SealHash? {
    bytes(64).flatMap { SealHash(hex: $0) }
  }
}
