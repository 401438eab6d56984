// Timestamp turns microseconds since 1970 into the UTC text that every line carries. It owns the
// calendar arithmetic and refuses time zones, leap seconds and clocks.

enum Timestamp {
  /// The length of `2026-11-21T01:33:58.123456Z`.
  static let length = 27

  /// Writes `microseconds` since 1970-01-01T00:00:00Z; clamped to the years 1970 to 9999.
  static func write(_ microseconds: Int64, into cursor: inout ByteCursor) {
    // 9999-12-31T23:59:59.999999Z.
    let clamped = min(max(microseconds, 0), 253_402_300_799_999_999)
    let seconds = Int(clamped / 1_000_000)
    let days = seconds / 86_400
    let ofDay = seconds % 86_400

    // Days to a civil date, counted in eras of 400 years that begin on the 1st of March 0000, so
    // that the leap day is a year's last.
    let shifted = days &+ 719_468
    let era = shifted / 146_097
    let ofEra = shifted % 146_097
    let yearOfEra = (ofEra &- ofEra / 1_460 &+ ofEra / 36_524 &- ofEra / 146_096) / 365
    let ofYear = ofEra &- (365 &* yearOfEra &+ yearOfEra / 4 &- yearOfEra / 100)
    let monthFromMarch = (5 &* ofYear &+ 2) / 153
    let day = ofYear &- (153 &* monthFromMarch &+ 2) / 5 &+ 1
    let month = monthFromMarch < 10 ? monthFromMarch &+ 3 : monthFromMarch &- 9
    let year = yearOfEra &+ era &* 400 &+ (month <= 2 ? 1 : 0)

    cursor.padded(year, 4)
    cursor.byte(0x2D)
    cursor.padded(month, 2)
    cursor.byte(0x2D)
    cursor.padded(day, 2)
    cursor.byte(0x54)
    cursor.padded(ofDay / 3_600, 2)
    cursor.byte(0x3A)
    cursor.padded(ofDay / 60 % 60, 2)
    cursor.byte(0x3A)
    cursor.padded(ofDay % 60, 2)
    cursor.byte(0x2E)
    cursor.padded(Int(clamped % 1_000_000), 6)
    cursor.byte(0x5A)
  }
}
