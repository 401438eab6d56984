// Moments as the load writes them, RFC 3339 in UTC, as microseconds since 1970.

enum WallTime {
  /// `2026-11-21T10:12:00.123456Z`; nil if the text is no such moment.
  static func microseconds(_ text: String) -> Int64? {
    guard text.hasSuffix("Z") else { return nil }
    let parts = text.dropLast().split(separator: "T")
    guard parts.count == 2 else { return nil }
    let date = parts[0].split(separator: "-").compactMap { Int64($0) }
    let time = parts[1].split(separator: ":")
    guard date.count == 3, time.count == 3, let hour = Int64(time[0]), let minute = Int64(time[1])
    else { return nil }
    let second = time[2].split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    guard let whole = second.first.flatMap({ Int64($0) }) else { return nil }
    var fraction: Int64 = 0
    if second.count == 2 {
      let digits = String(second[1].prefix(6))
      guard let value = Int64(digits) else { return nil }
      fraction = value
      for _ in digits.count..<6 { fraction *= 10 }
    }
    let seconds = days(date[0], date[1], date[2]) * 86_400 + hour * 3600 + minute * 60 + whole
    return seconds * 1_000_000 + fraction
  }

  /// Days from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
  private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
  }
}
