// Connecting: success, refusal, cancellation, UNIX sockets, a listener that is full.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Connecting {
    @Test(arguments: engines, ["127.0.0.1", "::1"])
    func aConnectEndsWithZeroAndCarriesBytesBothWays(
      _ kind: EngineKind, _ host: String
    ) throws {
      try withHarness(kind) { harness in
        let address = try SocketAddress.loopback(host: host)
        let listener = try harness.engine.listen(address, backlog: 8, reusePort: false)
        let connect = harness.token()
        let socket = try harness.engine.connect(harness.address(of: listener), connect)
        #expect(socket.isValid)
        #expect(harness.ending(connect) == nil)
        #expect(try harness.end(connect) == 0)
        let other = try #require(harness.engine.acceptNow(listener))
        let receive = harness.token()
        harness.engine.receive(other, .stream, receive)
        try harness.send(socket, "over there")
        try harness.turn(until: { harness[receive].bytes == Array("over there".utf8) })
        try harness.close(other, joining: receive)
        harness.engine.close(socket)
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aClosedPortIsECONNREFUSED(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let address = try harness.address(of: listener)
        harness.engine.close(listener)
        let connect = harness.token()
        let socket = try harness.engine.connect(address, connect)
        #expect(try harness.end(connect) == -ECONNREFUSED)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: kernelEngines)
    func anUnreachableNetworkIsACompletionAndNotAThrow(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        // 255.255.255.255 takes no connection: ENETUNREACH or EACCES, depending on the routes.
        let address = try SocketAddress.resolve(host: "255.255.255.255", port: 9)[0]
        let connect = harness.token()
        let socket = try harness.engine.connect(address, connect)
        #expect(try harness.end(connect) < 0)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aFullBacklogWaitsUntilItIsCancelled(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let plain = try harness.outside.listener(backlog: 0)
        // A backlog of 0 holds one connection; the next handshake is not answered.
        let first = try harness.peer(at: plain.address)
        var waiting: [(Descriptor, Token)] = []
        for _ in 0..<3 {
          let connect = harness.token()
          waiting.append((try harness.engine.connect(plain.address, connect), connect))
        }
        for _ in 0..<10 { harness.turn(within: 10) }
        let (socket, connect) = waiting[2]
        #expect(harness.ending(connect) == nil)
        harness.engine.cancelConnect(socket)
        harness.engine.cancelConnect(socket)
        #expect(try harness.end(connect) == -ECANCELED)
        harness.engine.close(socket)
        for (socket, connect) in waiting[..<2] {
          harness.engine.cancelConnect(socket)
          let ending = try harness.end(connect)
          #expect(ending == -ECANCELED || ending == 0)
          harness.engine.close(socket)
        }
        first.close()
      }
    }

    @Test(arguments: engines)
    func cancellingAConnectThatHasEndedIsNothing(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let connect = harness.token()
        let socket = try harness.engine.connect(harness.address(of: listener), connect)
        #expect(try harness.end(connect) == 0)
        harness.engine.cancelConnect(socket)
        harness.turn(within: 10)
        #expect(harness[connect].terminals == 1)
        harness.engine.close(socket)
        harness.engine.close(listener)
      }
    }

    @Test(arguments: engines)
    func cancellingInTheSameTurnEndsItOnce(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let connect = harness.token()
        let socket = try harness.engine.connect(harness.address(of: listener), connect)
        harness.engine.cancelConnect(socket)
        harness.engine.transcript.mayRace(connect)
        let ending = try harness.end(connect)
        #expect(ending == 0 || ending == -ECANCELED)
        harness.turn(within: 10)
        #expect(harness[connect].terminals == 1)
        harness.engine.close(socket)
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aUnixSocketConnectsAndEachFailureHasItsErrno(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let directory = try harness.outside.directory()
        let path = directory + "/origin"
        let address = try #require(SocketAddress(unixPath: path))
        func connect() throws -> Int32 {
          let connect = harness.token()
          let socket = try harness.engine.connect(address, connect)
          let ending = try harness.end(connect)
          if ending < 0 { harness.engine.close(socket) } else { open.append(socket) }
          return ending
        }
        var open: [Descriptor] = []
        #expect(try connect() == -ENOENT)
        let listener = try harness.engine.listen(address, backlog: 1, reusePort: false)
        #expect(try connect() == 0)
        try harness.send(open[0], "x")
        // A backlog of 1 holds two; then the listener is full and nobody waits for it.
        #expect(try connect() == 0)
        #expect(try connect() == -ECONNREFUSED)
        let accepted = try #require(harness.engine.acceptNow(listener))
        #expect(try connect() == 0)
        harness.engine.close(accepted)
        harness.engine.close(listener)
        harness.turn()
        #expect(try connect() == -ECONNREFUSED)
        for socket in open { harness.engine.close(socket) }
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func noDescriptorLeftIsThrownAsEMFILE(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let address = try SocketAddress.loopback(9)
        try harness.outside.withoutDescriptors {
          do {
            _ = try harness.engine.connect(address, harness.token())
            Issue.record("connected without a descriptor")
          } catch let failure as SystemFailure {
            #expect(failure.code == EMFILE)
          }
        }
        #expect(harness.engine.counters.operationsInFlight == 0)
      }
    }

    @Test(.tags(.failure)) func aUnixPathMayHave107BytesAndNotOneMore() {
      #expect(SocketAddress(unixPath: String(repeating: "p", count: 106)) != nil)
      #expect(SocketAddress(unixPath: String(repeating: "p", count: 107)) != nil)
      #expect(SocketAddress(unixPath: String(repeating: "p", count: 108)) == nil)
      #expect(SocketAddress(unixPath: "") == nil)
    }

    @Test func addressesReadAsPeopleWriteThem() throws {
      let v4 = try SocketAddress.loopback(80)
      #expect(v4.description == "127.0.0.1:80")
      let v6 = try SocketAddress.loopback(65_535, host: "::1")
      #expect(v6.description == "[::1]:65535")
      let mapped = try SocketAddress.loopback(1, host: "::ffff:192.0.2.10")
      #expect(mapped.description == "192.0.2.10:1")
      let unix = try #require(SocketAddress(unixPath: "/run/web.sock"))
      #expect(unix.description == "unix:/run/web.sock")
      #expect(throws: ResolutionFailure.self) {
        try SocketAddress.resolve(host: "no.such.host.invalid", port: 1)
      }
    }
  }
}
