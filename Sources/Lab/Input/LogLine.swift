// One line of a log: the request in it, or why it cannot be sent again.

import FoundationEssentials

enum LogLine {
  struct Skip: Error { var reason: String }

  /// Nanoseconds since the epoch of the times that are read: 1970 to 2199. An Int64 holds them until 2262,
  /// and differences of them, and what is added to them, have to fit as well. Go's zero time (year 1)
  /// and milliseconds where seconds belong are outside.
  private static let times: ClosedRange<Int64> = 0...7_258_118_399_999_999_999
  private static let outsideTimes = Skip(reason: "with a time before 1970 or after 2199")

  /// Content that is made up for a logged length, at most: what it was is not known, and a gibibyte of
  /// it would fill the memory.
  static let contentMaximum = 16 << 20

  /// A record of Millrace's audit log. nil: another kind of line (a seal, an end, a header).
  static func audit(_ line: ArraySlice<UInt8>) throws(Skip) -> LoggedRequest? {
    struct Record: Decodable {
      var kind: String?
      var time: String?
      var method: String?
      var path: String?
      var query: String?
      var query_redacted: Bool?
      var request_bytes: Int?
      var total_us: Int64?
    }
    guard let record = try? JSONDecoder().decode(Record.self, from: Data(line)) else {
      throw Skip(reason: "not JSON")
    }
    guard record.kind == "exchange" || record.kind == "begin" else { return nil }
    guard let path = record.path, let time = try instant(record.time) else {
      throw Skip(reason: "without a path or a time")
    }
    if record.query_redacted == true { throw Skip(reason: "with a redacted query") }
    let target = record.query.map { path + "?" + $0 } ?? path
    // The time is that of the record, which an exchange gets at its end.
    let took = record.total_us ?? 0
    guard took >= 0, took <= time / 1000 else {
      throw Skip(reason: "with an invalid total_us")
    }
    let began = time - took * 1000
    return try request(began, record.method ?? "GET", target, record.request_bytes ?? 0)
  }

