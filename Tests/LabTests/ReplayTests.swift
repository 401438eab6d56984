// Logs turned into loads.

import FoundationEssentials
import Glibc
import Lab
import Testing

@Suite struct ReplayTests {
  private func load(_ text: String, speed: Double = 1) throws -> ReplayLog {
    let path =
      FileManager.default.temporaryDirectory.path()
      + "/replay-\(getpid())-\(UInt64.random(in: 0 ... .max))"
    _ = FileManager.default.createFile(atPath: path, contents: Data(text.utf8))
    defer { unlink(path) }
    return try ReplayLog.load(path, speed: speed)
  }

  @Test func combinedLinesAreSpreadOverTheirSeconds() throws {
    let log = try load(
      """
      10.0.0.1 - - [21/Nov/2026:10:18:41 +0000] "GET /a HTTP/1.1" 200 1 "-" "x \\"y\\""
      10.0.0.1 - bob [21/Nov/2026:10:18:41 +0000] "GET /b?c=1 HTTP/2.0" 200 1 "-" "-"
      10.0.0.1 - - [21/Nov/2026:12:18:42 +0200] "GET /a HTTP/1.1" 304 0 "-" "-"
      10.0.0.1 - - [21/Nov/2026:10:18:42 +0000] "\\x16\\x03" 400 0 "-" "-"

      """)
    #expect(log.format == .combined && log.hasSecondsOnly)
    #expect(log.schedule.sendTimes == [0, 500_000_000, 1_000_000_000])
    #expect(log.templates.map(\.target) == ["/a", "/b?c=1"])
    #expect(log.schedule.templates == [0, 1, 0])
    #expect(log.skipped == ["with an invalid request line": 1])
  }

  @Test func auditRecordsCountFromTheRequestAndSkipOtherKinds() throws {
    let log = try load(
      """
      {"seq":1,"kind":"exchange","time":"2026-11-21T01:33:58.000500Z","method":"GET","path":"/x","query":"q=1","request_bytes":0,"total_us":500}
      {"seq":2,"kind":"seal","time":"2026-11-21T01:33:58.100000Z"}
      {"seq":3,"kind":"begin","time":"2026-11-21T01:33:59.250000Z","method":"POST","path":"/up","request_bytes":7}
      {"seq":4,"kind":"exchange","time":"2026-11-21T01:33:59.250000Z","method":"GET","path":"/s","query_redacted":true}
      {"seq":5,"kind":"end","time":"2026-11-21T01:33:59.900000Z"}
      """, speed: 2)
    #expect(log.format == .audit && !log.hasSecondsOnly)
    #expect(log.templates.map(\.target) == ["/x?q=1", "/up"])
    #expect(log.templates[1].method == "POST" && log.templates[1].content.count == 7)
    #expect(log.schedule.sendTimes == [0, 625_000_000])
    #expect(log.skipped == ["with a redacted query": 1])
  }

  @Test func jsonAccessLogsOfNginxAreRead() throws {
    let log = try load(
      """
      {"msec":"1795250321.125","request":"GET /1 HTTP/1.1","status":"200"}
      {"time_iso8601":"2026-11-21T08:38:41.250+00:00","request_method":"PUT","request_uri":"/2","request_content_length":3}
      {"status":200}
      """)
    #expect(log.format == .json)
    #expect(log.templates.map(\.target).sorted() == ["/1", "/2"])
    #expect(log.skipped == ["without a time (time_iso8601 or msec)": 1])
  }

