// Receiving: order, endings, stopping, and what happens when buffers run out.

import CLinux
import Glibc
import Testing

@testable import MillraceEngine

extension Contract {
  @Suite struct Receiving {
    @Test(arguments: engines)
    func aStreamStaysArmedAndKeepsTheOrder(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        var expected: [UInt8] = []
        for i in 0..<50 {
          let text = Array("message \(i);".utf8)
          peer.send(text)
          expected += text
          try stage.turn(until: { stage[receive].bytes.count == expected.count })
        }
        #expect(stage[receive].bytes == expected)
        #expect(stage[receive].terminals == 0)
        try stage.close(socket, joining: receive)
      }
    }

    @Test(arguments: engines)
    func bytesThatCameBeforeTheReceiveAreReported(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        peer.send("early")
        stage.turn(within: 20)
        stage.turn(within: 20)
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        try stage.turn(until: { stage[receive].bytes == Array("early".utf8) })
        try stage.close(socket, joining: receive)
      }
    }

    @Test(arguments: engines)
    func anEndOfStreamComesAfterEveryByteAndOnce(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let bytes = pattern(300_000)
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        var sent = 0
        try stage.turn(until: {
          sent += max(0, peer.send(Array(bytes[sent...])))
          return sent == bytes.count
        })
        peer.finishSending()
        #expect(try stage.end(receive) == 0)
        #expect(stage[receive].bytes == bytes)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func anEndOfStreamThatCameBeforeTheReceiveIsReported(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        peer.send("last words")
        peer.finishSending()
        for _ in 0..<3 { stage.turn(within: 10) }
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        #expect(try stage.end(receive) == 0)
        #expect(stage[receive].bytes == Array("last words".utf8))
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aResetEndsAStreamWithECONNRESET(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        stage.turn()
        peer.reset()
        #expect(try stage.end(receive) == -ECONNRESET)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aResetThatASendSawFirstIsNoEndOfStreamToTheReceive(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        peer.reset()
        stage.turn(within: 20)
        let send = stage.token()
        stage.engine.send(socket, try stage.frame("into the void"), .awaited, send)
        #expect(try stage.end(send) == -ECONNRESET)
        let receive = stage.token()
        stage.engine.receive(socket, .once, receive)
        #expect(try stage.end(receive) == -ECONNRESET)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func onceReportsOneArrivalAndEnds(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let first = stage.token()
        stage.engine.receive(socket, .once, first)
        peer.send("one")
        #expect(try stage.end(first) == 3)
        peer.send("two")
        stage.turn(within: 20)
        #expect(stage[first].bytes == Array("one".utf8))
        let second = stage.token()
        stage.engine.receive(socket, .once, second)
        #expect(try stage.end(second) == 3)
        #expect(stage[second].bytes == Array("two".utf8))
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func onceFillsALargeBufferAndLeavesTheRest(_ kind: EngineKind) throws {
      var options = Stage.options
      options.largeBufferSize = 8192
      try onStage(kind, options) { stage in
        let (socket, peer) = try stage.connection()
        let bytes = pattern(3 * 8192 + 1)
        #expect(peer.send(bytes) == bytes.count)
        stage.turn(within: 20)
        var got: [UInt8] = []
        while got.count < bytes.count {
          let once = stage.token()
          stage.engine.receive(socket, .once, once)
          let count = Int(try stage.end(once))
          #expect(count > 0 && count <= 8192)
          got += stage[once].bytes
        }
        #expect(got == bytes)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines, [ReceiveMode.stream, .once])
    func stoppingAnIdleReceiveEndsItWithECANCELED(_ kind: EngineKind, _ mode: ReceiveMode) throws {
      try onStage(kind) { stage in
        let (socket, _) = try stage.connection()
        let receive = stage.token()
        stage.engine.receive(socket, mode, receive)
        stage.turn()
        stage.engine.stopReceiving(socket)
        stage.engine.stopReceiving(socket)
        #expect(try stage.end(receive) == -ECANCELED)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func stoppingInTheTurnOfTheReceiveEndsItOnce(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        stage.engine.stopReceiving(socket)
        try stage.end(receive)
        peer.send("x")
        let again = stage.token()
        stage.engine.receive(socket, .stream, again)
        try stage.turn(until: { stage[again].bytes == Array("x".utf8) })
        #expect(stage[receive].terminals == 1)
        try stage.close(socket, joining: again)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func noByteIsLostBetweenAStopAndTheNextReceive(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let bytes = pattern(200_000)
        var sent = 0
        var got: [UInt8] = []
        while got.count < bytes.count {
          let receive = stage.token()
          stage.engine.receive(socket, .stream, receive)
          if sent < bytes.count {
            sent += max(0, peer.send(Array(bytes[sent..<min(sent + 7000, bytes.count)])))
          }
          stage.turn(within: 5)
          stage.engine.stopReceiving(socket)
          #expect(try stage.end(receive) == -ECANCELED)
          got += stage[receive].bytes
        }
        #expect(got == bytes)
        stage.engine.close(socket)
      }
    }

    /// However much waits in the socket, a stream that is stopped in the turn of its first arrival
    /// has brought no more than the bound that a user of the engine plans memory with.
    @Test(.tags(.failure), arguments: engines)
    func aFloodedStreamCanBeStoppedWithinItsBound(_ kind: EngineKind) throws {
      try onStage(kind, isComparable: false) { stage in
        let (socket, peer) = try stage.connection()
        let bytes = pattern(65_536)
        while peer.send(bytes) > 0 {}
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        while stage[receive].bytes.isEmpty { stage.turn() }
        stage.engine.stopReceiving(socket)
        #expect(try stage.end(receive) == -ECANCELED)
        #expect(stage[receive].bytes.count <= floodBound(kind))
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func stoppingAfterTheEndIsNothing(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        peer.finishSending()
        #expect(try stage.end(receive) == 0)
        stage.engine.stopReceiving(socket)
        stage.turn(within: 10)
        #expect(stage[receive].terminals == 1)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func bytesThatCameWithTheHandshakeAreReportedToAConnectedSocket(_ kind: EngineKind) throws {
      // The greeting of the listener's side lies in the socket before the connect is reported.
      try onStage(kind) { stage in
        let raw = try stage.outside.listener(backlog: 128)
        let connect = stage.token()
        let socket = try stage.engine.connect(raw.address, connect)
        if kind == .uring { stage.engine.wait(until: 0) }
        let peer = try raw.accepted()
        peer.send("hello first")
        stage.outside.pause(milliseconds: 20)
        #expect(try stage.end(connect) == 0)
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        try stage.turn(until: { stage[receive].bytes == Array("hello first".utf8) })
        try stage.close(socket, joining: receive)
      }
    }
  }
}

/// Bytes whose order shows: no two neighbouring runs are alike.
func pattern(_ count: Int) -> [UInt8] {
  [UInt8](unsafeUninitializedCapacity: count) { room, initialized in
    var state: UInt32 = 0x9E37_79B9
    for i in 0..<count {
      state = state &* 1_664_525 &+ 1_013_904_223
      room[i] = UInt8(truncatingIfNeeded: state >> 24)
    }
    initialized = count
  }
}

/// What a stream may bring before a stop that is asked for at its first arrival.
private func floodBound(_ kind: EngineKind) -> Int {
  guard kind == .uring else {
    // A receive that is tried where it is armed, and one more for readiness.
    return Stage.features.contains(.speculativeReceive) ? 2 * 65_536 : 65_536
  }
  // A bundle takes all buffers that the kernel has.
  if Stage.features.contains(.receiveBundles) { return Uring.smallRingDepth * 4096 }
  // Before Linux 6.17: three runs of 33 buffers in one enter.
  let isLimited = KernelRelease.current.map { ($0.major, $0.minor) >= (6, 17) } ?? false
  return isLimited ? 2 * (65_536 + 4096) : 99 * 4096
}
