// Receive memory: an idle socket pins none, an empty pool is backpressure and never an error, and
// what is given back is used again.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Buffers {
    private static let few: EngineOptions = {
      var options = Harness.options
      options.smallBuffers = 8
      options.largeBuffers = 4
      options.largeBufferSize = 8192
      return options
    }()

    @Test(arguments: engines)
    func aHundredIdleSocketsPinNoBuffer(_ kind: EngineKind) throws {
      try withHarness(kind, Self.few) { harness in
        var connections: [(Descriptor, any Peer, Token)] = []
        for _ in 0..<100 {
          let (socket, peer) = try harness.connection()
          let receive = harness.token()
          harness.engine.receive(socket, .stream, receive)
          connections.append((socket, peer, receive))
        }
        for _ in 0..<20 { harness.turn(within: 2) }
        #expect(harness.engine.counters.leasedBuffers == 0)
        // Each of them is served although there are fewer buffers than sockets.
        for (i, (_, peer, receive)) in connections.enumerated() {
          peer.send("socket \(i)")
          try harness.turn(until: { harness[receive].bytes == Array("socket \(i)".utf8) })
        }
        for (socket, _, receive) in connections { try harness.close(socket, joining: receive) }
      }
    }

    @Test(.tags(.failure), arguments: engines, [ReceiveMode.stream, .once])
    func anEmptyPoolHoldsReceivesBackAndLosesNothing(
      _ kind: EngineKind, _ mode: ReceiveMode
    ) throws {
      // Which single receive is still armed at the end depends on the pieces.
      try withHarness(kind, Self.few, isComparable: mode == .stream) { harness in
        let bytes = pattern(200_000)
        let sources = try (0..<5).map { _ in try Source(harness, mode, bytes) }
        var rounds = 0
        while !sources.allSatisfy(\.isComplete) && rounds < 20_000 {
          rounds += 1
          // Everything is held for a few rounds, then given back at once.
          harness.holdsSlices = true
          for source in sources { source.feed() }
          harness.turn(within: 1)
          if rounds % 4 == 0 { harness.held = [] }
          for source in sources where !source.isComplete { source.take() }
        }
        for source in sources { #expect(source.got == bytes) }
        #expect(harness.engine.counters.receivesStarved > 0, "the pool was never empty")
        #expect(!harness.order.contains { harness.outcome($0).results.contains(-ENOBUFS) })
        harness.held = []
        for source in sources { try source.close() }
      }
    }

    /// More large receives than io_uring gives the kernel buffers for, at a time.
    @Test(arguments: engines, [1, 2, 3, 20])
    func manyLargeReceivesComplete(_ kind: EngineKind, _ count: Int) throws {
      try withHarness(kind, isComparable: false) { harness in
        let bytes = pattern(30_000)
        let sources = try (0..<count).map { _ in try Source(harness, .once, bytes) }
        for source in sources { source.feed() }
        try harness.turn(until: {
          for source in sources where !source.isComplete {
            source.feed()
            source.take()
          }
          return sources.allSatisfy(\.isComplete)
        })
        for source in sources {
          #expect(source.got == bytes)
          try source.close()
        }
        // The pool was never empty.
        #expect(harness.engine.counters.receivesStarved == 0)
      }
    }

    /// Sockets that always have something to read do not keep others from being read.
    @Test(arguments: engines, [1, 2, 3, 8])
    func busySocketsLeaveBuffersToOthers(_ kind: EngineKind, _ busy: Int) throws {
      try withHarness(kind, isComparable: false) { harness in
        let endless = pattern(16_000_000)
        let sources = try (0..<busy).map { _ in try Source(harness, .once, endless) }
        let others = try (0..<4).map { _ in try Source(harness, .once, pattern(1000)) }
        func feed() {
          for source in sources {
            source.feed()
            source.take()
          }
        }
        for _ in 0..<20 {
          feed()
          harness.turn()
        }
        for source in others { source.feed() }
        // Counted is what the busy ones were given meanwhile: beside a kernel thread, turns say nothing.
        let before = sources.reduce(0) { $0 + $1.pieces }
        try harness.turn(until: {
          feed()
          for source in others where !source.isComplete { source.take() }
          return others.allSatisfy(\.isComplete)
            || sources.reduce(0, { $0 + $1.pieces }) - before > 60
        })
        // Numbers: a failed expectation shows its values, and an engine cannot be copied to be shown.
        let unread = others.count { !$0.isComplete }
        let ended = sources.count { $0.isComplete }
        #expect(unread == 0, "not read while the busy ones were given 60 buffers")
        #expect(ended == 0, "the busy ones were not busy to the end")
        for source in sources + others { try source.close() }
      }
    }

    /// Receives with nothing to read need no buffer, and are not waited for by those that have.
    @Test(arguments: engines)
    func idleReceivesDelayNoOther(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { harness in
        let endless = pattern(16_000_000)
        let sources = try (0..<4).map { _ in try Source(harness, .once, endless) }
        let idle = try (0..<600).map { _ in (try harness.connection().socket, harness.token()) }
        let (fence, _) = try harness.connection()
        /// A turn, and beside a kernel thread as many as that needs for what was asked for.
        func step() throws {
          for source in sources {
            source.feed()
            source.take()
          }
          try harness.send(fence, "x")
        }
        for _ in 0..<20 { try step() }
        for (socket, receive) in idle { harness.engine.receive(socket, .once, receive) }
        try step()
        let late = try Source(harness, .once, pattern(1000))
        late.feed()
        for _ in 0..<20 where !late.isComplete {
          try step()
          late.take()
        }
        #expect(
          late.got.count == 1000, "not read in 20 turns, behind receives that have nothing to read")
        for (socket, receive) in idle { try harness.close(socket, joining: receive) }
        harness.engine.close(fence)
        for source in sources + [late] { try source.close() }
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aReceiveThatWaitsForABufferCanBeStopped(_ kind: EngineKind) throws {
      try withHarness(kind, Self.few) { harness in
        var held: [HeldSlice] = []
        let (busy, source) = try harness.connection()
        let (socket, peer) = try harness.connection()
        let first = harness.token()
        harness.holdsSlices = true
        harness.engine.receive(busy, .stream, first)
        try harness.turn(until: {
          source.send(pattern(4096))
          return harness.engine.counters.receivesStarved > 0
        })
        held = harness.held
        harness.held = []
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        peer.send("kept in the socket")
        for _ in 0..<5 { harness.turn(within: 2) }
        #expect(harness[receive].bytes.isEmpty)
        for (socket, token) in [(socket, receive), (busy, first)] {
          harness.engine.stopReceiving(socket)
          #expect(try harness.end(token) == -ECANCELED)
        }
        held = []
        harness.held = []
        #expect(held.isEmpty)
        let again = harness.token()
        harness.engine.receive(socket, .stream, again)
        try harness.turn(until: { harness[again].bytes == Array("kept in the socket".utf8) })
        harness.held = []
        try harness.close(socket, joining: again)
        harness.engine.close(busy)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aWaitDoesNotSleepWhileReceivesThatStarvedCouldBeServed(_ kind: EngineKind) throws {
      try withHarness(kind, Self.few) { harness in
        // One connection takes every buffer, so that the receives of the others start in vain.
        let (busy, source) = try harness.connection()
        let first = harness.token()
        harness.holdsSlices = true
        harness.engine.receive(busy, .stream, first)
        try harness.turn(until: {
          source.send(pattern(4096))
          return harness.engine.counters.receivesStarved > 0
        })
        harness.engine.stopReceiving(busy)
        try harness.end(first)
        let idle = try (0..<40).map { _ in try harness.connection() }
        let receives = idle.map { socket, _ in
          let token = harness.token()
          harness.engine.receive(socket, .stream, token)
          return token
        }
        for _ in 0..<5 { harness.turn(within: 2) }
        harness.holdsSlices = false
        harness.held = []
        // All are idle but the last in the queue, and each wait would be a long one.
        idle[39].1.send("me too")
        harness.engine.refreshClocks()
        let start = harness.engine.now
        while harness[receives[39]].bytes.isEmpty && harness.engine.now - start < 4_000_000_000 {
          harness.engine.wait(until: start + 5_000_000_000)
          harness.drain()
        }
        #expect(harness[receives[39]].bytes == Array("me too".utf8))
        for (socket, _) in idle { harness.engine.shutdown(socket, .both) }
        for receive in receives { try harness.end(receive) }
        for (socket, _) in idle { harness.engine.close(socket) }
        harness.engine.close(busy)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func leasesEndAndTheirRefusalIsNil(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        var leases: [HeldSlice] = []
        while let slice = harness.engine.lease() {
          let count = slice.count
          #expect(count == 128 * 1024)
          leases.append(HeldSlice(slice))
          if leases.count > 32 { break }
        }
        #expect(!leases.isEmpty && leases.count <= 32)
        #expect(harness.engine.isLowOnBuffers)
        harness.showedFailure = true
        #expect(harness.engine.counters.leasedBuffers == leases.count)
        leases = []
        #expect(!harness.engine.isLowOnBuffers)
      }
    }

    @Test(arguments: engines)
    func aBufferGoesBackWithItsLastSlice(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        guard var slice = harness.engine.lease() else { throw HarnessFailure("no buffer") }
        let size = slice.count
        do {
          let prefix = slice.removePrefix(10)
          let part = slice.subslice(start: 5, count: 7)
          #expect(prefix.count == 10 && part.count == 7 && slice.count == size - 10)
          #expect(part.bytes.baseAddress == slice.bytes.baseAddress! + 5)
        }
        #expect(harness.engine.counters.leasedBuffers == 1)
        slice.dropPrefix(slice.count)
        #expect(slice.count == 0)
        _ = consume slice
        #expect(harness.engine.counters.leasedBuffers == 0)
      }
    }

    @Test(arguments: engines)
    func coldMemoryIsCountedAndComesBack(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        do {
          let cold = harness.engine.coldMemory(12_345)
          #expect(cold.isCold && cold.count == 12_345)
          #expect(harness.engine.counters.coldBytes == 12_345)
        }
        #expect(harness.engine.counters.coldBytes == 0)
      }
    }
  }
}

/// A connection whose plain end sends `bytes` as fast as it can and whose other end receives.
private final class Source {
  private let harness: Harness
  private let mode: ReceiveMode
  private let bytes: [UInt8]
  private let socket: Descriptor
  private let peer: any Peer
  private var receive: Token
  private var sent = 0
  private(set) var got: [UInt8] = []
  /// Receives that have ended.
  private(set) var pieces = 0
  private var taken = 0

  init(_ harness: Harness, _ mode: ReceiveMode, _ bytes: [UInt8]) throws {
    self.harness = harness
    self.mode = mode
    self.bytes = bytes
    (socket, peer) = try harness.connection()
    receive = harness.token()
    harness.engine.receive(socket, mode, receive)
  }

  var isComplete: Bool { got.count >= bytes.count }

  func feed() {
    if sent < bytes.count { sent += max(0, peer.send(Array(bytes[sent...]))) }
  }

  /// Takes over what has been received since; asks again where one arrival ends the receive.
  func take() {
    let outcome = harness[receive]
    got += outcome.bytes[taken...]
    taken = outcome.bytes.count
    guard mode == .once, outcome.ending != nil, !isComplete else { return }
    pieces += 1
    taken = 0
    receive = harness.token()
    harness.engine.receive(socket, mode, receive)
  }

  func close() throws {
    if harness.ending(receive) == nil {
      try harness.close(socket, joining: receive)
    } else {
      harness.engine.close(socket)
    }
  }
}
