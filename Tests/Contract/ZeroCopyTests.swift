// Sending without copying: two completions, the frame's memory held between them, and a copy
// wherever the socket or the size does not allow more.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct ZeroCopy {
    /// With the kernel's operation, and without.
    static let ways: [EngineFeatures] = [Stage.features, Stage.features.subtracting(.zeroCopySend)]

    private static func options(_ features: EngineFeatures) -> EngineOptions {
      var options = Stage.options
      options.features = features
      options.zeroCopyThreshold = 4096
      return options
    }

    @Test(arguments: completeEngines, ways)
    func aroundTheThresholdBothCompletionsComeAndTheBytesArrive(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, peer) = try stage.connection()
        for count in [1, 4095, 4096, 4097, 100_000] {
          let send = stage.token()
          stage.engine.sendZeroCopy(socket, try coldFrame(stage, pattern(count)), send)
          #expect(try stage.received(by: peer, count) == pattern(count))
          let freed = try stage.end(send)
          #expect(freed == 0 || freed == 1)
          #expect(stage[send].results.count == 2 && stage[send].results[0] == Int32(count))
          if count < 4096 { #expect(freed == 1, "below the threshold it is a copy") }
        }
        stage.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines, ways)
    func theFrameIsInUseUntilTheSecondCompletion(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, peer) = try stage.connection()
        let send = stage.token()
        var inUse: [Int] = []
        stage.watch = { [unowned stage] completion in
          guard completion.token == send else { return }
          #expect(completion.isTerminal == (inUse.count == 1))
          inUse.append(stage.engine.counters.framesInUse)
        }
        stage.engine.sendZeroCopy(socket, try coldFrame(stage, pattern(60_000)), send)
        #expect(stage.engine.counters.framesInUse == 1)
        #expect(try stage.received(by: peer, 60_000) == pattern(60_000))
        try stage.end(send)
        #expect(inUse.count == 2 && inUse[1] == 0)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aLocalSocketCopies(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let path = try stage.outside.directory() + "/local"
        let address = try #require(SocketAddress(unixPath: path))
        let listener = try stage.engine.listen(address, backlog: 4, reusePort: false)
        let peer = try stage.peer(at: address)
        let accepted = try stage.ending { stage.engine.acceptOne(listener, into: nil, $0) }
        let socket = Descriptor(rawValue: accepted)
        let send = stage.token()
        stage.engine.sendZeroCopy(socket, try coldFrame(stage, pattern(50_000)), send)
        #expect(try stage.received(by: peer, 50_000) == pattern(50_000))
        try stage.expect(send, 1)
        #expect(stage[send].results == [50_000, 1])
        stage.engine.close(socket)
        stage.engine.close(listener)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aSlowReaderGetsEveryByteInOrder(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, peer) = try stage.connection()
        let bytes = pattern(8 << 20)
        let send = stage.token()
        stage.engine.sendZeroCopy(socket, try coldFrame(stage, bytes), send)
        for _ in 0..<5 { stage.turn(within: 2) }
        #expect(stage[send].results.isEmpty, "reported before the last byte had left")
        #expect(try stage.received(by: peer, bytes.count) == bytes)
        try stage.end(send)
        #expect(stage[send].results.first == Int32(bytes.count))
        stage.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines, ways)
    func sendsFollowOneAnotherInOrder(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, peer) = try stage.connection()
        var expected: [UInt8] = []
        for i in 0..<20 {
          let bytes = pattern(1000 + 700 * i)
          expected += bytes
          let send = stage.token()
          if i % 3 == 2 {
            stage.engine.send(socket, try coldFrame(stage, bytes), .awaited, send)
          } else {
            stage.engine.sendZeroCopy(socket, try coldFrame(stage, bytes), send)
          }
          try stage.turn(until: { !stage[send].results.isEmpty })
          try stage.end(send)
        }
        #expect(try stage.received(by: peer, expected.count) == expected)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aResetWhileTheMemoryIsHeldEndsItOnce(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, peer) = try stage.connection()
        let send = stage.token()
        stage.engine.sendZeroCopy(socket, try coldFrame(stage, pattern(8 << 20)), send)
        for _ in 0..<4 { stage.turn(within: 3) }
        #expect(stage.engine.counters.framesInUse == 1)
        peer.reset()
        let ending = try stage.end(send)
        #expect(ending == -ECONNRESET || ending == -EPIPE)
        #expect(stage[send].results.count == 1, "after an error there is one completion")
        #expect(stage.engine.counters.framesInUse == 0)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aSendAfterTheOwnShutdownHasOneCompletionWithEPIPE(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, _) = try stage.connection()
        stage.engine.shutdown(socket, .send)
        for count in [10, 5000] {
          let send = stage.token()
          stage.engine.sendZeroCopy(socket, try coldFrame(stage, pattern(count)), send)
          try stage.expect(send, -EPIPE)
          #expect(stage[send].results == [-EPIPE])
        }
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aShutdownWhileItWaitsIsEPIPE(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, _) = try stage.connection()
        let send = stage.token()
        stage.engine.sendZeroCopy(socket, try coldFrame(stage, pattern(8 << 20)), send)
        for _ in 0..<4 { stage.turn(within: 3) }
        stage.engine.shutdown(socket, .both)
        try stage.expect(send, -EPIPE)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aSendThatWaitsIsCancelledAndItsMemoryComesBack(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, peer) = try stage.connection()
        let send = stage.token()
        stage.engine.sendZeroCopy(socket, try coldFrame(stage, pattern(8 << 20)), send)
        for _ in 0..<4 { stage.turn(within: 3) }
        stage.engine.cancelAll(socket)
        // What the kernel holds is free when the peer has taken it, or is gone.
        try stage.turn(until: {
          _ = peer.receive()
          return stage.ending(send) != nil
        })
        #expect(stage[send].results.first == -ECANCELED)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func twoSendsAtOnceTrap(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { stage in
          stage.kept = try stage.connection().socket
          stage.engine.sendZeroCopy(
            stage.kept, try coldFrame(stage, pattern(8 << 20)), stage.token())
        }
      ) { stage in
        let frame = try stage.frame("x")
        stage.engine.send(stage.kept, frame, .quiet, stage.token())
      }
    }
  }
}
