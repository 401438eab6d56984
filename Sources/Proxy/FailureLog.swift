// Reasons of failed exchanges for the operator's log: all of them while they are few, a sample and
// a count when they are many. A log line costs more than the failure; it must not become a way to
// slow a worker down.

import Glibc
import HTTP1
import Logging

/// An exchange's id as its record has it: sixteen hexadecimal digits.
func exchangeText(_ id: UInt64) -> String {
  let digits = String(id, radix: 16)
  return String(repeating: "0", count: 16 - digits.count) + digits
}

/// A limit of lines per second, with a count of what it kept back.
struct FailureLog {
  /// Lines per second and worker.
  private static let linesPerSecond = 20

  private var second: Int64 = -1
  private var lines = 0
  private var suppressed = 0

  /// True if a line may be written now; `withheld` is how many were not since the last.
  mutating func admit(now: Int64) -> (admitted: Bool, withheld: Int) {
    let current = now / 1_000_000_000
    if current != second {
      second = current
      lines = 0
    }
    guard lines < Self.linesPerSecond else {
      suppressed += 1
      return (false, 0)
    }
    lines += 1
    let withheld = suppressed
    suppressed = 0
    return (true, withheld)
  }
}

/// The Date field of the proxy's own answers, RFC 9110 5.6.7, written at most once a second.
struct HTTPDate {
  private var second: Int64 = -1
  private var text: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
  private static let length = 29

  mutating func withBytes<R>(
    wallMicroseconds: Int64, _ body: (UnsafeRawBufferPointer) -> R
  ) -> R {
    let now = wallMicroseconds / 1_000_000
    if now != second {
      second = now
      withUnsafeMutableBytes(of: &text) { Self.write(now, $0) }
    }
    return withUnsafeBytes(of: &text) {
      body(UnsafeRawBufferPointer(rebasing: $0[..<Self.length]))
    }
  }

  /// Brings the text up to date, for `write(to:)`.
  @inline(__always)
  mutating func refresh(wallMicroseconds: Int64) {
    withBytes(wallMicroseconds: wallMicroseconds) { _ in }
  }

  /// Appends the field line as of the last `refresh`.
  func write(to writer: inout HeadWriter) {
    withUnsafeBytes(of: text) {
      writer.field("Date", UnsafeRawBufferPointer(rebasing: $0[..<Self.length]))
    }
  }

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
        room[at + i] = UInt8(48 + value % 10)
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
