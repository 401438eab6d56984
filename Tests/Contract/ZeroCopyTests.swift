// Sending without copying: two completions, the frame's memory held between them, and a copy
// wherever the socket or the size does not allow more.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct ZeroCopy {
    /// With the kernel's operation, and without.
    static let ways: [EngineFeatures] = [
      Harness.features, Harness.features.subtracting(.zeroCopySend),
    ]

    private static func options(_ features: EngineFeatures) -> EngineOptions {
      var options = Harness.options
      options.features = features
      options.zeroCopyThreshold = 4096
      return options
    }

    @Test(arguments: completeEngines, ways)
    func aroundTheThresholdBothCompletionsComeAndTheBytesArrive(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        for count in [1, 4095, 4096, 4097, 100_000] {
          let send = harness.token()
          harness.engine.sendZeroCopy(socket, try coldFrame(harness, pattern(count)), send)
          #expect(try harness.received(by: peer, count) == pattern(count))
          let freed = try harness.end(send)
          #expect(freed == 0 || freed == 1)
          #expect(harness[send].results.count == 2 && harness[send].results[0] == Int32(count))
          if count < 4096 { #expect(freed == 1, "below the threshold it is a copy") }
        }
        harness.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines, ways)
    func theFrameIsInUseUntilTheSecondCompletion(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        let send = harness.token()
        var inUse: [Int] = []
        harness.watch = { [unowned harness] completion in
          guard completion.token == send else { return }
          #expect(completion.isTerminal == (inUse.count == 1))
          inUse.append(harness.engine.counters.framesInUse)
        }
        harness.engine.sendZeroCopy(socket, try coldFrame(harness, pattern(60_000)), send)
        #expect(harness.engine.counters.framesInUse == 1)
        #expect(try harness.received(by: peer, 60_000) == pattern(60_000))
        try harness.end(send)
        #expect(inUse.count == 2 && inUse[1] == 0)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aLocalSocketCopies(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let path = try harness.outside.directory() + "/local"
        let address = try #require(SocketAddress(unixPath: path))
        let listener = try harness.engine.listen(address, backlog: 4, reusePort: false)
        let peer = try harness.peer(at: address)
        let accepted = try harness.ending { harness.engine.acceptOne(listener, into: nil, $0) }
        let socket = Descriptor(rawValue: accepted)
        let send = harness.token()
        harness.engine.sendZeroCopy(socket, try coldFrame(harness, pattern(50_000)), send)
        #expect(try harness.received(by: peer, 50_000) == pattern(50_000))
        try harness.expect(send, 1)
        #expect(harness[send].results == [50_000, 1])
        harness.engine.close(socket)
        harness.engine.close(listener)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aSlowReaderGetsEveryByteInOrder(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        let bytes = pattern(8 << 20)
        let send = harness.token()
        harness.engine.sendZeroCopy(socket, try coldFrame(harness, bytes), send)
        for _ in 0..<5 { harness.turn(within: 2) }
        #expect(harness[send].results.isEmpty, "reported before the last byte had left")
        #expect(try harness.received(by: peer, bytes.count) == bytes)
        try harness.end(send)
        #expect(harness[send].results.first == Int32(bytes.count))
        harness.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines, ways)
    func sendsFollowOneAnotherInOrder(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        var expected: [UInt8] = []
        var got: [UInt8] = []
        for i in 0..<20 {
          let bytes = pattern(1000 + 700 * i)
          expected += bytes
          let send = harness.token()
          if i % 3 == 2 {
            harness.engine.send(socket, try coldFrame(harness, bytes), .awaited, send)
          } else {
            harness.engine.sendZeroCopy(socket, try coldFrame(harness, bytes), send)
          }
          // The kernel refers to the memory until the peer has taken the bytes.
          try harness.turn(until: {
            got += peer.receive() ?? []
            return harness.ending(send) != nil && got.count >= expected.count
          })
        }
        #expect(got == expected)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aResetWhileTheMemoryIsHeldEndsItOnce(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        let send = harness.token()
        harness.engine.sendZeroCopy(socket, try coldFrame(harness, pattern(8 << 20)), send)
        for _ in 0..<4 { harness.turn(within: 3) }
        #expect(harness.engine.counters.framesInUse == 1)
        peer.reset()
        let ending = try harness.end(send)
        #expect(ending == -ECONNRESET || ending == -EPIPE)
        #expect(harness[send].results.count == 1, "after an error there is one completion")
        #expect(harness.engine.counters.framesInUse == 0)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aSendAfterTheOwnShutdownHasOneCompletionWithEPIPE(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, _) = try harness.connection()
        harness.engine.shutdown(socket, .send)
        for count in [10, 5000] {
          let send = harness.token()
          harness.engine.sendZeroCopy(socket, try coldFrame(harness, pattern(count)), send)
          try harness.expect(send, -EPIPE)
          #expect(harness[send].results == [-EPIPE])
        }
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aShutdownWhileItWaitsIsEPIPE(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        let send = harness.token()
        harness.engine.sendZeroCopy(socket, try coldFrame(harness, pattern(8 << 20)), send)
        for _ in 0..<4 { harness.turn(within: 3) }
        harness.engine.shutdown(socket, .both)
        // The kernel refers to the memory until the peer has taken what had left.
        try harness.turn(until: {
          _ = peer.receive()
          return harness.ending(send) != nil
        })
        try harness.expect(send, -EPIPE)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aSendThatWaitsIsCancelledAndItsMemoryComesBack(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        let send = harness.token()
        harness.engine.sendZeroCopy(socket, try coldFrame(harness, pattern(8 << 20)), send)
        for _ in 0..<4 { harness.turn(within: 3) }
        harness.engine.cancelAll(socket)
        // What the kernel holds is free when the peer has taken it, or is gone.
        try harness.turn(until: {
          _ = peer.receive()
          return harness.ending(send) != nil
        })
        #expect(harness[send].results.first == -ECANCELED)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func twoSendsAtOnceTrap(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { harness in
          harness.kept = try harness.connection().socket
          harness.engine.sendZeroCopy(
            harness.kept, try coldFrame(harness, pattern(8 << 20)), harness.token())
        }
      ) { harness in
        let frame = try harness.frame("x")
        harness.engine.send(harness.kept, frame, .quiet, harness.token())
      }
    }
  }
}
