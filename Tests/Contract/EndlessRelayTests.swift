// Relays without an end of their own, as a tunnel has them, and their end that loses nothing.

import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct EndlessRelays {
    @Test(arguments: completeEngines, RelayMethod.allCases)
    func bytesPassUntilTheInputEnds(_ kind: EngineKind, _ method: RelayMethod) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: .max, method, relay)
        let bytes = pattern(300_000)
        try pair.feed(bytes) { pair.got.count == bytes.count }
        #expect(harness.ending(relay) == nil)
        try pair.feed(Array("tail".utf8)) { pair.got.count == bytes.count + 4 }
        pair.writer.close()
        #expect(try harness.end(relay) >= 0)
        #expect(harness[relay].results.reduce(0) { $0 + Int($1) } == bytes.count + 4)
        #expect(pair.got == bytes + Array("tail".utf8))
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func aRelayThatIsFinishedWhileItWaitsLeavesItsSourceToReceives(
      _ kind: EngineKind, _ method: RelayMethod
    ) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: .max, method, relay)
        let bytes = pattern(100_000)
        try pair.feed(bytes) { pair.got.count == bytes.count }
        harness.engine.finishRelay(from: pair.source)
        harness.engine.finishRelay(from: pair.source)
        try harness.expect(relay, -ECANCELED)
        let moved = harness[relay].results.filter { $0 > 0 }.reduce(0) { $0 + Int($1) }
        #expect(moved == bytes.count, "all was reported before the end")
        let receive = harness.token()
        harness.engine.receive(pair.source, .once, receive)
        #expect(pair.writer.send(Array("behind".utf8)) == 6)
        #expect(try harness.end(receive) > 0)
        #expect(harness[receive].bytes == Array("behind".utf8))
        try harness.send(pair.sink, "more")
        #expect(try harness.received(by: pair.reader, 4).count == 4)
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func whatWasReadStillLeavesWhenAFullRelayIsFinished(
      _ kind: EngineKind, _ method: RelayMethod
    ) throws {
      // How much had been moved by then is a matter of the sockets' buffers.
      try withHarness(kind, isComparable: false) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: .max, method, relay)
        let bytes = pattern(1 << 18)
        var sent: [UInt8] = []
        for _ in 0..<150 {
          let count = max(0, pair.writer.send(bytes))
          sent += bytes[..<count]
          harness.turn(within: 1)
        }
        harness.engine.finishRelay(from: pair.source)
        for _ in 0..<3 { harness.turn(within: 1) }
        #expect(harness.ending(relay) == nil, "its reader has taken nothing")
        try harness.turn(until: {
          pair.read()
          return harness.ending(relay) != nil
        })
        #expect(harness.ending(relay) == -ECANCELED)
        let moved = harness[relay].results.filter { $0 > 0 }.reduce(0) { $0 + Int($1) }
        try harness.turn(until: {
          pair.read()
          return pair.got.count == moved
        })
        #expect(pair.got.elementsEqual(sent[..<moved]))
        // What the relay had not read is there, from the next byte on.
        let receive = harness.token()
        harness.engine.receive(pair.source, .once, receive)
        #expect(try harness.end(receive) > 0)
        let next = harness[receive].bytes
        #expect(next.elementsEqual(sent[moved..<moved + next.count]))
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func aFinishedRelayWhoseReaderTakesNothingIsStopped(
      _ kind: EngineKind, _ method: RelayMethod
    ) throws {
      try withHarness(kind, isComparable: false) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: .max, method, relay)
        let bytes = pattern(1 << 18)
        for _ in 0..<150 {
          pair.writer.send(bytes)
          harness.turn(within: 1)
        }
        harness.engine.finishRelay(from: pair.source)
        harness.turn(within: 1)
        #expect(harness.ending(relay) == nil)
        harness.engine.cancelAll(pair.sink)
        try harness.expect(relay, -ECANCELED)
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func aResetThatOneDirectionHasHeardOfIsNoEndToTheOther(
      _ kind: EngineKind, _ method: RelayMethod
    ) throws {
      // Which of the two hears of it first is a matter of time.
      try withHarness(kind, isComparable: false) { harness in
        let pair = try RelayPair(harness)
        let (there, back) = (harness.token(), harness.token())
        harness.engine.relay(from: pair.source, to: pair.sink, count: .max, method, there)
        harness.engine.relay(from: pair.sink, to: pair.source, count: .max, method, back)
        try pair.feed(pattern(1000)) { pair.got.count == 1000 }
        pair.reader.reset()
        let bytes = pattern(100_000)
        for _ in 0..<20 {
          pair.writer.send(bytes)
          harness.turn(within: 1)
        }
        #expect(try harness.end(back) == -ECONNRESET)
        if harness.ending(there) == nil { harness.engine.stopRelay(from: pair.source) }
        #expect(try harness.end(there) < 0)
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func aRelayThatIsFinishedInTheTurnOfItsBeginningEndsOnce(
      _ kind: EngineKind, _ method: RelayMethod
    ) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: .max, method, relay)
        harness.engine.finishRelay(from: pair.source)
        try harness.expect(relay, -ECANCELED)
        harness.engine.finishRelay(from: pair.source)
        pair.close()
      }
    }
  }
}
