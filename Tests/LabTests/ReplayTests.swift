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
    #expect(log.schedule.moments == [0, 500_000_000, 1_000_000_000])
    #expect(log.templates.map(\.target) == ["/a", "/b?c=1"])
    #expect(log.schedule.templates == [0, 1, 0])
    #expect(log.skipped == ["with a request line that is none": 1])
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
    #expect(log.schedule.moments == [0, 625_000_000])
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

  @Test func linesThatAreOutOfOrderAreSortedByTime() throws {
    let log = try load(
      """
      {"msec":"12.5","request":"GET /late HTTP/1.1"}
      {"msec":"10.5","request":"GET /early HTTP/1.1"}
      """)
    #expect(log.templates.map(\.target) == ["/early", "/late"])
    #expect(log.schedule.moments == [0, 2_000_000_000])
  }

  @Test(arguments: ["", "hello\nworld\n", "{\"kind\":\"seal\"}\n"])
  func whatHoldsNoRequestIsRefused(_ text: String) {
    #expect(throws: ReplayLog.Flaw.self) { try load(text) }
  }

  @Test func aLogThatIsNotThereIsNamed() {
    let flaw = #expect(throws: ReplayLog.Flaw.self) {
      try ReplayLog.load("/does/not/exist", speed: 1)
    }
    #expect(flaw?.message == "there is no /does/not/exist")
  }
}
