// Receive memory: an idle socket pins none, an empty pool is backpressure and never an error, and
// what is given back is used again.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Buffers {
    private static let few: EngineOptions = {
      var options = Stage.options
      options.smallBuffers = 8
      options.largeBuffers = 4
      options.largeBufferSize = 8192
      return options
    }()

    @Test(arguments: engines)
    func aHundredIdleSocketsPinNoBuffer(_ kind: EngineKind) throws {
      try onStage(kind, Self.few) { stage in
        var connections: [(Descriptor, any Peer, Token)] = []
        for _ in 0..<100 {
          let (socket, peer) = try stage.connection()
          let receive = stage.token()
          stage.engine.receive(socket, .stream, receive)
          connections.append((socket, peer, receive))
        }
        for _ in 0..<20 { stage.turn(within: 2) }
        #expect(stage.engine.counters.leasedBuffers == 0)
        // Each of them is served although there are fewer buffers than sockets.
        for (i, (_, peer, receive)) in connections.enumerated() {
          peer.send("socket \(i)")
          try stage.turn(until: { stage[receive].bytes == Array("socket \(i)".utf8) })
        }
        for (socket, _, receive) in connections { try stage.close(socket, joining: receive) }
      }
    }

    @Test(.tags(.failure), arguments: engines, [ReceiveMode.stream, .once])
    func anEmptyPoolHoldsReceivesBackAndLosesNothing(
      _ kind: EngineKind, _ mode: ReceiveMode
    ) throws {
      // Which single receive is still armed at the end depends on the pieces.
      try onStage(kind, Self.few, isComparable: mode == .stream) { stage in
        let bytes = pattern(200_000)
        let sources = try (0..<5).map { _ in try Source(stage, mode, bytes) }
        var rounds = 0
        while !sources.allSatisfy(\.isComplete) && rounds < 20_000 {
          rounds += 1
          // Everything is held for a few rounds, then given back at once.
          stage.holdsSlices = true
          for source in sources { source.feed() }
          stage.turn(within: 1)
          if rounds % 4 == 0 { stage.held = [] }
          for source in sources where !source.isComplete { source.take() }
        }
        for source in sources { #expect(source.got == bytes) }
        #expect(stage.engine.counters.receivesStarved > 0, "the pool was never empty")
        #expect(!stage.order.contains { stage.outcome($0).results.contains(-ENOBUFS) })
        stage.held = []
        for source in sources { try source.close() }
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aReceiveThatWaitsForABufferCanBeStopped(_ kind: EngineKind) throws {
      try onStage(kind, Self.few) { stage in
        var held: [HeldSlice] = []
        let (busy, source) = try stage.connection()
        let (socket, peer) = try stage.connection()
        let first = stage.token()
        stage.holdsSlices = true
        stage.engine.receive(busy, .stream, first)
        try stage.turn(until: {
          source.send(pattern(4096))
          return stage.engine.counters.receivesStarved > 0
        })
        held = stage.held
        stage.held = []
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        peer.send("kept in the socket")
        for _ in 0..<5 { stage.turn(within: 2) }
        #expect(stage[receive].bytes.isEmpty)
        for (socket, token) in [(socket, receive), (busy, first)] {
          stage.engine.stopReceiving(socket)
          #expect(try stage.end(token) == -ECANCELED)
        }
        held = []
        stage.held = []
        #expect(held.isEmpty)
        let again = stage.token()
        stage.engine.receive(socket, .stream, again)
        try stage.turn(until: { stage[again].bytes == Array("kept in the socket".utf8) })
        stage.held = []
        try stage.close(socket, joining: again)
        stage.engine.close(busy)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aWaitDoesNotSleepWhileReceivesThatStarvedCouldBeServed(_ kind: EngineKind) throws {
      try onStage(kind, Self.few) { stage in
        // One connection takes every buffer, so that the receives of the others start in vain.
        let (busy, source) = try stage.connection()
        let first = stage.token()
        stage.holdsSlices = true
        stage.engine.receive(busy, .stream, first)
        try stage.turn(until: {
          source.send(pattern(4096))
          return stage.engine.counters.receivesStarved > 0
        })
        stage.engine.stopReceiving(busy)
        try stage.end(first)
        let idle = try (0..<40).map { _ in try stage.connection() }
        let receives = idle.map { socket, _ in
          let token = stage.token()
          stage.engine.receive(socket, .stream, token)
          return token
        }
        for _ in 0..<5 { stage.turn(within: 2) }
        stage.holdsSlices = false
        stage.held = []
        // All are idle but the last in the queue, and each wait would be a long one.
        idle[39].1.send("me too")
        stage.engine.refreshClocks()
        let start = stage.engine.now
        while stage[receives[39]].bytes.isEmpty && stage.engine.now - start < 4_000_000_000 {
          stage.engine.wait(until: start + 5_000_000_000)
          stage.drain()
        }
        #expect(stage[receives[39]].bytes == Array("me too".utf8))
        for (socket, _) in idle { stage.engine.shutdown(socket, .both) }
        for receive in receives { try stage.end(receive) }
        for (socket, _) in idle { stage.engine.close(socket) }
        stage.engine.close(busy)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func leasesEndAndTheirRefusalIsNil(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        var leases: [HeldSlice] = []
        while let slice = stage.engine.lease() {
          let count = slice.count
          #expect(count == 128 * 1024)
          leases.append(HeldSlice(slice))
          if leases.count > 32 { break }
        }
        #expect(!leases.isEmpty && leases.count <= 32)
        #expect(stage.engine.isLowOnBuffers)
        stage.showedFailure = true
        #expect(stage.engine.counters.leasedBuffers == leases.count)
        leases = []
        #expect(!stage.engine.isLowOnBuffers)
      }
    }

    @Test(arguments: engines)
    func aBufferGoesBackWithItsLastSlice(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        guard var slice = stage.engine.lease() else { throw StageFailure("no buffer") }
        let size = slice.count
        do {
          let prefix = slice.removePrefix(10)
          let part = slice.subslice(start: 5, count: 7)
          #expect(prefix.count == 10 && part.count == 7 && slice.count == size - 10)
          #expect(part.bytes.baseAddress == slice.bytes.baseAddress! + 5)
        }
        #expect(stage.engine.counters.leasedBuffers == 1)
        slice.dropPrefix(slice.count)
        #expect(slice.count == 0)
        _ = consume slice
        #expect(stage.engine.counters.leasedBuffers == 0)
      }
    }

    @Test(arguments: engines)
    func coldMemoryIsCountedAndComesBack(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        do {
          let cold = stage.engine.coldMemory(12_345)
          #expect(cold.isCold && cold.count == 12_345)
          #expect(stage.engine.counters.coldBytes == 12_345)
        }
        #expect(stage.engine.counters.coldBytes == 0)
      }
    }
  }
}

/// A connection whose plain end sends `bytes` as fast as it can and whose other end receives.
private final class Source {
  private let stage: Stage
  private let mode: ReceiveMode
  private let bytes: [UInt8]
  private let socket: Descriptor
  private let peer: any Peer
  private var receive: Token
  private var sent = 0
  private(set) var got: [UInt8] = []
  private var taken = 0

  init(_ stage: Stage, _ mode: ReceiveMode, _ bytes: [UInt8]) throws {
    self.stage = stage
    self.mode = mode
    self.bytes = bytes
    (socket, peer) = try stage.connection()
    receive = stage.token()
    stage.engine.receive(socket, mode, receive)
  }

  var isComplete: Bool { got.count >= bytes.count }

  func feed() {
    if sent < bytes.count { sent += max(0, peer.send(Array(bytes[sent...]))) }
  }

  /// Takes over what has been received since; asks again where one arrival ends the receive.
  func take() {
    let outcome = stage[receive]
    got += outcome.bytes[taken...]
    taken = outcome.bytes.count
    guard mode == .once, outcome.ending != nil, !isComplete else { return }
    taken = 0
    receive = stage.token()
    stage.engine.receive(socket, mode, receive)
  }

  func close() throws {
    if stage.ending(receive) == nil {
      try stage.close(socket, joining: receive)
    } else {
      stage.engine.close(socket)
    }
  }
}
