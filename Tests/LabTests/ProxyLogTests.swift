// Millrace's own log as a comparison reads it: the engine, what the kernel refused, and the difference
// between two reports of every worker.

import Testing

@testable import Lab

@Suite struct ProxyLogTests {
  private static let start = """
    2026-11-21T10:00:00.000Z info engine selected engine=io_uring cause=configured setup=single_issuer \
    off="busy_poll" refused="sqpoll (EPERM (no CAP_SYS_NICE); run as root), ktls (not here)"
    2026-11-21T10:00:00.010Z info listening address=127.0.0.1:1 workers=9
    2026-11-21T10:00:00.010Z info ready workers=2 pinned=0,1

    """

  private func counters(_ worker: Int, _ responses: Int, _ turns: Int, _ rest: String = "")
    -> String
  {
    "2026-11-21T10:00:01.000Z info counters worker=\(worker) engine=io_uring responses=\(responses)"
      + " turns=\(turns) label=\"a b=3\" \(rest)\n"
  }

  @Test func theEngineAndItsRefusalsAreRead() {
    let log = ProxyLog(Self.start)
    #expect(log.engine == "io_uring")
    #expect(
      log.refused == ["sqpoll": "EPERM (no CAP_SYS_NICE); run as root", "ktls": "not here"])
    #expect(log.counted == nil)
    let plain = ProxyLog("x notice engine selected engine=epoll cause=ENOSYS detail=\"engine=z\"\n")
    #expect(plain.engine == "epoll" && plain.refused.isEmpty)
    #expect(ProxyLog("").engine == nil)
    #expect(ProxyLog("x critical engine refused engine=io_uring cause=EPERM\n").engine == nil)
  }

  @Test func countersAreTheDifferenceOfTwoReportsOfAllWorkers() {
    let log = ProxyLog(
      Self.start + counters(0, 100, 10) + counters(1, 200, 20, "audit_commits=5") + "x info noise\n"
        + counters(1, 1200, 90, "audit_commits=25") + counters(0, 900, 70, "cq_overflows=3")
        // What comes at the end of the process does not count.
        + counters(0, 9999, 9999) + counters(1, 9999, 9999))
    #expect(log.counted?.responses == 1800)
    #expect(log.counted?.differences["turns"] == 130)
    #expect(log.counted?.differences["audit_commits"] == 20)
    #expect(log.counted?.differences["cq_overflows"] == 3)
    #expect(log.counted?.differences["engine"] == nil)
  }

  @Test func withoutTwoWholeReportsNothingWasCounted() {
    let three = counters(0, 1, 1) + counters(1, 1, 1) + counters(0, 9, 9)
    #expect(ProxyLog(Self.start + three).counted == nil)
    #expect(ProxyLog(Self.start + three + counters(1, 9, 9)).counted?.responses == 16)
    // Who was never ready has no number of workers.
    #expect(ProxyLog(three + counters(1, 9, 9)).counted == nil)
    // Nothing was answered in between.
    let idle = counters(0, 1, 1) + counters(1, 1, 1) + counters(0, 1, 9) + counters(1, 1, 9)
    #expect(ProxyLog(Self.start + idle).counted == nil)
  }

  @Test func aCountersLineHoldsItsNumbers() {
    let line = CountersLine(
      "t info counters worker=3 engine=epoll responses=12 odd=1x negative=-4 empty=")
    #expect(line?.values == ["worker": 3, "responses": 12, "negative": -4])
    #expect(CountersLine("t info ready workers=2") == nil)
    #expect(CountersLine("") == nil)
  }

  @Test(
    arguments: [
      ("engine", "io_uring"), ("text", "two words"), ("last", "z"), ("none", nil), ("gine", nil),
      ("empty", ""),
    ] as [(String, String?)])
  func valuesAreFoundByTheirWholeName(_ name: String, _ value: String?) {
    let line = "t info engine=io_uring xengine=no text=\"two words\" empty=\"\" last=z"
    #expect(ProxyLog.value(name, in: line[...]) == value)
  }

  @Test(
    arguments: [
      ("", [:]), ("a (b)", ["a": "b"]), ("a (b), c (d (e) f)", ["a": "b", "c": "d (e) f"]),
      ("a (open", ["a": "open"]), ("no brackets", [:]),
    ] as [(String, [String: String])])
  func refusalsMayHoldBrackets(_ text: String, _ found: [String: String]) {
    #expect(ProxyLog.refusals(text) == found)
  }
}
