// Writes a head into memory of the caller and never past its end: what does not fit is not written,
// nor anything after it, and `overflowed` says so once at the end. It checks no syntax in release;
// what it is given comes from a parsed head or from this program.
//
// TRAP: (file) a parsed status is 100 to 599, and our own are constants.

public import HTTP

/// Writer of message heads.
public struct HeadWriter {
  /// Bytes written so far.
  public private(set) var count = 0
  /// Whether something did not fit. What was written before is whole pieces, but no whole head.
  public private(set) var overflowed = false
  private let output: UnsafeMutableRawBufferPointer

  public init(_ output: UnsafeMutableRawBufferPointer) {
    self.output = output
  }

  /// Bytes that still fit; 0 once it has overflowed.
  public var remaining: Int { overflowed ? 0 : output.count - count }

  /// Room for `size` bytes, counted as written, or nil if they do not fit.
  // SAFETY: the pointer has `size` bytes behind it up to the end of `output`.
  @inline(__always)
  mutating func reserve(_ size: Int) -> UnsafeMutableRawPointer? {
    guard !overflowed, size <= output.count &- count, let base = output.baseAddress else {
      if size > 0 { overflowed = true }
      return nil
    }
    let place = base + count
    count &+= size
    return place
  }

  @inline(__always)
  mutating func append(_ bytes: UnsafeRawPointer, _ size: Int) {
    reserve(size)?.copyMemory(from: bytes, byteCount: size)
  }

  @inline(__always)
  public mutating func append(_ text: StaticString) {
    append(UnsafeRawPointer(text.utf8Start), text.utf8CodeUnitCount)
  }

  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress else { return }
    append(base, bytes.count)
  }

  /// Appends a part of `bytes`; traps if the range reaches past their end.
  public mutating func append(_ range: ByteRange, of bytes: UnsafeRawBufferPointer) {
    append(range.slice(of: bytes))
  }

  public mutating func append(byte: UInt8) {
    reserve(1)?.storeBytes(of: byte, as: UInt8.self)
  }

  /// Appends `value` in decimal digits without leading zeros.
  public mutating func append(decimal value: UInt64) {
    var size = 1
    var rest = value
    while rest >= 10 {
      rest /= 10
      size += 1
    }
    guard let place = reserve(size) else { return }
    rest = value
    for index in stride(from: size - 1, through: 0, by: -1) {
      let digit = UInt8(truncatingIfNeeded: rest % 10)
      place.storeBytes(of: 0x30 + digit, toByteOffset: index, as: UInt8.self)
      rest /= 10
    }
  }

  /// Appends `value` in lower-case hexadecimal digits without leading zeros.
  public mutating func append(hex value: UInt64) {
    let size = max(1, (UInt64.bitWidth - value.leadingZeroBitCount + 3) / 4)
    guard let place = reserve(size) else { return }
    var rest = value
    for index in stride(from: size - 1, through: 0, by: -1) {
      let digit = UInt8(truncatingIfNeeded: rest & 15)
      let character = digit < 10 ? 0x30 + digit : 0x57 + digit
      place.storeBytes(of: character, toByteOffset: index, as: UInt8.self)
      rest >>= 4
    }
  }

  @inline(__always)
  public mutating func crlf() { append("\r\n") }

  /// Appends an HTTP/1.1 status line with the registered reason phrase, or an empty one.
  /// Precondition: 100...999.
  public mutating func statusLine(_ status: UInt16) {
    let reason = reasonPhrase(status)
    let bytes = UnsafeRawBufferPointer(start: reason.utf8Start, count: reason.utf8CodeUnitCount)
    statusLine(status, reason: bytes)
  }

  /// Appends an HTTP/1.1 status line with this reason phrase. Precondition: 100...999.
  public mutating func statusLine(_ status: UInt16, reason: UnsafeRawBufferPointer) {
    precondition(status >= 100 && status <= 999, "a status code has three digits")
    append("HTTP/1.1 ")
    append(decimal: UInt64(status))
    append(byte: ByteClass.space)
    append(reason)
    crlf()
  }
}
