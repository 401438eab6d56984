// Listening and accepting.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Accepting {
    @Test(arguments: engines)
    func oneAcceptReportsEveryConnection(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let accept = stage.token()
        stage.engine.accept(listener, accept)
        var peers: [any Peer] = []
        for _ in 0..<100 { peers.append(try stage.peer(to: listener)) }
        try stage.turn(until: { stage[accept].results.count == 100 })
        let sockets = stage[accept].results.map { Descriptor(rawValue: $0) }
        #expect(Set(sockets.map(\.rawValue)).count == 100)
        for socket in sockets { #expect(stage.engine.peerAddress(socket) != nil) }
        try endAccept(stage, listener, accept)
        for socket in sockets { stage.engine.close(socket) }
      }
    }

    @Test(arguments: engines)
    func connectionsThatCameBeforeTheAcceptAreReported(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let peer = try stage.peer(to: listener)
        stage.turn(within: 10)
        let accept = stage.token()
        stage.engine.accept(listener, accept)
        try stage.turn(until: { stage[accept].results.count == 1 })
        let socket = Descriptor(rawValue: stage[accept].results[0])
        peer.send("works")
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        try stage.turn(until: { stage[receive].bytes == Array("works".utf8) })
        try stage.close(socket, joining: receive)
        try endAccept(stage, listener, accept)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func afterStopAcceptingConnectionsStayForAcceptNow(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let accept = stage.token()
        stage.engine.accept(listener, accept)
        stage.turn()
        stage.engine.stopAccepting(listener)
        stage.engine.stopAccepting(listener)
        #expect(try stage.end(accept) == -ECANCELED)
        #expect(stage.engine.acceptNow(listener) == nil)
        _ = try stage.peer(to: listener)
        _ = try stage.peer(to: listener)
        var left: [Descriptor] = []
        try stage.turn(until: {
          if let socket = stage.engine.acceptNow(listener) { left.append(socket) }
          return left.count == 2
        })
        #expect(stage.engine.acceptNow(listener) == nil)
        for socket in left { stage.engine.close(socket) }
        stage.engine.close(listener)
      }
    }

    @Test(arguments: engines)
    func acceptNowNeverWaits(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        for _ in 0..<10 { #expect(stage.engine.acceptNow(listener) == nil) }
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func noDescriptorLeftEndsTheAcceptWithEMFILEAndLosesNobody(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let accept = stage.token()
        let peer = try stage.peer(to: listener)
        try stage.outside.withoutDescriptors {
          // io_uring notes the limit when it is asked to accept, so the accept comes after it.
          stage.engine.accept(listener, accept)
          let ending = try stage.end(accept)
          #expect(ending == -EMFILE)
        }
        let again = stage.token()
        stage.engine.accept(listener, again)
        try stage.turn(until: { stage[again].results.count == 1 })
        let socket = Descriptor(rawValue: stage[again].results[0])
        try stage.send(socket, "hello")
        #expect(try stage.received(by: peer, 5) == Array("hello".utf8))
        stage.engine.close(socket)
        try endAccept(stage, listener, again)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aConnectionBeyondTheEnginesTableIsClosedAndCounted(_ kind: EngineKind) throws {
      var options = Stage.options
      // A simulated process has no other descriptors.
      options.descriptorLimit = kind == .simulated ? 24 : 64
      let fill = (0..<40).map { _ in Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC) }
      defer { for descriptor in fill { Glibc.close(descriptor) } }
      // How many fit depends on the numbers that are taken already.
      try onStage(kind, options, isComparable: false) { stage in
        let listener = try stage.listener()
        let accept = stage.token()
        stage.engine.accept(listener, accept)
        var peers: [any Peer] = []
        for _ in 0..<40 { peers.append(try stage.peer(to: listener)) }
        try stage.turn(until: {
          stage[accept].results.count + stage.engine.counters.connectionsRefused == 40
        })
        #expect(stage.engine.counters.connectionsRefused > 0)
        #expect(stage[accept].terminals == 0, "the accept goes on")
        #expect(stage[accept].results.allSatisfy { $0 < 64 })
        for socket in stage[accept].results {
          stage.engine.close(Descriptor(rawValue: socket))
        }
        try endAccept(stage, listener, accept)
      }
    }

    @Test(arguments: engines)
    func aUnixListenerAccepts(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let directory = try stage.outside.directory()
        let address = try #require(SocketAddress(unixPath: directory + "/socket"))
        let listener = try stage.engine.listen(address, backlog: 16, reusePort: false)
        let accept = stage.token()
        stage.engine.accept(listener, accept)
        let peer = try stage.peer(at: address)
        try stage.turn(until: { stage[accept].results.count == 1 })
        let socket = Descriptor(rawValue: stage[accept].results[0])
        try stage.send(socket, "unix")
        #expect(try stage.received(by: peer, 4) == Array("unix".utf8))
        stage.engine.close(socket)
        try endAccept(stage, listener, accept)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func anAddressInUseIsSaidWithItsNumberAndTheCall(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let address = try stage.address(of: listener)
        do {
          _ = try stage.engine.listen(address, backlog: 1, reusePort: false)
          Issue.record("bound twice")
        } catch let failure as SystemFailure {
          #expect(failure.code == EADDRINUSE)
          #expect(failure.operation == "bind \(address)")
        }
        stage.engine.close(listener)
        // Closed at once: the address is free in the same turn.
        stage.engine.close(
          try stage.engine.listen(address, backlog: 1, reusePort: false))
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func twoListenersShareAnAddressWithReusePortOnly(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let first = try stage.engine.listen(.loopback(), backlog: 1, reusePort: true)
        let address = try stage.address(of: first)
        let second = try stage.engine.listen(address, backlog: 1, reusePort: true)
        #expect(throws: SystemFailure.self) {
          _ = try stage.engine.listen(address, backlog: 1, reusePort: false)
        }
        stage.engine.close(first)
        stage.engine.close(second)
      }
    }

    @Test(arguments: kernelEngines)
    func acceptedSocketsHaveNoDelay(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try stage.connection()
        var value: Int32 = 0
        var length = socklen_t(4)
        getsockopt(socket.rawValue, Int32(IPPROTO_TCP), TCP_NODELAY, &value, &length)
        #expect(value != 0)
        stage.engine.close(socket)
      }
    }
  }
}

func endAccept(_ stage: Stage, _ listener: Descriptor, _ accept: Token) throws {
  stage.engine.stopAccepting(listener)
  #expect(try stage.end(accept) == -ECANCELED)
  stage.engine.close(listener)
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
