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
}
