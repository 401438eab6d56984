// Receiving: order, endings, stopping, and what happens when buffers run out.

import CLinux
import Glibc
import Testing

@testable import MillraceEngine

extension Contract {
  @Suite struct Receiving {
    @Test(arguments: engines)
    func aStreamStaysArmedAndKeepsTheOrder(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        var expected: [UInt8] = []
        for i in 0..<50 {
          let text = Array("message \(i);".utf8)
          peer.send(text)
          expected += text
          try harness.turn(until: { harness[receive].bytes.count == expected.count })
        }
        #expect(harness[receive].bytes == expected)
        #expect(harness[receive].terminals == 0)
        try harness.close(socket, joining: receive)
      }
    }

    @Test(arguments: engines)
    func bytesThatCameBeforeTheReceiveAreReported(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        peer.send("early")
        harness.turn(within: 20)
        harness.turn(within: 20)
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        try harness.turn(until: { harness[receive].bytes == Array("early".utf8) })
        try harness.close(socket, joining: receive)
      }
    }

    @Test(arguments: engines)
    func anEndOfStreamComesAfterEveryByteAndOnce(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let bytes = pattern(300_000)
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        var sent = 0
        try harness.turn(until: {
          sent += max(0, peer.send(Array(bytes[sent...])))
          return sent == bytes.count
        })
        peer.finishSending()
        #expect(try harness.end(receive) == 0)
        #expect(harness[receive].bytes == bytes)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func anEndOfStreamThatCameBeforeTheReceiveIsReported(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        peer.send("last words")
        peer.finishSending()
        for _ in 0..<3 { harness.turn(within: 10) }
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        #expect(try harness.end(receive) == 0)
        #expect(harness[receive].bytes == Array("last words".utf8))
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aResetEndsAStreamWithECONNRESET(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        harness.turn()
        peer.reset()
        #expect(try harness.end(receive) == -ECONNRESET)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aResetThatASendSawFirstIsNoEndOfStreamToTheReceive(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        peer.reset()
        harness.turn(within: 20)
        let send = harness.token()
        harness.engine.send(socket, try harness.frame("into the void"), .awaited, send)
        #expect(try harness.end(send) == -ECONNRESET)
        let receive = harness.token()
        harness.engine.receive(socket, .once, receive)
        #expect(try harness.end(receive) == -ECONNRESET)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func onceReportsOneArrivalAndEnds(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let first = harness.token()
        harness.engine.receive(socket, .once, first)
        peer.send("one")
        #expect(try harness.end(first) == 3)
        peer.send("two")
        harness.turn(within: 20)
        #expect(harness[first].bytes == Array("one".utf8))
        let second = harness.token()
        harness.engine.receive(socket, .once, second)
        #expect(try harness.end(second) == 3)
        #expect(harness[second].bytes == Array("two".utf8))
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func onceFillsALargeBufferAndLeavesTheRest(_ kind: EngineKind) throws {
      var options = Harness.options
      options.largeBufferSize = 8192
      try withHarness(kind, options) { harness in
        let (socket, peer) = try harness.connection()
        let bytes = pattern(3 * 8192 + 1)
        #expect(peer.send(bytes) == bytes.count)
        harness.turn(within: 20)
        var got: [UInt8] = []
        while got.count < bytes.count {
          let once = harness.token()
          harness.engine.receive(socket, .once, once)
          let count = Int(try harness.end(once))
          #expect(count > 0 && count <= 8192)
          got += harness[once].bytes
        }
        #expect(got == bytes)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines, [ReceiveMode.stream, .once])
    func stoppingAnIdleReceiveEndsItWithECANCELED(_ kind: EngineKind, _ mode: ReceiveMode) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, mode, receive)
        harness.turn()
        harness.engine.stopReceiving(socket)
        harness.engine.stopReceiving(socket)
        #expect(try harness.end(receive) == -ECANCELED)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func stoppingInTheTurnOfTheReceiveEndsItOnce(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        harness.engine.stopReceiving(socket)
        try harness.end(receive)
        peer.send("x")
        let again = harness.token()
        harness.engine.receive(socket, .stream, again)
        try harness.turn(until: { harness[again].bytes == Array("x".utf8) })
        #expect(harness[receive].terminals == 1)
        try harness.close(socket, joining: again)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func noByteIsLostBetweenAStopAndTheNextReceive(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let bytes = pattern(200_000)
        var sent = 0
        var got: [UInt8] = []
        while got.count < bytes.count {
          let receive = harness.token()
          harness.engine.receive(socket, .stream, receive)
          if sent < bytes.count {
            sent += max(0, peer.send(Array(bytes[sent..<min(sent + 7000, bytes.count)])))
          }
          harness.turn(within: 5)
          harness.engine.stopReceiving(socket)
          #expect(try harness.end(receive) == -ECANCELED)
          got += harness[receive].bytes
        }
        #expect(got == bytes)
        harness.engine.close(socket)
      }
    }

    /// However much waits in the socket, a stream that is stopped in the turn of its first arrival
    /// has brought no more than the bound that a user of the engine plans memory with.
    @Test(.tags(.failure), arguments: engines)
    func aFloodedStreamCanBeStoppedWithinItsBound(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { harness in
        let (socket, peer) = try harness.connection()
        let bytes = pattern(65_536)
        while peer.send(bytes) > 0 {}
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        while harness[receive].bytes.isEmpty { harness.turn() }
        harness.engine.stopReceiving(socket)
        #expect(try harness.end(receive) == -ECANCELED)
        #expect(harness[receive].bytes.count <= floodBound(kind))
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func stoppingAfterTheEndIsNothing(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        peer.finishSending()
        #expect(try harness.end(receive) == 0)
        harness.engine.stopReceiving(socket)
        harness.turn(within: 10)
        #expect(harness[receive].terminals == 1)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func bytesThatCameWithTheHandshakeAreReportedToAConnectedSocket(_ kind: EngineKind) throws {
      // The greeting of the listener's side lies in the socket before the connect is reported.
      try withHarness(kind) { harness in
        let raw = try harness.outside.listener(backlog: 128)
        let connect = harness.token()
        let socket = try harness.engine.connect(raw.address, connect)
        if kind == .uring { harness.engine.wait(until: 0) }
        let peer = try raw.accepted()
        peer.send("hello first")
        harness.outside.pause(milliseconds: 20)
        #expect(try harness.end(connect) == 0)
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        try harness.turn(until: { harness[receive].bytes == Array("hello first".utf8) })
        try harness.close(socket, joining: receive)
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
    return Harness.features.contains(.speculativeReceive) ? 2 * 65_536 : 65_536
  }
  // A bundle takes all buffers that the kernel has.
  if Harness.features.contains(.receiveBundles) { return Uring.smallRingDepth * 4096 }
  // Before Linux 6.17: three runs of 33 buffers in one enter.
  let isLimited = KernelRelease.current.map { ($0.major, $0.minor) >= (6, 17) } ?? false
  return isLimited ? 2 * (65_536 + 4096) : 99 * 4096
}
