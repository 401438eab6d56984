import Testing

@testable import Proxy

@Suite("Queues")
struct QueueTests {
  @Test("a gate opens in sequence and only as far as the log is durable")
  func gateOrder() {
    var gate = GateQueue(capacity: 4)
    for sequence in 1...5 {
      gate.append(.init(sequence: UInt64(sequence), slot: UInt32(sequence), generation: 0))
    }
    var opened: [UInt64?] = []
    for durable in [0, 2, 2, 2, 9] as [UInt64] {
      opened.append(gate.popFirst(through: durable)?.sequence)
    }
    #expect(opened == [nil, 1, 2, nil, 3])
    let isEmpty = gate.isEmpty
    #expect(!isEmpty)
  }

  @Test("a failure log lets a few lines through per second and counts the rest")
  func failureLog() {
    var log = FailureLog()
    let admitted = (0..<100).filter { _ in log.admit(now: 5).admitted }.count
    #expect(admitted == 20)
    let next = log.admit(now: 1_000_000_005)
    #expect(next.admitted)
    #expect(next.withheld == 80)
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
