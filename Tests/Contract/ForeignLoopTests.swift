// An engine on another loop's thread: `pollDescriptor` must tell that loop of everything for which the
// engine's own wait would end or not begin, or the loop sleeps through it.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct ForeignLoops {
    /// Only the first was: the engine's read of the eventfd was armed again and not submitted.
    @Test(arguments: kernelEngines)
    func everyWakeIsTold(_ kind: EngineKind) throws {
      try onForeignLoop(kind) { loop in
        for round in 1...5 {
          loop.harness.engine.waker.wake()
          #expect(loop.sleep(5000), "wake \(round)")
          // The kernel's own word of it comes later, and may be one turn more.
          while loop.sleep(50) {}
        }
      }
    }

    @Test(arguments: kernelEngines)
    func everyMessageIsTold(_ kind: EngineKind) throws {
      try onForeignLoop(kind) { loop in
        for round in 1...5 {
          let token = loop.harness.token()
          #expect(loop.harness.engine.mailbox.put(7, token) == 0)
          #expect(loop.sleep(5000), "message \(round)")
          // Beside a thread of the kernel's the first turn may be early.
          try loop.run(until: { loop.harness.ending(token) == 7 })
        }
      }
    }

    @Test(arguments: kernelEngines)
    func everyTimeoutIsTold(_ kind: EngineKind) throws {
      try onForeignLoop(kind) { loop in
        for _ in 1...3 {
          let token = loop.harness.token()
          loop.harness.engine.refreshClocks()
          loop.harness.engine.timeout(at: loop.harness.engine.now + 20_000_000, token)
          loop.turn()
          try loop.run(until: { loop.harness.ending(token) == -ETIME })
        }
      }
    }

    /// Those that found no place in the first batch waited for a turn that nobody asked for.
    @Test(.tags(.failure), arguments: kernelEngines)
    func receivesThatWaitedForBuffersAllGoOn(_ kind: EngineKind) throws {
      var options = Harness.options
      options.smallBuffers = 4
      try onForeignLoop(kind, options) { loop in
        let harness = loop.harness
        // One keeps all the buffers, so that the others find none even to wait with.
        let (greedy, source) = try harness.connection()
        let all = harness.token()
        harness.holdsSlices = true
        harness.engine.receive(greedy, .stream, all)
        source.send(pattern(64 << 10))
        loop.turn()
        try loop.run(until: { harness.held.count == 4 })
        var connections: [(Descriptor, any Peer, Token)] = []
        for _ in 0..<12 {
          let (socket, peer) = try harness.connection()
          let receive = harness.token()
          harness.engine.receive(socket, .stream, receive)
          connections.append((socket, peer, receive))
        }
        loop.turn()
        for _ in 0..<100 where harness.engine.counters.receivesStarved == 0 { _ = loop.sleep(20) }
        #expect(harness.engine.counters.receivesStarved > 0)
        harness.engine.stopReceiving(greedy)
        harness.held = []
        harness.holdsSlices = false
        loop.turn()
        while loop.sleep(20) {}
        // Whichever was first in the queue: each hears of its bytes.
        for (_, peer, receive) in connections.reversed() {
          peer.send("bytes")
          try loop.run(until: { harness[receive].bytes.count == 5 })
        }
        for (socket, _, receive) in connections { try harness.close(socket, joining: receive) }
        try harness.end(all)
        harness.engine.close(greedy)
      }
    }

    /// A turn that accepts only what it cannot keep has nothing to report, and more to accept.
    @Test(.tags(.failure), arguments: kernelEngines)
    func connectionsBeyondTheLimitAreAllRefused(_ kind: EngineKind) throws {
      var options = Harness.options
      options.descriptorLimit = 128
      try onForeignLoop(kind, options) { loop in
        let listener = try loop.harness.listener()
        var fillers: [Int32] = []
        while (fillers.last ?? 0) < 128 { fillers.append(dup(0)) }
        defer { for filler in fillers { Glibc.close(filler) } }
        let accept = loop.harness.token()
        loop.harness.engine.accept(listener, accept)
        loop.turn()
        let peers = try (0..<200).map { _ in try loop.harness.peer(to: listener) }
        try loop.run(until: { loop.harness.engine.counters.connectionsRefused == peers.count })
        loop.harness.engine.stopAccepting(listener)
        try loop.harness.expect(accept, -ECANCELED)
        loop.harness.engine.close(listener)
      }
    }

    /// The kernel tells only once of completions that a write to an eventfd makes.
    @Test(arguments: kernelEngines)
    func everyPollOfAnEventfdIsTold(_ kind: EngineKind) throws {
      try onForeignLoop(kind) { loop in
        let foreign = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        defer { Glibc.close(foreign) }
        for _ in 1...4 {
          let poll = loop.harness.token()
          loop.harness.engine.poll(foreign, .readable, poll)
          loop.turn()
          while loop.sleep(20) {}
          eventfd_write(foreign, 1)
          try loop.run(until: { loop.harness.ending(poll) == 1 })
          var value: UInt64 = 0
          _ = Glibc.read(foreign, &value, 8)
        }
      }
    }

    /// The end that the kernel loses is looked for after a while; nothing told when it had passed.
    @Test(arguments: kernelEngines)
    func theLookAtSilentSocketsIsTold(_ kind: EngineKind) throws {
      try onForeignLoop(kind) { loop in
        let (socket, peer) = try loop.harness.connection()
        let receive = loop.harness.token()
        loop.harness.engine.receive(socket, .stream, receive)
        loop.turn()
        peer.send("bytes")
        try loop.run(until: { loop.harness[receive].bytes.count == 5 })
        let before = loop.harness.engine.counters.turns
        let start = SystemClock.monotonicNanoseconds()
        while SystemClock.monotonicNanoseconds() - start < 1_200_000_000 { _ = loop.sleep(300) }
        let turns = loop.harness.engine.counters.turns - before
        // The other engine loses no ends. On the ring: two looks, each with a turn or two about it.
        let looks = kind == .uring && Harness.features.contains(.multishotReceive)
        #expect(looks ? (2...16).contains(turns) : turns <= 2, "\(turns) turns")
        try loop.harness.close(socket, joining: receive)
      }
    }
  }
}

