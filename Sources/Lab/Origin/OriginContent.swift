// The content of answers: bytes that say where they stand, so that a lost or doubled piece shows at
// a glance.

public enum OriginContent {
  /// Bytes after which the content begins again.
  public static let period = 131_072

  /// The byte at `offset` of any answer's content: lines of 16 bytes, 15 hexadecimal digits of the
  /// line's own offset within the period, and a newline.
  public static func byte(at offset: Int) -> UInt8 {
    let offset = offset % period
    let column = offset & 15
    if column == 15 { return UInt8(ascii: "\n") }
    let digit = UInt8((offset & ~15) >> ((14 - column) * 4) & 15)
    return digit < 10 ? 0x30 + digit : 0x57 + digit
  }

  static func fill(_ room: UnsafeMutableRawBufferPointer) {
    for i in 0..<room.count { room[i] = byte(at: i) }
  }
}
