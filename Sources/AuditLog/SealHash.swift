// SealHash is one link of the chain: a SHA-256 value as a plain, trivially copyable value with its
// hexadecimal form. It refuses anything but 64 lower-case digits, so that a hash has one spelling.

internal import Text

/// A SHA-256 value.
public struct SealHash: Equatable, Sendable {
  var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

  /// The hash that the first segment of a chain names as its predecessor.
  public static let zero = SealHash()

  init() {}

  /// Parses 64 lower-case hexadecimal digits; nil for anything else.
  init?(hex: UnsafeRawBufferPointer) {
    guard hex.count == 64 else { return nil }
    var valid = true
    withUnsafeMutableBytes(of: &words) { bytes in
      for index in 0..<32 {
        guard let high = Self.value(hex[2 * index]), let low = Self.value(hex[2 * index + 1])
        else {
          valid = false
          return
        }
        bytes[index] = high << 4 | low
      }
    }
    if !valid { return nil }
  }

  static func value(_ digit: UInt8) -> UInt8? {
    switch digit {
    case 0x30...0x39: digit - 0x30
    case 0x61...0x66: digit - 0x57
    default: nil
    }
  }

  public static func == (left: SealHash, right: SealHash) -> Bool {
    left.words == right.words
  }

  func write(into cursor: inout ByteCursor) {
    withUnsafeBytes(of: words) { for byte in $0 { cursor.hex(byte) } }
  }

  /// 64 lower-case hexadecimal digits.
  public var hex: String {
    var text: [UInt8] = []
    withUnsafeBytes(of: words) {
      for byte in $0 {
        text.append(ByteCursor.hexDigit(byte >> 4))
        text.append(ByteCursor.hexDigit(byte & 15))
      }
    }
    return String(decoding: text, as: UTF8.self)
  }
}
