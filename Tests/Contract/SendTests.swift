// Sending: whole frames in order, endings told once, quiet and awaited, and slow readers.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Sending {
    @Test(arguments: engines, [SendUrgency.quiet, .awaited])
    func aFrameThatFitsLeavesWholeAndEndsWithItsSize(
      _ kind: EngineKind, _ urgency: SendUrgency
    ) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let send = harness.token()
        harness.engine.send(socket, try harness.frame("hello"), urgency, send)
        #expect(try harness.received(by: peer, 5) == Array("hello".utf8))
        #expect(try harness.end(send) == 5)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines, [SendUrgency.quiet, .awaited])
    func bytesCopiedAreCountedBothWays(_ kind: EngineKind, _ urgency: SendUrgency) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        // One that fits, and one that leaves in parts.
        for count in [5, 3_000_000] {
          let send = harness.token()
          harness.engine.send(socket, try coldFrame(harness, pattern(count)), urgency, send)
          #expect(try harness.received(by: peer, count).count == count)
          harness.engine.expediteSends()
          try harness.end(send)
        }
        #expect(harness.engine.counters.bytesCopied == 3_000_005)
        peer.send("pong")
        try harness.turn(until: { harness[receive].bytes.count == 4 })
        #expect(harness.engine.counters.bytesCopied == 3_000_009)
        try harness.close(socket, joining: receive)
      }
    }

    @Test(arguments: engines)
    func aQuietSendIsReportedWithTheNextEvent(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let send = harness.token()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        harness.engine.send(socket, try harness.frame("ping"), .quiet, send)
        #expect(harness.ending(send) == nil, "nothing is reported from a submission")
        #expect(try harness.received(by: peer, 4) == Array("ping".utf8))
        peer.send("pong")
        try harness.turn(until: { harness[receive].bytes.count == 4 })
        #expect(harness.ending(send) == 4)
        try harness.close(socket, joining: receive)
      }
    }

    @Test(arguments: engines)
    func anExpeditedQuietSendIsReportedWithoutAnotherEvent(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try harness.connection()
        let send = harness.token()
        harness.engine.send(socket, try harness.frame("ping"), .quiet, send)
        harness.engine.expediteSends()
        harness.engine.wait(until: nil)
        harness.drain()
        #expect(harness.ending(send) == 4)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func anAwaitedSendEndsAWaitForEver(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try harness.connection()
        let send = harness.token()
        harness.engine.send(socket, try harness.frame("ping"), .awaited, send)
        harness.engine.wait(until: nil)
        harness.drain()
        #expect(harness.ending(send) == 4)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func inlineBytesAndSlicesLeaveInTheOrderOfTheirAppending(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        guard var frame = harness.engine.frame() else { throw HarnessFailure("no frame") }
        var expected: [UInt8] = []
        let bytes = pattern(40_000)
        for i in 0..<6 {
          let text = Array("head \(i);".utf8)
          text.withUnsafeBytes { frame.append($0) }
          expected += text
          // 1: copied inline; 2048 and 2049: the last that is and the first that is not.
          let count = [1, 2048, 2049, 9000, 20_000, 1][i]
          var slice =
            i % 2 == 0
            ? try leased(harness) : harness.engine.coldMemory(count)
          slice.truncate(to: count)
          slice.mutableBytes.copyBytes(from: bytes[..<count])
          frame.append(slice)
          expected += bytes[..<count]
        }
        frame.append("the end")
        expected += Array("the end".utf8)
        #expect(frame.count == expected.count)
        let send = harness.token()
        harness.engine.send(socket, frame, .awaited, send)
        #expect(try harness.received(by: peer, expected.count) == expected)
        #expect(try harness.end(send) == Int32(expected.count))
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func aFullFrameThatIsCompactedTakesMoreAndLosesNothing(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        guard var frame = harness.engine.frame() else { throw HarnessFailure("no frame") }
        var expected: [UInt8] = []
        for _ in 0..<3 {
          while frame.hasRoom {
            frame.append("x")
            var slice =
              expected.count < 8000 ? try leased(harness) : harness.engine.coldMemory(3000)
            slice.truncate(to: 3000)
            slice.mutableBytes.copyBytes(from: pattern(3000))
            frame.append(slice)
            expected += [120] + pattern(3000)
          }
          frame.compact()
          #expect(frame.hasRoom && frame.count == expected.count && frame.segmentCount == 1)
          #expect(harness.engine.counters.leasedBuffers == 0)
        }
        let send = harness.token()
        harness.engine.send(socket, frame, .awaited, send)
        #expect(try harness.received(by: peer, expected.count) == expected)
        try harness.end(send)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func aFrameOfTheMostSlicesLeavesWhole(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        guard var frame = harness.engine.frame() else { throw HarnessFailure("no frame") }
        var expected: [UInt8] = []
        while frame.hasRoom {
          frame.append("x")
          let slice = harness.engine.coldMemory(3000)
          slice.mutableBytes.copyBytes(from: pattern(3000))
          frame.append(slice)
          expected += [120] + pattern(3000)
        }
        #expect(expected.count > 5 * 3000)
        let send = harness.token()
        harness.engine.send(socket, frame, .awaited, send)
        #expect(try harness.received(by: peer, expected.count) == expected)
        try harness.end(send)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines, [SendUrgency.quiet, .awaited])
    func sixtyFourMegabytesReachASlowReaderInOrder(
      _ kind: EngineKind, _ urgency: SendUrgency
    ) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let chunk = pattern(1 << 20)
        var sent = 0
        var got = 0
        var current: Token?
        while got < 64 << 20 {
          if let token = current, let ending = harness.ending(token) {
            #expect(ending == 1 << 20)
            current = nil
          }
          if current == nil && sent < 64 << 20 {
            guard var frame = harness.engine.frame() else { throw HarnessFailure("no frame") }
            for i in 0..<8 {
              let slice = try leased(harness)
              slice.mutableBytes.copyBytes(from: chunk[(i << 17)..<((i + 1) << 17)])
              frame.append(slice)
            }
            current = harness.token()
            harness.engine.send(socket, frame, urgency, current!)
            sent += 1 << 20
          }
          harness.turn()
          guard let bytes = peer.receive(atMost: 200_000) else { break }
          let at = got & ((1 << 20) - 1)
          let first = min(bytes.count, (1 << 20) - at)
          let same = chunk.withUnsafeBytes { chunk in
            bytes.withUnsafeBytes { bytes in
              memcmp(bytes.baseAddress!, chunk.baseAddress! + at, first) == 0
                && memcmp(
                  bytes.baseAddress! + first, chunk.baseAddress!, bytes.count - first) == 0
            }
          }
          #expect(same, "bytes \(got)..<\(got + bytes.count)")
          got += bytes.count
        }
        #expect(got == 64 << 20)
        if let current { try harness.end(current) }
        // A kernel thread submits while the reader reads: what is slow there is not for us to say.
        if !Harness.features.contains(.submissionThread) {
          #expect(harness.engine.counters.sendsShort > 0, "the reader was not slow")
        }
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines, [SendUrgency.quiet, .awaited])
    func aSendThatDoesNotFitEndsOnlyWhenItsLastByteHasLeft(
      _ kind: EngineKind, _ urgency: SendUrgency
    ) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        // What was read makes the kernel's buffers grow, to 4 MiB here and several times what was read at the
        // peer: with less to send, the send could have ended when its progress is asked for.
        let bytes = pattern(24 << 20)
        let send = harness.token()
        harness.engine.send(socket, try coldFrame(harness, bytes), urgency, send)
        for _ in 0..<5 { harness.turn(within: 5) }
        #expect(harness.ending(send) == nil)
        let before = harness.engine.sendProgress(socket)
        #expect(before > 0 && before < bytes.count)
        var got = try harness.received(by: peer, 1 << 20)
        for _ in 0..<5 { harness.turn(within: 5) }
        #expect(harness.engine.sendProgress(socket) > before, "progress shows")
        got += try harness.received(by: peer, bytes.count - got.count)
        #expect(got == bytes)
        #expect(try harness.end(send) == Int32(bytes.count))
        #expect(harness.engine.sendProgress(socket) == 0)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aResetWhileASendWaitsEndsItWithAnError(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let send = harness.token()
        harness.engine.send(socket, try coldFrame(harness, pattern(8 << 20)), .quiet, send)
        for _ in 0..<3 { harness.turn(within: 5) }
        #expect(harness.ending(send) == nil)
        peer.reset()
        let ending = try harness.end(send)
        #expect(ending == -ECONNRESET || ending == -EPIPE)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aShutdownWhileASendWaitsEndsItWithEPIPE(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try harness.connection()
        let send = harness.token()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        harness.engine.send(socket, try coldFrame(harness, pattern(8 << 20)), .quiet, send)
        for _ in 0..<3 { harness.turn(within: 5) }
        harness.engine.shutdown(socket, .both)
        #expect(try harness.end(send) == -EPIPE)
        #expect(try harness.end(receive) == 0)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func aShutdownRightAfterASendLetsItLeave(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let send = harness.token()
        harness.engine.send(socket, try harness.frame("goodbye"), .quiet, send)
        harness.engine.shutdown(socket, .send)
        #expect(try harness.received(by: peer, 7) == Array("goodbye".utf8))
        #expect(try harness.endSeen(by: peer) == 0)
        peer.send("x")
        harness.engine.expediteSends()
        #expect(try harness.end(send) == 7)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aSendAfterTheOwnShutdownEndsWithEPIPEAndNoSignal(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try harness.connection()
        harness.engine.shutdown(socket, .send)
        let send = harness.token()
        harness.engine.send(socket, try harness.frame("late"), .quiet, send)
        #expect(try harness.end(send) == -EPIPE)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aStalledReaderGivesHotBuffersBackWhenTheyAreFew(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        var connections: [(Descriptor, any Peer, Token)] = []
        for _ in 0..<6 {
          let (socket, peer) = try harness.connection()
          let send = harness.token()
          guard var frame = harness.engine.frame() else { throw HarnessFailure("no frame") }
          // Twice what the socket takes: 48 of these slices would be more than the pool has.
          frame.append(harness.engine.coldMemory(6 << 20))
          for _ in 0..<6 {
            if let slice = harness.engine.lease() { frame.append(slice) }
          }
          harness.engine.send(socket, frame, .quiet, send)
          for _ in 0..<4 { harness.turn(within: 2) }
          connections.append((socket, peer, send))
        }
        let counters = harness.engine.counters
        #expect(counters.framesEvacuated > 0)
        #expect(counters.leasedBuffers <= Harness.options.largeBuffers * 3 / 4)
        #expect(!harness.engine.isLowOnBuffers, "what is held leaves the watermark free")
        let spare = harness.engine.lease()
        let found = spare != nil
        #expect(found)
        _ = consume spare
        for (socket, peer, send) in connections {
          peer.reset()
          #expect(try harness.end(send) < 0)
          harness.engine.close(socket)
        }
      }
    }

    /// How a send comes to wait.
    enum Waiting: CaseIterable, Sendable { case zeroCopy, copyInstead, step, stepBehindAnother }

    @Test(.tags(.failure), arguments: engines, Waiting.allCases)
    func nothingThatWaitsHoldsHotBuffersWhenTheyAreFew(
      _ kind: EngineKind, _ way: Waiting
    ) throws {
      var options = Harness.options
      if way == .copyInstead { options.features.remove(.zeroCopySend) }
      try withHarness(kind, options, isComparable: false) { harness in
        let (socket, peer) = try harness.connection()
        while !harness.engine.isLowOnBuffers {
          guard let slice = harness.engine.lease() else { throw HarnessFailure("no buffer") }
          harness.held.append(HeldSlice(slice))
        }
        guard var frame = harness.engine.frame(), let hot = harness.engine.lease() else {
          throw HarnessFailure("no frame")
        }
        // More than the socket takes, and the hot buffer behind it.
        frame.append(harness.engine.coldMemory(6 << 20))
        frame.append(hot)
        let (send, timeout) = (harness.token(), harness.token())
        switch way {
        case .zeroCopy, .copyInstead: harness.engine.sendZeroCopy(socket, frame, send)
        case .step:
          harness.engine.beginChain()
          harness.engine.send(socket, frame, .awaited, send)
          harness.engine.endChain()
        case .stepBehindAnother:
          harness.engine.refreshClocks()
          harness.engine.beginChain()
          harness.engine.timeout(at: harness.engine.now + 60_000_000_000, timeout)
          harness.engine.send(socket, frame, .awaited, send)
          harness.engine.endChain()
        }
        for _ in 0..<5 { harness.turn(within: 2) }
        #expect(harness.ending(send) == nil)
        #expect(harness.engine.counters.leasedBuffers == harness.held.count)
        if way == .stepBehindAnother {
          harness.engine.cancel(timeout)
          try harness.expect(timeout, -ECANCELED)
        }
        peer.reset()
        #expect(try harness.end(send) < 0)
        harness.held = []
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func sendsOfManySocketsInOneTurnAllEnd(_ kind: EngineKind) throws {
      // More than a submission queue holds: it is emptied on the way.
      var options = Harness.options
      options.submissionEntries = 64
      try withHarness(kind, options) { harness in
        var connections: [(Descriptor, any Peer, Token)] = []
        for i in 0..<200 {
          let (socket, peer) = try harness.connection()
          if i % 10 == 0 { peer.reset() }
          connections.append((socket, peer, harness.token()))
        }
        for (i, (socket, _, send)) in connections.enumerated() {
          harness.engine.send(
            socket, try harness.frame("number \(i)"), i % 3 == 0 ? .awaited : .quiet, send)
        }
        harness.engine.expediteSends()
        for (i, (socket, peer, send)) in connections.enumerated() {
          let expected = Array("number \(i)".utf8)
          let ending = try harness.end(send)
          if i % 10 == 0 {
            #expect(ending < 0)
          } else {
            #expect(ending == Int32(expected.count))
            #expect(try harness.received(by: peer, expected.count) == expected)
          }
          harness.engine.close(socket)
        }
        if kind == .uring { #expect(harness.engine.counters.submissionQueueFull > 0) }
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func framesAreRefusedAndCountedWhenAllAreInUse(_ kind: EngineKind) throws {
      var options = Harness.options
      options.frames = 2
      try withHarness(kind, options) { harness in
        let first = harness.engine.frame()
        let second = harness.engine.frame()
        let third = harness.engine.frame()
        let states = [first != nil, second != nil, third != nil]
        #expect(states == [true, true, false])
        #expect(harness.engine.counters.frameRefusals == 1)
        _ = consume first
        let again = harness.engine.frame()
        let found = again != nil
        #expect(found)
      }
    }

    @Test(arguments: engines)
    func anEmptyFrameEndsWithZero(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try harness.connection()
        let send = harness.token()
        harness.engine.send(socket, harness.engine.frame()!, .awaited, send)
        #expect(try harness.end(send) == 0)
        harness.engine.close(socket)
      }
    }
  }
}

private func leased(_ harness: Harness) throws -> BufferSlice {
  guard let slice = harness.engine.lease() else { throw HarnessFailure("no large buffer") }
  return slice
}

/// A frame with one long cold slice.
func coldFrame(_ harness: Harness, _ bytes: [UInt8]) throws -> SendFrame {
  guard var frame = harness.engine.frame() else { throw HarnessFailure("no frame") }
  let slice = harness.engine.coldMemory(bytes.count)
  slice.mutableBytes.copyBytes(from: bytes)
  frame.append(slice)
  return frame
}
