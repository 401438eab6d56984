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
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let send = stage.token()
        stage.engine.send(socket, try stage.frame("hello"), urgency, send)
        #expect(try stage.received(by: peer, 5) == Array("hello".utf8))
        #expect(try stage.end(send) == 5)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func aQuietSendIsReportedWithTheNextEvent(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let send = stage.token()
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        stage.engine.send(socket, try stage.frame("ping"), .quiet, send)
        #expect(stage.ending(send) == nil, "nothing is reported from a submission")
        #expect(try stage.received(by: peer, 4) == Array("ping".utf8))
        peer.send("pong")
        try stage.turn(until: { stage[receive].bytes.count == 4 })
        #expect(stage.ending(send) == 4)
        try stage.close(socket, joining: receive)
      }
    }

    @Test(arguments: engines)
    func anExpeditedQuietSendIsReportedWithoutAnotherEvent(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try stage.connection()
        let send = stage.token()
        stage.engine.send(socket, try stage.frame("ping"), .quiet, send)
        stage.engine.expediteSends()
        stage.engine.wait(until: nil)
        stage.drain()
        #expect(stage.ending(send) == 4)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func anAwaitedSendEndsAWaitForEver(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try stage.connection()
        let send = stage.token()
        stage.engine.send(socket, try stage.frame("ping"), .awaited, send)
        stage.engine.wait(until: nil)
        stage.drain()
        #expect(stage.ending(send) == 4)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func inlineBytesAndSlicesLeaveInTheOrderOfTheirAppending(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        guard var frame = stage.engine.frame() else { throw StageFailure("no frame") }
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
            ? try leased(stage) : stage.engine.coldMemory(count)
          slice.truncate(to: count)
          slice.mutableBytes.copyBytes(from: bytes[..<count])
          frame.append(slice)
          expected += bytes[..<count]
        }
        frame.append("the end")
        expected += Array("the end".utf8)
        #expect(frame.count == expected.count)
        let send = stage.token()
        stage.engine.send(socket, frame, .awaited, send)
        #expect(try stage.received(by: peer, expected.count) == expected)
        #expect(try stage.end(send) == Int32(expected.count))
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func aFullFrameThatIsCompactedTakesMoreAndLosesNothing(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        guard var frame = stage.engine.frame() else { throw StageFailure("no frame") }
        var expected: [UInt8] = []
        for _ in 0..<3 {
          while frame.hasRoom {
            frame.append("x")
            var slice = expected.count < 8000 ? try leased(stage) : stage.engine.coldMemory(3000)
            slice.truncate(to: 3000)
            slice.mutableBytes.copyBytes(from: pattern(3000))
            frame.append(slice)
            expected += [120] + pattern(3000)
          }
          frame.compact()
          #expect(frame.hasRoom && frame.count == expected.count && frame.segmentCount == 1)
          #expect(stage.engine.counters.leasedBuffers == 0)
        }
        let send = stage.token()
        stage.engine.send(socket, frame, .awaited, send)
        #expect(try stage.received(by: peer, expected.count) == expected)
        try stage.end(send)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func aFrameOfTheMostSlicesLeavesWhole(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        guard var frame = stage.engine.frame() else { throw StageFailure("no frame") }
        var expected: [UInt8] = []
        while frame.hasRoom {
          frame.append("x")
          let slice = stage.engine.coldMemory(3000)
          slice.mutableBytes.copyBytes(from: pattern(3000))
          frame.append(slice)
          expected += [120] + pattern(3000)
        }
        #expect(expected.count > 5 * 3000)
        let send = stage.token()
        stage.engine.send(socket, frame, .awaited, send)
        #expect(try stage.received(by: peer, expected.count) == expected)
        try stage.end(send)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines, [SendUrgency.quiet, .awaited])
    func sixtyFourMegabytesReachASlowReaderInOrder(
      _ kind: EngineKind, _ urgency: SendUrgency
    ) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let chunk = pattern(1 << 20)
        var sent = 0
        var got = 0
        var current: Token?
        while got < 64 << 20 {
          if let token = current, let ending = stage.ending(token) {
            #expect(ending == 1 << 20)
            current = nil
          }
          if current == nil && sent < 64 << 20 {
            guard var frame = stage.engine.frame() else { throw StageFailure("no frame") }
            for i in 0..<8 {
              let slice = try leased(stage)
              slice.mutableBytes.copyBytes(from: chunk[(i << 17)..<((i + 1) << 17)])
              frame.append(slice)
            }
            current = stage.token()
            stage.engine.send(socket, frame, urgency, current!)
            sent += 1 << 20
          }
          stage.turn()
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
        if let current { try stage.end(current) }
        // A kernel thread submits while the reader reads: what is slow there is not for us to say.
        if !Stage.features.contains(.submissionThread) {
          #expect(stage.engine.counters.sendsShort > 0, "the reader was not slow")
        }
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines, [SendUrgency.quiet, .awaited])
    func aSendThatDoesNotFitEndsOnlyWhenItsLastByteHasLeft(
      _ kind: EngineKind, _ urgency: SendUrgency
    ) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        // What was read makes the kernel's buffers grow, to 4 MiB here and several times what was read at the
        // peer: with less to send, the send could have ended when its progress is asked for.
        let bytes = pattern(24 << 20)
        let send = stage.token()
        stage.engine.send(socket, try coldFrame(stage, bytes), urgency, send)
        for _ in 0..<5 { stage.turn(within: 5) }
        #expect(stage.ending(send) == nil)
        let before = stage.engine.sendProgress(socket)
        #expect(before > 0 && before < bytes.count)
        var got = try stage.received(by: peer, 1 << 20)
        for _ in 0..<5 { stage.turn(within: 5) }
        #expect(stage.engine.sendProgress(socket) > before, "progress shows")
        got += try stage.received(by: peer, bytes.count - got.count)
        #expect(got == bytes)
        #expect(try stage.end(send) == Int32(bytes.count))
        #expect(stage.engine.sendProgress(socket) == 0)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aResetWhileASendWaitsEndsItWithAnError(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let send = stage.token()
        stage.engine.send(socket, try coldFrame(stage, pattern(8 << 20)), .quiet, send)
        for _ in 0..<3 { stage.turn(within: 5) }
        #expect(stage.ending(send) == nil)
        peer.reset()
        let ending = try stage.end(send)
        #expect(ending == -ECONNRESET || ending == -EPIPE)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aShutdownWhileASendWaitsEndsItWithEPIPE(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try stage.connection()
        let send = stage.token()
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        stage.engine.send(socket, try coldFrame(stage, pattern(8 << 20)), .quiet, send)
        for _ in 0..<3 { stage.turn(within: 5) }
        stage.engine.shutdown(socket, .both)
        #expect(try stage.end(send) == -EPIPE)
        #expect(try stage.end(receive) == 0)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func aShutdownRightAfterASendLetsItLeave(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let send = stage.token()
        stage.engine.send(socket, try stage.frame("goodbye"), .quiet, send)
        stage.engine.shutdown(socket, .send)
        #expect(try stage.received(by: peer, 7) == Array("goodbye".utf8))
        #expect(try stage.endSeen(by: peer) == 0)
        peer.send("x")
        stage.engine.expediteSends()
        #expect(try stage.end(send) == 7)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aSendAfterTheOwnShutdownEndsWithEPIPEAndNoSignal(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try stage.connection()
        stage.engine.shutdown(socket, .send)
        let send = stage.token()
        stage.engine.send(socket, try stage.frame("late"), .quiet, send)
        #expect(try stage.end(send) == -EPIPE)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aStalledReaderGivesHotBuffersBackWhenTheyAreFew(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        var connections: [(Descriptor, any Peer, Token)] = []
        for _ in 0..<6 {
          let (socket, peer) = try stage.connection()
          let send = stage.token()
          guard var frame = stage.engine.frame() else { throw StageFailure("no frame") }
          // Twice what the socket takes: 48 of these slices would be more than the pool has.
          frame.append(stage.engine.coldMemory(6 << 20))
          for _ in 0..<6 {
            if let slice = stage.engine.lease() { frame.append(slice) }
          }
          stage.engine.send(socket, frame, .quiet, send)
          for _ in 0..<4 { stage.turn(within: 2) }
          connections.append((socket, peer, send))
        }
        let counters = stage.engine.counters
        #expect(counters.framesEvacuated > 0)
        #expect(counters.leasedBuffers <= Stage.options.largeBuffers * 3 / 4)
        #expect(!stage.engine.isLowOnBuffers, "what is held leaves the watermark free")
        let spare = stage.engine.lease()
        let found = spare != nil
        #expect(found)
        _ = consume spare
        for (socket, peer, send) in connections {
          peer.reset()
          #expect(try stage.end(send) < 0)
          stage.engine.close(socket)
        }
      }
    }

    /// How a send comes to wait.
    enum Waiting: CaseIterable, Sendable { case zeroCopy, copyInstead, step, stepBehindAnother }

    @Test(.tags(.failure), arguments: engines, Waiting.allCases)
    func nothingThatWaitsHoldsHotBuffersWhenTheyAreFew(
      _ kind: EngineKind, _ way: Waiting
    ) throws {
      var options = Stage.options
      if way == .copyInstead { options.features.remove(.zeroCopySend) }
      try onStage(kind, options, isComparable: false) { stage in
        let (socket, peer) = try stage.connection()
        while !stage.engine.isLowOnBuffers {
          guard let slice = stage.engine.lease() else { throw StageFailure("no buffer") }
          stage.held.append(HeldSlice(slice))
        }
        guard var frame = stage.engine.frame(), let hot = stage.engine.lease() else {
          throw StageFailure("no frame")
        }
        // More than the socket takes, and the hot buffer behind it.
        frame.append(stage.engine.coldMemory(6 << 20))
        frame.append(hot)
        let (send, timeout) = (stage.token(), stage.token())
        switch way {
        case .zeroCopy, .copyInstead: stage.engine.sendZeroCopy(socket, frame, send)
        case .step:
          stage.engine.beginChain()
          stage.engine.send(socket, frame, .awaited, send)
          stage.engine.endChain()
        case .stepBehindAnother:
          stage.engine.refreshClocks()
          stage.engine.beginChain()
          stage.engine.timeout(at: stage.engine.now + 60_000_000_000, timeout)
          stage.engine.send(socket, frame, .awaited, send)
          stage.engine.endChain()
        }
        for _ in 0..<5 { stage.turn(within: 2) }
        #expect(stage.ending(send) == nil)
        #expect(stage.engine.counters.leasedBuffers == stage.held.count)
        if way == .stepBehindAnother {
          stage.engine.cancel(timeout)
          try stage.expect(timeout, -ECANCELED)
        }
        peer.reset()
        #expect(try stage.end(send) < 0)
        stage.held = []
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func sendsOfManySocketsInOneTurnAllEnd(_ kind: EngineKind) throws {
      // More than a submission queue holds: it is emptied on the way.
      var options = Stage.options
      options.submissionEntries = 64
      try onStage(kind, options) { stage in
        var connections: [(Descriptor, any Peer, Token)] = []
        for i in 0..<200 {
          let (socket, peer) = try stage.connection()
          if i % 10 == 0 { peer.reset() }
          connections.append((socket, peer, stage.token()))
        }
        for (i, (socket, _, send)) in connections.enumerated() {
          stage.engine.send(
            socket, try stage.frame("number \(i)"), i % 3 == 0 ? .awaited : .quiet, send)
        }
        stage.engine.expediteSends()
        for (i, (socket, peer, send)) in connections.enumerated() {
          let expected = Array("number \(i)".utf8)
          let ending = try stage.end(send)
          if i % 10 == 0 {
            #expect(ending < 0)
          } else {
            #expect(ending == Int32(expected.count))
            #expect(try stage.received(by: peer, expected.count) == expected)
          }
          stage.engine.close(socket)
        }
        if kind == .uring { #expect(stage.engine.counters.submissionQueueFull > 0) }
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func framesAreRefusedAndCountedWhenAllAreInUse(_ kind: EngineKind) throws {
      var options = Stage.options
      options.frames = 2
      try onStage(kind, options) { stage in
        let first = stage.engine.frame()
        let second = stage.engine.frame()
        let third = stage.engine.frame()
        let states = [first != nil, second != nil, third != nil]
        #expect(states == [true, true, false])
        #expect(stage.engine.counters.frameRefusals == 1)
        _ = consume first
        let again = stage.engine.frame()
        let found = again != nil
        #expect(found)
      }
    }

    @Test(arguments: engines)
    func anEmptyFrameEndsWithZero(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try stage.connection()
        let send = stage.token()
        stage.engine.send(socket, stage.engine.frame()!, .awaited, send)
        #expect(try stage.end(send) == 0)
        stage.engine.close(socket)
      }
    }
  }
}

private func leased(_ stage: Stage) throws -> BufferSlice {
  guard let slice = stage.engine.lease() else { throw StageFailure("no large buffer") }
  return slice
}

/// A frame with one long cold slice.
func coldFrame(_ stage: Stage, _ bytes: [UInt8]) throws -> SendFrame {
  guard var frame = stage.engine.frame() else { throw StageFailure("no frame") }
  let slice = stage.engine.coldMemory(bytes.count)
  slice.mutableBytes.copyBytes(from: bytes)
  frame.append(slice)
  return frame
}
