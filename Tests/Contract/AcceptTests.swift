// Listening and accepting.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Accepting {
    @Test(arguments: engines)
    func oneAcceptReportsEveryConnection(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let accept = harness.token()
        harness.engine.accept(listener, accept)
        var peers: [any Peer] = []
        for _ in 0..<100 { peers.append(try harness.peer(to: listener)) }
        try harness.turn(until: { harness[accept].results.count == 100 })
        let sockets = harness[accept].results.map { Descriptor(rawValue: $0) }
        #expect(Set(sockets.map(\.rawValue)).count == 100)
        for socket in sockets { #expect(harness.engine.peerAddress(socket) != nil) }
        try endAccept(harness, listener, accept)
        for socket in sockets { harness.engine.close(socket) }
      }
    }

    @Test(arguments: engines)
    func connectionsThatCameBeforeTheAcceptAreReported(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let peer = try harness.peer(to: listener)
        harness.turn(within: 10)
        let accept = harness.token()
        harness.engine.accept(listener, accept)
        try harness.turn(until: { harness[accept].results.count == 1 })
        let socket = Descriptor(rawValue: harness[accept].results[0])
        peer.send("works")
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        try harness.turn(until: { harness[receive].bytes == Array("works".utf8) })
        try harness.close(socket, joining: receive)
        try endAccept(harness, listener, accept)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func afterStopAcceptingConnectionsStayForAcceptNow(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let accept = harness.token()
        harness.engine.accept(listener, accept)
        harness.turn()
        harness.engine.stopAccepting(listener)
        harness.engine.stopAccepting(listener)
        #expect(try harness.end(accept) == -ECANCELED)
        #expect(harness.engine.acceptNow(listener) == nil)
        _ = try harness.peer(to: listener)
        _ = try harness.peer(to: listener)
        var left: [Descriptor] = []
        try harness.turn(until: {
          if let socket = harness.engine.acceptNow(listener) { left.append(socket) }
          return left.count == 2
        })
        #expect(harness.engine.acceptNow(listener) == nil)
        for socket in left { harness.engine.close(socket) }
        harness.engine.close(listener)
      }
    }

    @Test(arguments: engines)
    func acceptNowNeverWaits(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        for _ in 0..<10 { #expect(harness.engine.acceptNow(listener) == nil) }
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func noDescriptorLeftEndsTheAcceptWithEMFILEAndLosesNobody(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let accept = harness.token()
        let peer = try harness.peer(to: listener)
        try harness.outside.withoutDescriptors {
          // io_uring notes the limit when it is asked to accept, so the accept comes after it.
          harness.engine.accept(listener, accept)
          let ending = try harness.end(accept)
          #expect(ending == -EMFILE)
        }
        let again = harness.token()
        harness.engine.accept(listener, again)
        try harness.turn(until: { harness[again].results.count == 1 })
        let socket = Descriptor(rawValue: harness[again].results[0])
        try harness.send(socket, "hello")
        #expect(try harness.received(by: peer, 5) == Array("hello".utf8))
        harness.engine.close(socket)
        try endAccept(harness, listener, again)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aConnectionBeyondTheEnginesTableIsClosedAndCounted(_ kind: EngineKind) throws {
      var options = Harness.options
      // A simulated process has no other descriptors.
      options.descriptorLimit = kind == .simulated ? 24 : 64
      let fill = (0..<40).map { _ in Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC) }
      defer { for descriptor in fill { Glibc.close(descriptor) } }
      // How many fit depends on the numbers that are taken already.
      try withHarness(kind, options, isComparable: false) { harness in
        let listener = try harness.listener()
        let accept = harness.token()
        harness.engine.accept(listener, accept)
        var peers: [any Peer] = []
        for _ in 0..<40 { peers.append(try harness.peer(to: listener)) }
        try harness.turn(until: {
          harness[accept].results.count + harness.engine.counters.connectionsRefused == 40
        })
        #expect(harness.engine.counters.connectionsRefused > 0)
        #expect(harness[accept].terminals == 0, "the accept goes on")
        #expect(harness[accept].results.allSatisfy { $0 < 64 })
        for socket in harness[accept].results {
          harness.engine.close(Descriptor(rawValue: socket))
        }
        try endAccept(harness, listener, accept)
      }
    }

    @Test(arguments: engines)
    func aUnixListenerAccepts(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let directory = try harness.outside.directory()
        let address = try #require(SocketAddress(unixPath: directory + "/socket"))
        let listener = try harness.engine.listen(address, backlog: 16, reusePort: false)
        let accept = harness.token()
        harness.engine.accept(listener, accept)
        let peer = try harness.peer(at: address)
        try harness.turn(until: { harness[accept].results.count == 1 })
        let socket = Descriptor(rawValue: harness[accept].results[0])
        try harness.send(socket, "unix")
        #expect(try harness.received(by: peer, 4) == Array("unix".utf8))
        harness.engine.close(socket)
        try endAccept(harness, listener, accept)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func anAddressInUseIsSaidWithItsNumberAndTheCall(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let address = try harness.address(of: listener)
        do {
          _ = try harness.engine.listen(address, backlog: 1, reusePort: false)
          Issue.record("bound twice")
        } catch let failure as SystemFailure {
          #expect(failure.code == EADDRINUSE)
          #expect(failure.operation == "bind \(address)")
        }
        harness.engine.close(listener)
        // Closed at once: the address is free in the same turn.
        harness.engine.close(
          try harness.engine.listen(address, backlog: 1, reusePort: false))
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func twoListenersShareAnAddressWithReusePortOnly(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let first = try harness.engine.listen(.loopback(), backlog: 1, reusePort: true)
        let address = try harness.address(of: first)
        let second = try harness.engine.listen(address, backlog: 1, reusePort: true)
        #expect(throws: SystemFailure.self) {
          _ = try harness.engine.listen(address, backlog: 1, reusePort: false)
        }
        harness.engine.close(first)
        harness.engine.close(second)
      }
    }

    @Test(arguments: kernelEngines)
    func acceptedSocketsHaveNoDelay(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try harness.connection()
        var value: Int32 = 0
        var length = socklen_t(4)
        getsockopt(socket.rawValue, Int32(IPPROTO_TCP), TCP_NODELAY, &value, &length)
        #expect(value != 0)
        harness.engine.close(socket)
      }
    }
  }
}

func endAccept(_ harness: Harness, _ listener: Descriptor, _ accept: Token) throws {
  harness.engine.stopAccepting(listener)
  #expect(try harness.end(accept) == -ECANCELED)
  harness.engine.close(listener)
}

/// Runs `body` while the process can open no further descriptor.
func withDescriptorLimit(_ body: () throws -> Void) throws {
  let next = Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC)
  Glibc.close(next)
  var before = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before)
  var tight = before
  tight.rlim_cur = rlim_t(next)
  setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &tight)
  defer { setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before) }
  try body()
}
