// Timestamp turns microseconds since 1970 into the UTC text that every line carries. It owns the
// calendar arithmetic and refuses time zones, leap seconds and clocks.

public enum Timestamp {
  /// The length of `2026-11-21T01:33:58.123456Z`.
  @inlinable public static var length: Int { 27 }

  /// A moment of UTC, taken apart.
  @usableFromInline
  struct Moment {
    @usableFromInline let year, month, day, hour, minute, second, microsecond: Int

    /// - Parameter microseconds: since 1970-01-01T00:00:00Z; clamped to the years 1970 to 9999.
    @inlinable @inline(__always)
    init(_ microseconds: Int64) {
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
      day = ofYear &- (153 &* monthFromMarch &+ 2) / 5 &+ 1
      month = monthFromMarch < 10 ? monthFromMarch &+ 3 : monthFromMarch &- 9
      year = yearOfEra &+ era &* 400 &+ (month <= 2 ? 1 : 0)
      hour = ofDay / 3_600
      minute = ofDay / 60 % 60
      second = ofDay % 60
      microsecond = Int(clamped % 1_000_000)
    }
  }

  /// Writes `microseconds` since 1970-01-01T00:00:00Z; clamped to the years 1970 to 9999.
  @inlinable
  public static func write(_ microseconds: Int64, into cursor: inout ByteCursor) {
    let moment = Moment(microseconds)
    cursor.padded(moment.year, 4)
    cursor.byte(0x2D)
    cursor.padded(moment.month, 2)
    cursor.byte(0x2D)
    cursor.padded(moment.day, 2)
    cursor.byte(0x54)
    writeTime(moment, into: &cursor)
    cursor.byte(0x2E)
    cursor.padded(moment.microsecond, 6)
    cursor.byte(0x5A)
  }

  /// Writes the same as the Common Log Format has it: `21/Nov/2026:01:33:58 +0000`.
  @inlinable
  public static func writeCommon(_ microseconds: Int64, into cursor: inout ByteCursor) {
    let moment = Moment(microseconds)
    cursor.padded(moment.day, 2)
    cursor.byte(0x2F)
    let names: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"
    cursor.raw(names.utf8Start + 3 * (moment.month - 1), 3)
    cursor.byte(0x2F)
    cursor.padded(moment.year, 4)
    cursor.byte(0x3A)
    writeTime(moment, into: &cursor)
    cursor.literal(" +0000")
  }

  @inlinable @inline(__always)
  static func writeTime(_ moment: Moment, into cursor: inout ByteCursor) {
    cursor.padded(moment.hour, 2)
    cursor.byte(0x3A)
    cursor.padded(moment.minute, 2)
    cursor.byte(0x3A)
    cursor.padded(moment.second, 2)
  }
}