  @Test(arguments: [
    #"{"msec":1795250321125,"request":"GET /late HTTP/1.1"}"#,
    #"{"msec":"1795250321125.000","request":"GET /late HTTP/1.1"}"#,
    #"{"msec":"1e300","request":"GET /late HTTP/1.1"}"#,
    #"{"msec":"inf","request":"GET /late HTTP/1.1"}"#,
    #"{"msec":"nan","request":"GET /late HTTP/1.1"}"#,
    #"{"msec":"-1","request":"GET /early HTTP/1.1"}"#,
    #"{"time":"0001-01-01T00:00:00Z","request":"GET /zero HTTP/1.1"}"#,
    #"{"time":"1969-12-31T23:59:59Z","request":"GET /early HTTP/1.1"}"#,
    #"{"time":"2200-01-01T00:00:00Z","request":"GET /late HTTP/1.1"}"#,
    #"{"time":"9999-12-31T23:59:59.999999999Z","request":"GET /late HTTP/1.1"}"#,
  ])
  func timesThatCannotBeAreSkippedAndNamed(_ line: String) throws {
    let log = try load(#"{"msec":"12.5","request":"GET / HTTP/1.1"}"# + "\n" + line)
    #expect(log.templates.map(\.target) == ["/"])
    #expect(log.skipped == ["with a time before 1970 or after 2199": 1])
  }

  @Test func theLastTimesThatCanBeAreRead() throws {
    let log = try load(
      """
      {"time":"2199-12-31T23:59:59.999999999Z","request":"GET /b HTTP/1.1"}
      {"time":"2199-12-31T23:59:59.5Z","request":"GET /a HTTP/1.1"}
      """)
    #expect(log.skipped.isEmpty && log.schedule.sendTimes == [0, 499_999_999])
    let first = try load(#"{"time":"1970-01-01T00:00:00Z","request":"GET / HTTP/1.1"}"#)
    #expect(first.skipped.isEmpty && first.schedule.sendTimes == [0])
  }

  @Test func aCombinedLineOfTheYear9999IsSkipped() throws {
    let log = try load(
      """
      1.2.3.4 - - [21/Nov/2026:10:18:41 +0000] "GET / HTTP/1.1" 200 1 "-" "-"
      1.2.3.4 - - [21/Nov/9999:10:18:41 +0000] "GET /late HTTP/1.1" 200 1 "-" "-"
      """)
    #expect(log.skipped == ["with a time before 1970 or after 2199": 1])
  }

  @Test(arguments: [Int64.max, .min, -1, 1_795_225_000_000_000])
  func durationsThatCannotBeAreSkipped(_ took: Int64) throws {
    // The last one is a little longer than the time since 1970.
    let log = try load(
      """
      {"kind":"exchange","time":"2026-11-21T01:33:58.000500Z","path":"/x","total_us":500}
      {"kind":"exchange","time":"2026-11-21T01:33:18Z","path":"/y","total_us":\(took)}
      """)
    #expect(log.templates.map(\.target) == ["/x"])
    #expect(log.skipped == ["with an invalid total_us": 1])
  }

  private static let twoSeconds = """
    {"msec":"10.5","request":"GET /1 HTTP/1.1"}
    {"msec":"12.5","request":"GET /2 HTTP/1.1"}
    """

  @Test(arguments: [0, -1, .nan, .infinity, .leastNonzeroMagnitude, 1e-300, 1e-9] as [Double])
  func noLogIsReplayedAtASpeedThatIsNone(_ speed: Double) {
    #expect(throws: ReplayLog.ParseError.self) { try load(Self.twoSeconds, speed: speed) }
  }

  @Test func aWrongTimeThatWouldTakeYearsIsTold() {
    let error = #expect(throws: ReplayLog.ParseError.self) {
      try load(Self.twoSeconds + "\n" + #"{"msec":"1795250321.1","request":"GET /3 HTTP/1.1"}"#)
    }
    #expect(error?.message == "the log would take 20778 days at this speed")
  }

  // MARK: The format

  private func probes(_ count: Int) -> String {
    let probe = #"9.9.9.9 - - [21/Nov/2026:10:18:40 +0000] "\x16\x03\x01" 400 157 "-" "-""# + "\n"
    return String(repeating: probe, count: count)
  }

  @Test(arguments: [1, 99, 100, 250])
  func aLogMayBeginWithProbes(_ count: Int) throws {
    let log = try load(
      probes(count) + #"1.2.3.4 - - [21/Nov/2026:10:18:41 +0000] "GET / HTTP/1.1" 200 1 "-" "-""#)
    #expect(log.format == .combined && log.templates.map(\.target) == ["/"])
    #expect(log.skipped == ["with an invalid request line": count])
  }

  @Test func aLogMayBeginWithLinesOfNoFormatUpToALimit() throws {
    let good = #"1.2.3.4 - - [21/Nov/2026:10:18:41 +0000] "GET / HTTP/1.1" 200 1 "-" "-""#
    let log = try load(String(repeating: "half a line\n", count: 99) + good)
    #expect(log.format == .combined && log.schedule.sendTimes == [0])
    #expect(log.skipped == ["not in the combined format": 99])
    let json = try load("half a line\n" + Self.twoSeconds)
    #expect(json.format == .json && json.skipped == ["not JSON": 1])
    let error = #expect(throws: ReplayLog.ParseError.self) {
      try load(String(repeating: "half a line\n", count: 100) + good)
    }
    #expect(error?.message.contains("none of its first lines") == true)
  }

  @Test func linesThatAreOutOfOrderAreSortedByTime() throws {
    let log = try load(
      """
      {"msec":"12.5","request":"GET /late HTTP/1.1"}
      {"msec":"10.5","request":"GET /early HTTP/1.1"}
      """)
    #expect(log.templates.map(\.target) == ["/early", "/late"])
    #expect(log.schedule.sendTimes == [0, 2_000_000_000])
  }

  @Test(arguments: ["", "hello\nworld\n", "{\"kind\":\"seal\"}\n"])
  func whatHoldsNoRequestIsRefused(_ text: String) {
    #expect(throws: ReplayLog.ParseError.self) { try load(text) }
  }

  @Test func aLogThatIsNotThereIsNamed() {
    let error = #expect(throws: ReplayLog.ParseError.self) {
      try ReplayLog.load("/does/not/exist", speed: 1)
    }
    #expect(error?.message == "/does/not/exist does not exist")
  }
}
