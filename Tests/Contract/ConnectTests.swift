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
      try onStage(kind) { stage in
        let address = try SocketAddress.loopback(host: host)
        let listener = try stage.engine.listen(address, backlog: 8, reusePort: false)
        let connect = stage.token()
        let socket = try stage.engine.connect(stage.address(of: listener), connect)
        #expect(socket.isValid)
        #expect(stage.ending(connect) == nil)
        #expect(try stage.end(connect) == 0)
        let other = try #require(stage.engine.acceptNow(listener))
        let receive = stage.token()
        stage.engine.receive(other, .stream, receive)
        try stage.send(socket, "over there")
        try stage.turn(until: { stage[receive].bytes == Array("over there".utf8) })
        try stage.close(other, joining: receive)
        stage.engine.close(socket)
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aClosedPortIsECONNREFUSED(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let address = try stage.address(of: listener)
        stage.engine.close(listener)
        let connect = stage.token()
        let socket = try stage.engine.connect(address, connect)
        #expect(try stage.end(connect) == -ECONNREFUSED)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: kernelEngines)
    func anUnreachableNetworkIsACompletionAndNotAThrow(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        // 255.255.255.255 takes no connection: ENETUNREACH or EACCES, depending on the routes.
        let address = try SocketAddress.resolve(host: "255.255.255.255", port: 9)[0]
        let connect = stage.token()
        let socket = try stage.engine.connect(address, connect)
        #expect(try stage.end(connect) < 0)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aFullBacklogWaitsUntilItIsCancelled(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let plain = try stage.outside.listener(backlog: 0)
        // A backlog of 0 holds one connection; the next handshake is not answered.
        let first = try stage.peer(at: plain.address)
        var waiting: [(Descriptor, Token)] = []
        for _ in 0..<3 {
          let connect = stage.token()
          waiting.append((try stage.engine.connect(plain.address, connect), connect))
        }
        for _ in 0..<10 { stage.turn(within: 10) }
        let (socket, connect) = waiting[2]
        #expect(stage.ending(connect) == nil)
        stage.engine.cancelConnect(socket)
        stage.engine.cancelConnect(socket)
        #expect(try stage.end(connect) == -ECANCELED)
        stage.engine.close(socket)
        for (socket, connect) in waiting[..<2] {
          stage.engine.cancelConnect(socket)
          let ending = try stage.end(connect)
          #expect(ending == -ECANCELED || ending == 0)
          stage.engine.close(socket)
        }
        first.close()
      }
    }

    @Test(arguments: engines)
    func cancellingAConnectThatHasEndedIsNothing(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let connect = stage.token()
        let socket = try stage.engine.connect(stage.address(of: listener), connect)
        #expect(try stage.end(connect) == 0)
        stage.engine.cancelConnect(socket)
        stage.turn(within: 10)
        #expect(stage[connect].terminals == 1)
        stage.engine.close(socket)
        stage.engine.close(listener)
      }
    }

    @Test(arguments: engines)
    func cancellingInTheSameTurnEndsItOnce(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let connect = stage.token()
        let socket = try stage.engine.connect(stage.address(of: listener), connect)
        stage.engine.cancelConnect(socket)
        stage.engine.transcript.mayRace(connect)
        let ending = try stage.end(connect)
        #expect(ending == 0 || ending == -ECANCELED)
        stage.turn(within: 10)
        #expect(stage[connect].terminals == 1)
        stage.engine.close(socket)
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aUnixSocketConnectsAndEachFailureHasItsErrno(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let directory = try stage.outside.directory()
        let path = directory + "/origin"
        let address = try #require(SocketAddress(unixPath: path))
        func connect() throws -> Int32 {
          let connect = stage.token()
          let socket = try stage.engine.connect(address, connect)
          let ending = try stage.end(connect)
          if ending < 0 { stage.engine.close(socket) } else { open.append(socket) }
          return ending
        }
        var open: [Descriptor] = []
        #expect(try connect() == -ENOENT)
        let listener = try stage.engine.listen(address, backlog: 1, reusePort: false)
        #expect(try connect() == 0)
        try stage.send(open[0], "x")
        // A backlog of 1 holds two; then the listener is full and nobody waits for it.
        #expect(try connect() == 0)
        #expect(try connect() == -ECONNREFUSED)
        let accepted = try #require(stage.engine.acceptNow(listener))
        #expect(try connect() == 0)
        stage.engine.close(accepted)
        stage.engine.close(listener)
        stage.turn()
        #expect(try connect() == -ECONNREFUSED)
        for socket in open { stage.engine.close(socket) }
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func noDescriptorLeftIsThrownAsEMFILE(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let address = try SocketAddress.loopback(9)
        try stage.outside.withoutDescriptors {
          do {
            _ = try stage.engine.connect(address, stage.token())
            Issue.record("connected without a descriptor")
          } catch let failure as SystemFailure {
            #expect(failure.code == EMFILE)
          }
        }
        #expect(stage.engine.counters.operationsInFlight == 0)
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
