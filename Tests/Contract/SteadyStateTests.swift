// In steady state the engine keeps nothing of the heap. Measured by mallinfo2(3): bytes in use in
// all arenas before and after thousands of exchanges. That proves that nothing accumulates; a pair
// of malloc and free within one exchange it would not see.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct SteadyState {
    @Test(arguments: kernelEngines)
    func thousandsOfExchangesKeepNothingOfTheHeap(_ kind: EngineKind) throws {
      switch kind {
      case .uring: try measure(Uring.self)
      case .epoll: try measure(Epoll.self)
      case .simulated: throw HarnessFailure("a world in memory keeps what happens in it")
      }
    }

    @Test func theMeasureSeesWhatIsKept() {
      let before = heapBytes()
      // Too large for a thread's cache, whose blocks count as in use all the time.
      let kept = (0..<10).map { _ in malloc(100_000) }
      #expect(heapBytes() - before >= 900_000)
      for block in kept { free(block) }
    }

    private func measure<E: Engine & ~Copyable>(_: E.Type) throws {
      var pair = try PingPong<E>()
      pair.run(rounds: 2000)
      // Other threads of the test process may allocate meanwhile; not five times in a row by
      // exactly as much as an engine would that keeps something of every exchange.
      var growths: [Int] = []
      for _ in 0..<5 {
        let before = heapBytes()
        pair.run(rounds: 1000)
        growths.append(heapBytes() - before)
      }
      #expect(growths.min()! <= 0, "bytes kept per thousand exchanges: \(growths)")
      let counters = pair.engine.counters
      #expect(counters.submissionQueueFull == 0 && counters.receivesStarved == 0)
      if E.self == Uring.self {
        // One enter per turn, and no completion of the kernel for a send that fits.
        #expect(counters.systemCalls <= counters.turns + 8)
        if Harness.features.isSuperset(of: [.quietSends, .multishotReceive]),
          Harness.features.isDisjoint(with: [.incrementalBuffers]),
          !Harness.features.contains(.submissionThread)
        {
          #expect(counters.completions <= counters.turns + 8)
        }
      }
      pair.end()
    }
  }
}

private func heapBytes() -> Int {
  let info = mallinfo2()
  return info.uordblks + info.hblkhd
}

/// Two sockets of one engine that throw a small message back and forth.
private struct PingPong<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  let ends: (Descriptor, Descriptor)
  private var arrived = 0
  private static var message: StaticString { "a message of the usual small size" }

  init() throws {
    var engine = try E(Harness.options)
    let listener = try engine.listen(.loopback(), backlog: 8, reusePort: false)
    guard let address = engine.localAddress(listener) else { throw HarnessFailure("no address") }
    let first = try engine.connect(address, Token(rawValue: 100))
    var second: Descriptor?
    var connected = false
    while second == nil || !connected {
      engine.wait(until: engine.now + 1_000_000)
      while let completion = engine.next() {
        connected = connected || completion.token.rawValue == 100
      }
      second = second ?? engine.acceptNow(listener)
    }
    engine.close(listener)
    ends = (first, second!)
    engine.receive(ends.0, .stream, Token(rawValue: 0))
    engine.receive(ends.1, .stream, Token(rawValue: 1))
    self.engine = engine
  }

  mutating func run(rounds: Int) {
    var left = rounds
    throwFrom(0)
    while left > 0 {
      engine.refreshClocks()
      engine.wait(until: engine.now + 1_000_000_000)
      while let completion = engine.next() {
        guard completion.hasBytes else { continue }
        // A message may come in two pieces, where a buffer ends in it.
        arrived += engine.takeSlice(completion).count
        guard arrived == Self.message.utf8CodeUnitCount else { continue }
        arrived = 0
        left -= 1
        if left > 0 { throwFrom(Int(completion.token.rawValue)) }
      }
    }
  }

  private mutating func throwFrom(_ end: Int) {
    guard var frame = engine.frame() else { return }
    frame.append(Self.message)
    engine.send(
      end == 0 ? ends.0 : ends.1, frame, .quiet, Token(rawValue: 2))
  }

  mutating func end() {
    engine.shutdown(ends.0, .both)
    engine.shutdown(ends.1, .both)
    while engine.counters.operationsInFlight > 0 {
      engine.wait(until: engine.now + 1_000_000)
      while let completion = engine.next() {
        if completion.hasBytes { _ = engine.takeSlice(completion) }
      }
    }
    engine.close(ends.0)
    engine.close(ends.1)
  }
}
