// HTTP-version (RFC 9112 2.3): "HTTP/", a digit, ".", a digit, in this case and this length.

import HTTP

enum VersionParser {
  enum Result {
    case version(HTTPVersion)
    case rejected(HeadRejection)
  }

  /// Reads the eight bytes at `bytes`.
  @inline(__always)
  static func read(_ bytes: UnsafeRawPointer) -> Result {
    let word = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    if word == 0x312E_312F_5054_5448 { return .version(.http11) }  // "HTTP/1.1"
    return readRare(bytes)
  }

  private static func readRare(_ bytes: UnsafeRawPointer) -> Result {
    let major = ByteClass.byte(bytes, 5) &- 0x30
    let minor = ByteClass.byte(bytes, 7) &- 0x30
    guard ByteClass.equal(bytes, "HTTP/", count: 5), ByteClass.byte(bytes, 6) == 0x2E,
      major < 10, minor < 10
    else { return .rejected(.invalidVersion) }
    guard major == 1 else { return .rejected(.unsupportedVersion) }
    return .version(minor == 0 ? .http10 : .http11)
  }
}
