import Testing

@testable import Proxy

@Suite("Slabs and queues")
struct QueueTests {
  @Test("a slab gives each slot once and refuses when all are in use")
  func slabLimit() {
    var slab = Slab<Int>(capacity: 3)
    var taken: [UInt32] = []
    while let slot = slab.take() { taken.append(slot) }
    #expect(taken.sorted() == [0, 1, 2])
    slab.release(1)
    let again = slab.take()
    let beyond = slab.take()
    #expect(again == 1)
    #expect(beyond == nil)
    for slot in taken { slab.release(slot) }
    let inUse = slab.inUse
    #expect(inUse == 0)
  }

  @Test("a slot that was given back has another generation")
  func generations() throws {
    var slab = Slab<Int>(capacity: 1)
    let taken = slab.take()
    let slot = try #require(taken)
    let first = slab.generation(slot)
    slab.release(slot)
    let second = slab.generation(slot)
    #expect(second != first)
  }

  @Test("the most recently used slot is given first, and the mark of touched slots stays low")
  func lastInFirstOut() throws {
    var slab = Slab<Int>(capacity: 1000)
    for _ in 0..<500 {
      let taken = slab.take()
      let slot = try #require(taken)
      #expect(slot == 0)
      slab.release(slot)
    }
    let touched = slab.touched
    #expect(touched == 1)
  }

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
