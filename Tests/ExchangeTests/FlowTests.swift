import Testing

@testable import Exchange

@Suite("A flow")
struct FlowTests {
  static let limits = Flow.Limits(low: 10, high: 20)

  @Test("has room below its high mark; a single piece may exceed it")
  func room() {
    var flow = Flow(Self.limits)
    flow.produce(19)
    #expect(flow.hasRoom)
    flow.produce(100)
    #expect(!flow.hasRoom && flow.waiting == 119)
  }

  @Test("pauses once, and resumes once at its low mark")
  func pause() {
    var flow = Flow(Self.limits)
    flow.produce(25)
    var changes = [flow.block(), flow.block()]
    #expect(changes == [.pause, .none])
    changes = [flow.take(14), flow.take(1), flow.take(10)]
    #expect(changes == [.none, .resume, .none])
    #expect(flow.isEmpty && !flow.isPaused)
  }

  @Test("that is read in large buffers pauses above its low mark, another one does not")
  func settling() {
    var flow = Flow(Self.limits)
    flow.produce(10)
    #expect(flow.settle(bulk: true) == .none)
    flow.produce(1)
    #expect(flow.settle(bulk: false) == .none)
    #expect(flow.settle(bulk: true) == .pause)
    #expect(flow.settle(bulk: true) == .none)
  }

  @Test("has room again for what was given on, and is empty only once that was taken")
  func handingOver() {
    var flow = Flow(Self.limits)
    flow.produce(25)
    #expect(flow.block() == .pause)
    #expect(flow.handOver(14) == .none && !flow.isEmpty && flow.waiting == 25)
    #expect(flow.handOver(1) == .resume && flow.buffered == 10 && flow.hasRoom)
    flow.produce(10)
    #expect(!flow.hasRoom && flow.waiting == 35)
    #expect(flow.block() == .pause)
    // Taken in order: what was given on has left first.
    #expect(flow.take(15) == .none && flow.buffered == 20)
    #expect(flow.handOver(20) == .resume && flow.buffered == 0 && flow.waiting == 20)
    #expect(flow.take(20) == .none && flow.isEmpty)
    flow.produce(5)
    #expect(flow.buffered == 5)
  }

  @Test("counts what grew or was dropped on the way")
  func adjusting() {
    var flow = Flow(Self.limits)
    flow.produce(5)
    flow.adjust(by: 22)
    #expect(flow.waiting == 27)
    flow.adjust(by: -27)
    #expect(flow.isEmpty)
    flow.produce(3)
    flow.clear()
    #expect(flow.isEmpty && flow.produced == 3)
  }
}
