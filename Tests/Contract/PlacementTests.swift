// Where connections come from and where they go to: the caller's address and ports, and the CPU.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Placement {
    @Test(arguments: completeEngines)
    func aConnectionComesFromTheAddressOfTheCallersChoosing(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let origin = ConnectionOrigin(address: try .loopback(host: "127.0.0.9"))
        let connect = harness.token()
        let socket = try harness.engine.connect(
          harness.address(of: listener), from: origin, connect)
        try harness.expect(connect, 0)
        let accepted = try #require(harness.engine.acceptNow(listener))
        let seen = try #require(harness.engine.peerAddress(accepted))
        #expect("\(seen)".hasPrefix("127.0.0.9:") && seen.port != 0)
        #expect(harness.engine.localAddress(socket)?.port == seen.port)
        for descriptor in [socket, accepted, listener] { harness.engine.close(descriptor) }
      }
    }

    @Test(arguments: completeEngines)
    func manyDestinationsShareOneSourcePort(_ kind: EngineKind) throws {
      // With the port bound early this would be EADDRINUSE: the kernel chooses it at connect(2).
      try withHarness(kind) { harness in
        let ports = try unusedPorts(2)
        let origin = ConnectionOrigin(address: try .loopback(), ports: ports)
        var open: [Descriptor] = []
        for _ in 0..<4 {
          let listener = try harness.listener()
          let connect = harness.token()
          let socket = try harness.engine.connect(
            harness.address(of: listener), from: origin, connect)
          try harness.expect(connect, 0)
          let port = try #require(harness.engine.localAddress(socket)).port
          #expect(ports.contains(port), "\(port)")
          open += [socket, listener]
          while let other = harness.engine.acceptNow(listener) { open.append(other) }
        }
        for descriptor in open {
          harness.engine.resetOnClose(descriptor)
          harness.engine.close(descriptor)
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aRangeThatIsUsedUpIsEADDRNOTAVAIL(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let address = try harness.address(of: listener)
        let origin = ConnectionOrigin(address: try .loopback(), ports: try unusedPorts(1))
        func attempt() throws -> (Descriptor?, Int32) {
          let connect = harness.token()
          do {
            let socket = try harness.engine.connect(address, from: origin, connect)
            return (socket, try harness.end(connect))
          } catch let failure as SystemFailure {
            return (nil, -failure.code)
          }
        }
        let (first, ending) = try attempt()
        #expect(ending == 0)
        let (second, refused) = try attempt()
        #expect(refused == -EADDRNOTAVAIL)
        if let second { harness.engine.close(second) }
        if let first {
          harness.engine.resetOnClose(first)
          harness.engine.close(first)
        }
        while let other = harness.engine.acceptNow(listener) { harness.engine.close(other) }
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anAddressThatIsNotOursIsThrownAndLeavesNothing(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        // TEST-NET-1, RFC 5737: never a host's own.
        let foreign = try SocketAddress.resolve(host: "192.0.2.1", port: 0)[0]
        do {
          _ = try harness.engine.connect(
            harness.address(of: listener), from: ConnectionOrigin(address: foreign), harness.token()
          )
          Issue.record("connected from a foreign address")
        } catch let failure as SystemFailure {
          #expect(failure.code == EADDRNOTAVAIL)
        }
        #expect(harness.engine.counters.operationsInFlight == 0)
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aRefusalIsTheSameFromAChosenAddress(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let address = try harness.address(of: listener)
        harness.engine.close(listener)
        harness.turn()
        let connect = harness.token()
        let socket = try harness.engine.connect(
          address, from: ConnectionOrigin(address: try .loopback()), connect)
        try harness.expect(connect, -ECONNREFUSED)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines)
    func aGroupIsPlacedByCPUAndEveryConnectionIsStillAccepted(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { harness in
        let first = try harness.engine.listen(.loopback(), backlog: 64, reusePort: true)
        let address = try harness.address(of: first)
        let second = try harness.engine.listen(address, backlog: 64, reusePort: true)
        #expect(harness.engine.placeByCPU(first, count: 2) == 0)
        let accepts = [first, second].map { listener in
          let token = harness.token()
          harness.engine.accept(listener, token)
          return token
        }
        for _ in 0..<20 { _ = try harness.peer(at: address) }
        try harness.turn(until: { accepts.reduce(0) { $0 + harness[$1].results.count } == 20 })
        for (listener, accept) in zip([first, second], accepts) {
          for socket in harness[accept].results {
            harness.engine.close(Descriptor(rawValue: socket))
          }
          try endAccept(harness, listener, accept)
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aListenerThatSharesNothingCannotBePlaced(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        #expect(harness.engine.placeByCPU(listener, count: 2) == -EINVAL)
        #expect(harness.engine.placeByCPU(Descriptor(rawValue: 60_000), count: 2) == -EBADF)
        #expect(harness.engine.preferCPU(Descriptor(rawValue: 60_000), cpu: 0) == -EBADF)
        harness.showedFailure = true
        harness.engine.close(listener)
      }
    }

    @Test(arguments: completeEngines)
    func theCPUOfAConnectionIsOneOfTheMachines(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        peer.send("a packet")
        let receive = harness.token()
        harness.engine.receive(socket, .once, receive)
        try harness.end(receive)
        let cpu = try #require(harness.engine.incomingCPU(socket))
        #expect(cpu >= 0 && cpu < 4096)
        #expect(harness.engine.incomingQueue(socket) == nil, "loopback has no queue")
        harness.engine.close(socket)
        let listener = try harness.engine.listen(.loopback(), backlog: 1, reusePort: true)
        #expect(harness.engine.preferCPU(listener, cpu: 0) == 0)
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func whatIsNotOpenHasNoCPUAndNoQueue(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let none = Descriptor(rawValue: 60_000)
        #expect(harness.engine.incomingCPU(none) == nil)
        #expect(harness.engine.incomingQueue(none) == nil)
        #expect(harness.engine.peerAddress(none) == nil && harness.engine.localAddress(none) == nil)
        harness.showedFailure = true
      }
    }
  }
}

/// Ports in a row that no socket has. A fixed choice would now and then be a port that a listener of another test
/// still holds, if only for the connections of its own that are in TIME-WAIT: connect(2) takes none of those.
private func unusedPorts(_ count: UInt16) throws -> ClosedRange<UInt16> {
  let first = try #require(
    stride(from: UInt16(41_000), to: 60_000, by: Int(count)).first { first in
      (first..<first + count).allSatisfy(isUnused)
    })
  return first...first + count - 1
}

private func isUnused(_ port: UInt16) -> Bool {
  let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(socket) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = port.bigEndian
  return withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
    }
  }
}
