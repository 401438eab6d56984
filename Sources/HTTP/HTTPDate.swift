// The text of the Date field, made once a second: the only place that knows the civil calendar. It
// reads no clock; the caller says what time it is.

/// The value of Date (RFC 9110 6.6.1), an IMF-fixdate (5.6.7), kept for the second that it is of.
public struct HTTPDate {
  /// `Sun, 06 Nov 1994 08:49:37 GMT`.
  private static let length = 29

  private var second: Int64 = -1
  private var text = InlineArray<29, UInt8>(repeating: 0x20)

  public init() {}

  /// Calls `body` with the text for this time.
  ///
  /// - Parameter wallMicroseconds: since 1970-01-01 00:00:00 UTC; a time before counts as that one.
  @inline(__always)
  public mutating func withBytes<R>(
    wallMicroseconds: Int64, _ body: (UnsafeRawBufferPointer) -> R
  ) -> R {
    refresh(wallMicroseconds: wallMicroseconds)
    return withUnsafeBytes(of: &text) { body($0) }
  }

  /// Brings the text up to date, for `withLatest`.
  public mutating func refresh(wallMicroseconds: Int64) {
    let now = max(0, wallMicroseconds) / 1_000_000
    if now == second { return }
    second = now
    withUnsafeMutableBytes(of: &text) { Self.write(now, $0) }
  }

  /// Calls `body` with the text as of the last `refresh`, which must have been.
  public borrowing func withLatest<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
    withUnsafeBytes(of: text) { body($0) }
  }

  /// - Parameter seconds: 0 or more.
  private static func write(_ seconds: Int64, _ room: UnsafeMutableRawBufferPointer) {
    let days: StaticString = "ThuFriSatSunMonTueWed"
    let months: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"
    let day = seconds / 86_400
    let time = seconds % 86_400
    // Civil date from days since 1970-01-01, by the 400-year cycle of the Gregorian calendar.
    let shifted = day + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra =
      (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthIndex = (5 * dayOfYear + 2) / 153
    let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    var at = 0
    func put(_ text: StaticString, _ from: Int, _ count: Int) {
      for i in 0..<count {
        room[at] = text.utf8Start[from + i]
        at += 1
      }
    }
    func digits(_ value: Int64, _ count: Int) {
      var value = value
      for i in stride(from: count - 1, through: 0, by: -1) {
        room[at + i] = UInt8(truncatingIfNeeded: 48 + value % 10)
        value /= 10
      }
      at += count
    }
    put(days, Int(day % 7) * 3, 3)
    put(", ", 0, 2)
    digits(dayOfYear - (153 * monthIndex + 2) / 5 + 1, 2)
    put(" ", 0, 1)
    put(months, Int(month - 1) * 3, 3)
    put(" ", 0, 1)
    digits(year, 4)
    put(" ", 0, 1)
    digits(time / 3600, 2)
    put(":", 0, 1)
    digits(time / 60 % 60, 2)
    put(":", 0, 1)
    digits(time % 60, 2)
    put(" GMT", 0, 4)
  }
}