  /// A line of a JSON access log with nginx's names: `time_iso8601` or `msec`, `request` or
  /// `request_method` with `request_uri`.
  static func json(_ line: ArraySlice<UInt8>) throws(Skip) -> LoggedRequest {
    struct Text: Decodable {
      var text: String
      init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if let text = try? value.decode(String.self) {
          self.text = text
        } else if let number = try? value.decode(Double.self) {
          text = "\(number)"
        } else {
          text = ""
        }
      }
    }
    guard let all = try? JSONDecoder().decode([String: Text].self, from: Data(line)) else {
      throw Skip(reason: "not JSON")
    }
    func first(_ names: String...) -> String? {
      for name in names { if let found = all[name]?.text, !found.isEmpty { return found } }
      return nil
    }
    var time: Int64?
    if let seconds = first("msec").flatMap(Double.init) {
      // Of what is no number this is false, too.
      guard seconds >= 0, seconds < Double(times.upperBound) / 1e9 else { throw outsideTimes }
      time = Int64((seconds * 1000).rounded()) * 1_000_000
    }
    if time == nil { time = try instant(first("time_iso8601", "@timestamp", "timestamp", "time")) }
    guard let time else { throw Skip(reason: "without a time (time_iso8601 or msec)") }
    let length = first("request_content_length", "content_length").flatMap { Int($0) } ?? 0
    if let line = first("request") { return try requestLine(time, line[...], length) }
    guard let target = first("request_uri", "uri", "path") else {
      throw Skip(reason: "without a request")
    }
    return try request(time, first("request_method", "method") ?? "GET", target, length)
  }

  /// nginx's `combined`, and whatever begins like it:
  /// `ADDRESS - USER [21/Nov/2026:10:18:41 +0000] "GET / HTTP/1.1" 200 612 …`.
  static func combined(_ line: ArraySlice<UInt8>) throws(Skip) -> LoggedRequest {
    guard let (time, request) = try combinedParts(line) else {
      throw Skip(reason: "not in the combined format")
    }
    return try requestLine(time, request, 0)
  }

  /// Whether a line is in nginx's `combined`, be its request what it may: a log's first lines may well
  /// be somebody's TLS handshake with a port that speaks none.
  static func isCombined(_ line: ArraySlice<UInt8>) -> Bool {
    (try? combinedParts(line)) != nil
  }

  private static func combinedParts(
    _ line: ArraySlice<UInt8>
  ) throws(Skip) -> (time: Int64, request: Substring)? {
    let text = Substring(decoding: line, as: UTF8.self)
    guard let open = text.firstIndex(of: "["), let close = text[open...].firstIndex(of: "]"),
      let time = try commonLogTime(text[text.index(after: open)..<close]),
      let quote = text[close...].firstIndex(of: "\""),
      let end = text[text.index(after: quote)...].firstIndex(of: "\"")
    else { return nil }
    return (time, text[text.index(after: quote)..<end])
  }

  private static func requestLine(
    _ time: Int64, _ line: Substring, _ length: Int
  ) throws(Skip) -> LoggedRequest {
    let words = line.split(separator: " ")
    guard words.count == 3, words[2].hasPrefix("HTTP/") else {
      throw Skip(reason: "with an invalid request line")
    }
    return try request(time, String(words[0]), String(words[1]), length)
  }

  private static func request(
    _ time: Int64, _ method: String, _ target: String, _ length: Int
  ) throws(Skip) -> LoggedRequest {
    guard method != "CONNECT" else { throw Skip(reason: "CONNECT") }
    guard target.hasPrefix("/") || target == "*" else {
      throw Skip(reason: "with a target that is not a path")
    }
    guard target.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
      throw Skip(reason: "with invalid bytes in the target")
    }
    guard !method.isEmpty, method.utf8.allSatisfy({ $0 >= 0x41 && $0 <= 0x5A || $0 == 0x2D }) else {
      throw Skip(reason: "with an invalid method")
    }
    guard length <= contentMaximum else {
      throw Skip(reason: "with more content than 16 MiB")
    }
    return LoggedRequest(
      time: time, method: method, target: target, contentLength: max(0, length))
  }

  // MARK: Times

  /// RFC 3339: `2026-11-21T10:18:41.325123Z`, with any fraction and offset. nil: no such text.
  static func instant(_ text: String?) throws(Skip) -> Int64? {
    guard let text else { return nil }
    let b = Array(text.utf8)
    guard b.count >= 20, b[4] == 0x2D, b[7] == 0x2D, b[10] == 0x54 || b[10] == 0x20, b[13] == 0x3A,
      b[16] == 0x3A, let year = number(b[0..<4]), let month = number(b[5..<7]),
      let day = number(b[8..<10]), let hour = number(b[11..<13]), let minute = number(b[14..<16]),
      let second = number(b[17..<19])
    else { return nil }
    var at = 19
    var fraction: Int64 = 0
    if b[at] == 0x2E {
      at += 1
      var scale: Int64 = 100_000_000
      while at < b.count, b[at] >= 0x30, b[at] <= 0x39 {
        fraction += Int64(b[at] - 0x30) * scale
        scale /= 10
        at += 1
      }
    }
    guard at < b.count, let offset = offsetSeconds(b[at...]) else { return nil }
    return try nanoseconds(
      civilDays(year, month, day), Int64(hour * 3600 + minute * 60 + second) - offset, fraction)
  }

  /// `21/Nov/2026:10:18:41 +0000`.
  static func commonLogTime(_ text: Substring) throws(Skip) -> Int64? {
    let b = Array(text.utf8)
    let months = [
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    guard b.count == 26, let day = number(b[0..<2]), let year = number(b[7..<11]),
      let month = months.firstIndex(of: String(decoding: b[3..<6], as: UTF8.self)),
      let hour = number(b[12..<14]), let minute = number(b[15..<17]),
      let second = number(b[18..<20]), let offset = offsetSeconds(b[21...])
    else { return nil }
    return try nanoseconds(
      civilDays(year, month + 1, day), Int64(hour * 3600 + minute * 60 + second) - offset, 0)
  }

  /// Nanoseconds since the epoch, of days since then, seconds and a fraction.
  private static func nanoseconds(
    _ days: Int, _ seconds: Int64, _ fraction: Int64
  ) throws(Skip) -> Int64 {
    let whole = Int64(days) * 86_400 + seconds
    guard whole >= 0, whole <= times.upperBound / 1_000_000_000 else { throw outsideTimes }
    return whole * 1_000_000_000 + fraction
  }

  /// `Z`, `+02:00` or `+0200`.
  private static func offsetSeconds(_ bytes: ArraySlice<UInt8>) -> Int64? {
    guard let first = bytes.first else { return nil }
    if first == UInt8(ascii: "Z") || first == UInt8(ascii: "z") { return 0 }
    guard first == UInt8(ascii: "+") || first == UInt8(ascii: "-") else { return nil }
    let digits = bytes.dropFirst().filter { $0 != UInt8(ascii: ":") }
    guard digits.count == 4, let hours = number(digits[0..<2]), let minutes = number(digits[2..<4])
    else { return nil }
    let seconds = Int64(hours * 3600 + minutes * 60)
    return first == UInt8(ascii: "-") ? -seconds : seconds
  }

  private static func number<C: Collection<UInt8>>(_ digits: C) -> Int? {
    var value = 0
    for digit in digits {
      guard digit >= 0x30, digit <= 0x39 else { return nil }
      value = value * 10 + Int(digit - 0x30)
    }
    return digits.isEmpty ? nil : value
  }

  /// Days from 1970-01-01 of a date in the Gregorian calendar: years begin in March, so that the
  /// leap day is the last of its year.
  static func civilDays(_ year: Int, _ month: Int, _ day: Int) -> Int {
    let y = month <= 2 ? year - 1 : year
    let era = (y >= 0 ? y : y - 399) / 400
    let yearOfEra = y - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
  }
}