/// A loop that knows nothing of the engine but its descriptor.
private final class ForeignLoop: CustomReflectable {
  let harness: Harness
  private let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))

  init(_ harness: Harness) {
    self.harness = harness
    let descriptor = harness.engine.pollDescriptor
    var interest = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(fd: descriptor))
    epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &interest)
  }

  deinit { Glibc.close(epoll) }

  /// Nothing of it can be shown where an expectation fails: an engine cannot be copied.
  var customMirror: Mirror { Mirror(self, children: []) }

  /// Turns the engine as often as its contract asks for, and no more.
  func turn() {
    repeat {
      harness.engine.wait(until: 0)
      guard let completion = harness.engine.next() else { return }
      harness.take(completion)
      harness.drain()
    } while true
  }

  /// Sleeps until the engine has something to do, and turns it then. - Returns: false if it had not.
  func sleep(_ milliseconds: Int64) -> Bool {
    var event = epoll_event()
    var ready = -EINTR
    // The end of a former ring on this thread, as a signal, may interrupt a wait.
    while ready == -EINTR {
      ready = clinux_epoll_wait(epoll, &event, 1, milliseconds * 1_000_000)
    }
    guard ready == 1 else { return false }
    turn()
    return true
  }

  /// Sleeps and turns until a condition holds; a sleep of two seconds is one that nobody ended.
  func run(
    until condition: () -> Bool, at location: SourceLocation = #_sourceLocation
  ) throws {
    let limit = SystemClock.monotonicNanoseconds() + 20_000_000_000
    while !condition() && SystemClock.monotonicNanoseconds() < limit {
      guard sleep(2000) else {
        Issue.record("the foreign loop was not told", sourceLocation: location)
        throw HarnessFailure("asleep")
      }
    }
    #expect(condition(), sourceLocation: location)
  }
}

private func onForeignLoop(
  _ kind: EngineKind, _ options: EngineOptions = Harness.options,
  at location: SourceLocation = #_sourceLocation, _ body: (ForeignLoop) throws -> Void
) throws {
  try withHarness(kind, options, isComparable: false, at: location) { harness in
    let loop = ForeignLoop(harness)
    loop.turn()
    _ = loop.sleep(0)
    try body(loop)
  }
}
