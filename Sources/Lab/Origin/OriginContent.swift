// The content of answers: bytes that say where they stand, so that a lost or doubled piece shows at
// a glance; and the Date field, made once a second.

import Glibc
import HTTP1

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

/// The value of Date (RFC 9110, section 6.6.1): what nginx, too, makes once a second.
struct OriginDate {
  private var second: Int64 = -1
  private var text = InlineArray<29, UInt8>(repeating: 0x20)

  /// Calls `body` with the date of the moment.
  @inline(__always)
  mutating func with<R>(_ wallMicroseconds: Int64, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    let now = wallMicroseconds / 1_000_000
    if now != second { make(now) }
    return unsafe withUnsafeBytes(of: &text, body)
  }

  private mutating func make(_ now: Int64) {
    second = now
    var seconds = time_t(now)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    withUnsafeMutableBytes(of: &text) { room in
      var w = HeadWriter(room)
      let days: [StaticString] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
      let months: [StaticString] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
      ]
      w.append(days[Int(parts.tm_wday)])
      w.append(", ")
      Self.two(&w, parts.tm_mday)
      w.append(" ")
      w.append(months[Int(parts.tm_mon)])
      w.append(" ")
      w.append(decimal: UInt64(parts.tm_year + 1900))
      w.append(" ")
      Self.two(&w, parts.tm_hour)
      w.append(":")
      Self.two(&w, parts.tm_min)
      w.append(":")
      Self.two(&w, parts.tm_sec)
      w.append(" GMT")
    }
  }

  private static func two(_ w: inout HeadWriter, _ number: Int32) {
    if number < 10 { w.append("0") }
    w.append(decimal: UInt64(number))
  }
}
