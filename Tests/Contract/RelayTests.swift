// Relaying: exactly so many bytes, in order, at the pace of the slower side, through memory or
// through a pipe; and every way in which one of the two sides can end it.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Relaying {
    @Test(arguments: completeEngines, RelayMethod.allCases)
    func exactlyTheCountMovesAndTheRestStays(_ kind: EngineKind, _ method: RelayMethod) throws {
      try withHarness(kind) { harness in
        for count in [1, 4095, 65_536, 300_000] {
          let pair = try RelayPair(harness)
          let bytes = pattern(count)
          let relay = harness.token()
          harness.engine.relay(from: pair.source, to: pair.sink, count: count, method, relay)
          try pair.feed(bytes + Array("the next request".utf8)) { pair.got.count == count }
          #expect(try harness.end(relay) >= 0)
          #expect(harness[relay].results.reduce(0) { $0 + Int($1) } == count)
          #expect(pair.got == bytes, "\(count) bytes")
          // The sockets are as they were: the rest is received, and an answer goes out.
          let receive = harness.token()
          harness.engine.receive(pair.source, .once, receive)
          #expect(try harness.end(receive) > 0)
          #expect(harness[receive].bytes == Array("the next request".utf8))
          try harness.send(pair.sink, "trailer")
          #expect(try harness.received(by: pair.reader, 7).count == 7)
          pair.close()
        }
      }
    }

    @Test(arguments: completeEngines)
    func whatSplicesMoveIsNotCountedAsCopied(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        for (method, share) in [(RelayMethod.splice, 0), (.copy, 2)] {
          let pair = try RelayPair(harness)
          let bytes = pattern(100_000)
          let relay = harness.token()
          let before = harness.engine.counters.bytesCopied
          harness.engine.relay(from: pair.source, to: pair.sink, count: 100_000, method, relay)
          try pair.feed(bytes) { pair.got.count == 100_000 }
          #expect(try harness.end(relay) >= 0)
          #expect(harness.engine.counters.bytesCopied - before == share * 100_000)
          pair.close()
        }
      }
    }

    @Test(arguments: completeEngines, RelayMethod.allCases)
    func nothingToMoveEndsAtOnceWithZero(_ kind: EngineKind, _ method: RelayMethod) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: 0, method, relay)
        #expect(harness.engine.next() == nil, "nothing is reported from a submission")
        try harness.expect(relay, 0)
        #expect(harness[relay].results == [0])
        pair.close()
      }
    }

    @Test(arguments: completeEngines, RelayMethod.allCases)
    func aSlowReaderSetsThePaceAndProgressShows(_ kind: EngineKind, _ method: RelayMethod) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let bytes = pattern(24 << 20)
        if kind != .simulated {
          // A machine that lets receive buffers grow to 32 MiB (tcp_rmem) would hold all of it.
          var size = Int32(1 << 20)
          let code = setsockopt(pair.source.rawValue, SOL_SOCKET, SO_RCVBUF, &size, 4)
          #expect(code == 0)
        }
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: bytes.count, method, relay)
        var sent = 0
        func push() {
          if sent < bytes.count {
            sent += max(
              0, pair.writer.send(Array(bytes[sent..<min(sent + (1 << 18), bytes.count)])))
          }
        }
        // Nobody reads: what is taken is bounded by the buffers on the way.
        for _ in 0..<200 {
          push()
          harness.turn(within: 1)
        }
        #expect(sent > 0 && sent < bytes.count, "the relay swallows what nobody reads")
        #expect(harness.ending(relay) == nil)
        try harness.turn(
          until: {
            push()
            pair.read()
            return pair.got.count == bytes.count
          }, seconds: 30)
        #expect(try harness.end(relay) >= 0)
        #expect(harness[relay].results.reduce(0) { $0 + Int($1) } == bytes.count)
        #expect(harness[relay].results.count > 3, "progress was not told")
        #expect(pair.got == bytes)
        pair.close()
      }
    }

    @Test(arguments: completeEngines, RelayMethod.allCases)
    func bothDirectionsGoOnAtOnce(_ kind: EngineKind, _ method: RelayMethod) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let there = pattern(700_000)
        let back = Array(there.reversed())
        let (first, second) = (harness.token(), harness.token())
        harness.engine.relay(
          from: pair.source, to: pair.sink, count: there.count, method, first)
        harness.engine.relay(from: pair.sink, to: pair.source, count: back.count, method, second)
        var (sentThere, sentBack) = (0, 0)
        var gotBack: [UInt8] = []
        try harness.turn(until: {
          if sentThere < there.count {
            sentThere += max(0, pair.writer.send(Array(there[sentThere...])))
          }
          if sentBack < back.count {
            sentBack += max(0, pair.reader.send(Array(back[sentBack...])))
          }
          pair.read()
          gotBack += pair.writer.receive() ?? []
          return pair.got.count == there.count && gotBack.count == back.count
        })
        #expect(try harness.end(first) >= 0)
        #expect(try harness.end(second) >= 0)
        #expect(pair.got == there && gotBack == back)
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func anInputThatEndsEarlyEndsTheRelayWithWhatThereWas(
      _ kind: EngineKind, _ method: RelayMethod
    ) throws {
      try withHarness(kind) { harness in
        for there in [0, 1, 99_999] {
          let pair = try RelayPair(harness)
          let relay = harness.token()
          harness.engine.relay(from: pair.source, to: pair.sink, count: 100_000, method, relay)
          try pair.feed(pattern(there)) { pair.got.count == there }
          #expect(harness.ending(relay) == nil)
          pair.writer.finishSending()
          #expect(try harness.end(relay) >= 0)
          #expect(harness[relay].results.reduce(0) { $0 + Int($1) } == there)
          #expect(pair.got == pattern(there))
          pair.close()
        }
        harness.showedFailure = true
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func aResetOfTheSourceIsECONNRESET(_ kind: EngineKind, _ method: RelayMethod) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: 100_000, method, relay)
        try pair.feed(pattern(1000)) { pair.got.count == 1000 }
        pair.writer.reset()
        try harness.expect(relay, -ECONNRESET)
        #expect(!harness[relay].isOfSink)
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func aResetOfTheSinkEndsTheRelayWithAnError(_ kind: EngineKind, _ method: RelayMethod) throws {
      // How much had been moved by then is a matter of the sockets' buffers.
      try withHarness(kind, isComparable: false) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: 1 << 24, method, relay)
        try pair.feed(pattern(1000)) { pair.got.count == 1000 }
        pair.reader.reset()
        let bytes = pattern(100_000)
        try harness.turn(until: {
          pair.writer.send(bytes)
          return harness.ending(relay) != nil
        })
        let ending = harness.ending(relay)
        #expect(ending == -EPIPE || ending == -ECONNRESET)
        #expect(harness[relay].isOfSink)
        // The kernel tells an error once, and it was the relay that heard of it.
        let receive = harness.token()
        harness.engine.receive(pair.sink, .once, receive)
        try harness.expect(receive, -ECONNRESET)
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func aResetOfASinkThatIsFullEndsTheRelay(_ kind: EngineKind, _ method: RelayMethod) throws {
      // How much had been moved by then is a matter of the sockets' buffers.
      try withHarness(kind, isComparable: false) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: 1 << 26, method, relay)
        let bytes = pattern(1 << 18)
        for _ in 0..<150 {
          pair.writer.send(bytes)
          harness.turn(within: 1)
        }
        #expect(harness.ending(relay) == nil)
        pair.reader.reset()
        let ending = try harness.end(relay)
        #expect(ending == -EPIPE || ending == -ECONNRESET)
        #expect(harness[relay].isOfSink)
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func aRelayThatWaitsForBytesIsStopped(_ kind: EngineKind, _ method: RelayMethod) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: 100, method, relay)
        for _ in 0..<3 { harness.turn(within: 2) }
        harness.engine.stopRelay(from: pair.source)
        harness.engine.stopRelay(from: pair.source)
        try harness.expect(relay, -ECANCELED)
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func aRelayThatWaitsForItsReaderIsStopped(_ kind: EngineKind, _ method: RelayMethod) throws {
      try withHarness(kind, isComparable: false) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: 1 << 26, method, relay)
        let bytes = pattern(1 << 18)
        for _ in 0..<150 {
          pair.writer.send(bytes)
          harness.turn(within: 1)
        }
        #expect(harness.ending(relay) == nil)
        harness.engine.stopRelay(from: pair.source)
        try harness.expect(relay, -ECANCELED)
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func aRelayIsCancelledByItsTokenAndByItsSource(
      _ kind: EngineKind, _ method: RelayMethod
    ) throws {
      try withHarness(kind) { harness in
        for byAll in [false, true] {
          let pair = try RelayPair(harness)
          let relay = harness.token()
          harness.engine.relay(from: pair.source, to: pair.sink, count: 100, method, relay)
          for _ in 0..<3 { harness.turn(within: 2) }
          byAll ? harness.engine.cancelAll(pair.source) : harness.engine.cancel(relay)
          try harness.expect(relay, -ECANCELED)
          pair.close()
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func aRelayInTheTurnOfItsStopEndsOnce(_ kind: EngineKind, _ method: RelayMethod) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: 100, method, relay)
        harness.engine.stopRelay(from: pair.source)
        try harness.expect(relay, -ECANCELED)
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, RelayMethod.allCases)
    func aShutdownOfTheSourceEndsTheRelay(_ kind: EngineKind, _ method: RelayMethod) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: 100, method, relay)
        for _ in 0..<3 { harness.turn(within: 2) }
        harness.engine.shutdown(pair.source, .both)
        try harness.expect(relay, 0)
        harness.showedFailure = true
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func oneRelayMoreThanTheLimitIsENOBUFS(_ kind: EngineKind) throws {
      var options = Harness.options
      options.relays = 2
      try withHarness(kind, options) { harness in
        let pairs = try (0..<3).map { _ in try RelayPair(harness) }
        let relays = pairs.map { pair in
          let token = harness.token()
          harness.engine.relay(from: pair.source, to: pair.sink, count: 5, .splice, token)
          return token
        }
        try harness.expect(relays[2], -ENOBUFS)
        #expect(harness.engine.counters.operationsRefused == 1)
        for i in 0..<2 {
          try pairs[i].feed(Array("12345".utf8)) { pairs[i].got.count == 5 }
          #expect(try harness.end(relays[i]) >= 0)
        }
        // Places are free again.
        let again = harness.token()
        harness.engine.relay(from: pairs[2].source, to: pairs[2].sink, count: 5, .splice, again)
        try pairs[2].feed(Array("54321".utf8)) { pairs[2].got.count == 5 }
        #expect(try harness.end(again) >= 0)
        for pair in pairs { pair.close() }
      }
    }

    @Test(arguments: completeEngines)
    func aRelayThatCopiesTakesNoBufferOfThePool(_ kind: EngineKind) throws {
      var options = Harness.options
      options.largeBuffers = 4
      try withHarness(kind, options) { harness in
        let pair = try RelayPair(harness)
        var held: [HeldSlice] = []
        while let slice = harness.engine.lease() { held.append(HeldSlice(slice)) }
        let relay = harness.token()
        harness.engine.relay(from: pair.source, to: pair.sink, count: 5000, .copy, relay)
        pair.writer.send(pattern(5000))
        try harness.turn(until: {
          pair.read()
          return pair.got.count == 5000
        })
        #expect(try harness.end(relay) >= 0)
        #expect(pair.got == pattern(5000))
        _ = held
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func closingTheSourceOfARelayInFlightTraps(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { harness in
          let pair = try RelayPair(harness)
          harness.kept = pair.source
          harness.engine.relay(from: pair.source, to: pair.sink, count: 9, .splice, harness.token())
        }
      ) { harness in
        harness.engine.close(harness.kept)
      }
    }

    // MARK: One splice

    @Test(arguments: completeEngines)
    func bytesGoThroughAPipeFromSocketToSocket(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let pipe = try harness.engine.pipe(capacity: 65_536)
        let bytes = pattern(5000)
        pair.writer.send(bytes)
        let inward = harness.token()
        harness.engine.splice(from: pair.source, to: pipe.input, count: 5000, inward)
        try harness.expect(inward, 5000)
        let outward = harness.token()
        harness.engine.splice(from: pipe.output, to: pair.sink, count: 5000, outward)
        try harness.expect(outward, 5000)
        #expect(try harness.received(by: pair.reader, 5000) == bytes)
        harness.engine.close(pipe.input)
        harness.engine.close(pipe.output)
        pair.close()
      }
    }

    @Test(arguments: completeEngines)
    func aSpliceWaitsForItsInput(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let pipe = try harness.engine.pipe(capacity: 65_536)
        let splice = harness.token()
        harness.engine.splice(from: pair.source, to: pipe.input, count: 100, splice)
        for _ in 0..<4 { harness.turn(within: 3) }
        #expect(harness.ending(splice) == nil)
        pair.writer.send("here")
        try harness.expect(splice, 4)
        harness.engine.close(pipe.input)
        harness.engine.close(pipe.output)
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func theEndOfTheInputIsZeroAndABrokenOutputIsEPIPE(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        let pipe = try harness.engine.pipe(capacity: 65_536)
        pair.writer.finishSending()
        let end = try harness.ending {
          harness.engine.splice(from: pair.source, to: pipe.input, count: 100, $0)
        }
        #expect(end == 0)
        harness.engine.close(pipe.input)
        let drained = try harness.ending {
          harness.engine.splice(from: pipe.output, to: pair.sink, count: 100, $0)
        }
        #expect(drained == 0)
        harness.engine.close(pipe.output)
        pair.close()
        harness.showedFailure = true
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aSpliceWithoutAPipeIsEINVALAndWithoutADescriptorEBADF(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let pair = try RelayPair(harness)
        pair.writer.send("x")
        harness.turn(within: 5)
        let between = try harness.ending {
          harness.engine.splice(from: pair.source, to: pair.sink, count: 1, $0)
        }
        #expect(between == -EINVAL)
        let pipe = try harness.engine.pipe(capacity: 65_536)
        let none = try harness.ending {
          harness.engine.splice(
            from: Descriptor(rawValue: 60_000), to: pipe.input, count: 1, $0)
        }
        #expect(none == -EBADF)
        harness.engine.close(pipe.input)
        harness.engine.close(pipe.output)
        pair.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func noDescriptorLeftForAPipeIsThrownAsEMFILE(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        try harness.outside.withoutDescriptors {
          do {
            _ = try harness.engine.pipe(capacity: 4096)
            Issue.record("a pipe without descriptors")
          } catch let failure as SystemFailure {
            #expect(failure.code == EMFILE)
          }
        }
      }
    }
  }
}
