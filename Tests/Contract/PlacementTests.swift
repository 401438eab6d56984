// Where connections come from and where they go to: the caller's address and ports, and the CPU.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Placement {
    @Test(arguments: completeEngines)
    func aConnectionComesFromTheAddressOfTheCallersChoosing(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let origin = ConnectionOrigin(address: try .loopback(host: "127.0.0.9"))
        let connect = stage.token()
        let socket = try stage.engine.connect(
          stage.address(of: listener), from: origin, connect)
        try stage.expect(connect, 0)
        let accepted = try #require(stage.engine.acceptNow(listener))
        let seen = try #require(stage.engine.peerAddress(accepted))
        #expect("\(seen)".hasPrefix("127.0.0.9:") && seen.port != 0)
        #expect(stage.engine.localAddress(socket)?.port == seen.port)
        for descriptor in [socket, accepted, listener] { stage.engine.close(descriptor) }
      }
    }

    @Test(arguments: completeEngines)
    func manyDestinationsShareOneSourcePort(_ kind: EngineKind) throws {
      // With the port bound early this would be EADDRINUSE: the kernel chooses it at connect(2).
      try onStage(kind) { stage in
        let ports: ClosedRange<UInt16> = 41_000...41_001
        let origin = ConnectionOrigin(address: try .loopback(), ports: ports)
        var open: [Descriptor] = []
        for _ in 0..<4 {
          let listener = try stage.listener()
          let connect = stage.token()
          let socket = try stage.engine.connect(
            stage.address(of: listener), from: origin, connect)
          try stage.expect(connect, 0)
          let port = try #require(stage.engine.localAddress(socket)).port
          #expect(ports.contains(port), "\(port)")
          open += [socket, listener]
          while let other = stage.engine.acceptNow(listener) { open.append(other) }
        }
        for descriptor in open {
          stage.engine.resetOnClose(descriptor)
          stage.engine.close(descriptor)
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aRangeThatIsUsedUpIsEADDRNOTAVAIL(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let address = try stage.address(of: listener)
        let origin = ConnectionOrigin(address: try .loopback(), ports: 42_010...42_010)
        func attempt() throws -> (Descriptor?, Int32) {
          let connect = stage.token()
          do {
            let socket = try stage.engine.connect(address, from: origin, connect)
            return (socket, try stage.end(connect))
          } catch let failure as SystemFailure {
            return (nil, -failure.code)
          }
        }
        let (first, ending) = try attempt()
        #expect(ending == 0)
        let (second, refused) = try attempt()
        #expect(refused == -EADDRNOTAVAIL)
        if let second { stage.engine.close(second) }
        if let first {
          stage.engine.resetOnClose(first)
          stage.engine.close(first)
        }
        while let other = stage.engine.acceptNow(listener) { stage.engine.close(other) }
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anAddressThatIsNotOursIsThrownAndLeavesNothing(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        // TEST-NET-1, RFC 5737: never a host's own.
        let foreign = try SocketAddress.resolve(host: "192.0.2.1", port: 0)[0]
        do {
          _ = try stage.engine.connect(
            stage.address(of: listener), from: ConnectionOrigin(address: foreign), stage.token())
          Issue.record("connected from a foreign address")
        } catch let failure as SystemFailure {
          #expect(failure.code == EADDRNOTAVAIL)
        }
        #expect(stage.engine.counters.operationsInFlight == 0)
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aRefusalIsTheSameFromAChosenAddress(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let address = try stage.address(of: listener)
        stage.engine.close(listener)
        stage.turn()
        let connect = stage.token()
        let socket = try stage.engine.connect(
          address, from: ConnectionOrigin(address: try .loopback()), connect)
        try stage.expect(connect, -ECONNREFUSED)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines)
    func aGroupIsPlacedByCPUAndEveryConnectionIsStillAccepted(_ kind: EngineKind) throws {
      try onStage(kind, isComparable: false) { stage in
        let first = try stage.engine.listen(.loopback(), backlog: 64, reusePort: true)
        let address = try stage.address(of: first)
        let second = try stage.engine.listen(address, backlog: 64, reusePort: true)
        #expect(stage.engine.placeByCPU(first, count: 2) == 0)
        let accepts = [first, second].map { listener in
          let token = stage.token()
          stage.engine.accept(listener, token)
          return token
        }
        for _ in 0..<20 { _ = try stage.peer(at: address) }
        try stage.turn(until: { accepts.reduce(0) { $0 + stage[$1].results.count } == 20 })
        for (listener, accept) in zip([first, second], accepts) {
          for socket in stage[accept].results {
            stage.engine.close(Descriptor(rawValue: socket))
          }
          try endAccept(stage, listener, accept)
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aListenerThatSharesNothingCannotBePlaced(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        #expect(stage.engine.placeByCPU(listener, count: 2) == -EINVAL)
        #expect(stage.engine.placeByCPU(Descriptor(rawValue: 60_000), count: 2) == -EBADF)
        #expect(stage.engine.preferCPU(Descriptor(rawValue: 60_000), cpu: 0) == -EBADF)
        stage.showedFailure = true
        stage.engine.close(listener)
      }
    }

    @Test(arguments: completeEngines)
    func theCPUOfAConnectionIsOneOfTheMachines(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        peer.send("a packet")
        let receive = stage.token()
        stage.engine.receive(socket, .once, receive)
        try stage.end(receive)
        let cpu = try #require(stage.engine.incomingCPU(socket))
        #expect(cpu >= 0 && cpu < 4096)
        #expect(stage.engine.incomingQueue(socket) == nil, "loopback has no queue")
        stage.engine.close(socket)
        let listener = try stage.engine.listen(.loopback(), backlog: 1, reusePort: true)
        #expect(stage.engine.preferCPU(listener, cpu: 0) == 0)
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func whatIsNotOpenHasNoCPUAndNoQueue(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let none = Descriptor(rawValue: 60_000)
        #expect(stage.engine.incomingCPU(none) == nil)
        #expect(stage.engine.incomingQueue(none) == nil)
        #expect(stage.engine.peerAddress(none) == nil && stage.engine.localAddress(none) == nil)
        stage.showedFailure = true
      }
    }
  }
}
