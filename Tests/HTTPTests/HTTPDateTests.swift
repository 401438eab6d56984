// The Date text against a calendar that counts one day after the other.

import HTTP
import Testing

@Suite struct HTTPDateTests {
  private func text(_ seconds: Int64) -> String {
    var date = HTTPDate()
    return date.withBytes(wallMicroseconds: seconds * 1_000_000) {
      String(decoding: $0, as: UTF8.self)
    }
  }

  @Test func `the example of RFC 9110 5.6.7 is written as there`() {
    #expect(text(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")
  }

  @Test func `each day of 140 years has its date`() {
    let lengths: [Int] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    let months = [
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    var day = 0
    var wrong: [String] = []
    for year in 1970..<2110 {
      let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
      for month in 0..<12 {
        for number in 1...(lengths[month] + (month == 1 && isLeap ? 1 : 0)) {
          let two = number < 10 ? "0\(number)" : "\(number)"
          let expected = "\(days[day % 7]), \(two) \(months[month]) \(year) 23:59:59 GMT"
          if text(Int64(day) * 86_400 + 86_399) != expected { wrong.append(expected) }
          day += 1
        }
      }
    }
    #expect(wrong.isEmpty)
  }

  @Test func `a time before 1970 and the last one there is do no harm`() {
    #expect(text(-1) == "Thu, 01 Jan 1970 00:00:00 GMT")
    var date = HTTPDate()
    date.withBytes(wallMicroseconds: .max) { #expect($0.count == 29) }
    date.withBytes(wallMicroseconds: .min) { #expect($0.count == 29) }
  }

  @Test func `the text is made anew when the second has passed, and kept until then`() {
    var date = HTTPDate()
    date.refresh(wallMicroseconds: 999_999)
    let first = date.withLatest { String(decoding: $0, as: UTF8.self) }
    date.refresh(wallMicroseconds: 0)
    let same = date.withLatest { String(decoding: $0, as: UTF8.self) }
    date.refresh(wallMicroseconds: 1_000_000)
    let second = date.withLatest { String(decoding: $0, as: UTF8.self) }
    #expect(first == "Thu, 01 Jan 1970 00:00:00 GMT" && same == first)
    #expect(second == "Thu, 01 Jan 1970 00:00:01 GMT")
  }

  @Test(
    "a date is written as RFC 9110 asks",
    arguments: [
      (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
      (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
      (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
      (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
    ])
  func date(seconds: Int, text: String) {
    var date = HTTPDate()
    let written = date.withBytes(wallMicroseconds: Int64(seconds) * 1_000_000) {
      String(decoding: $0, as: UTF8.self)
    }
    #expect(written == text)
  }
}
