// A peer that has reset a connection of which nothing is read.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Gone {
    @Test(.tags(.failure), arguments: engines)
    func aResetIsSeenWithoutAReceiveAndStillReported(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        #expect(!harness.engine.isBroken(socket))
        peer.send("not read")
        harness.turn(within: 10)
        #expect(!harness.engine.isBroken(socket))
        peer.reset()
        try harness.turn(until: { harness.engine.isBroken(socket) })
        // Asking takes nothing away.
        #expect(harness.engine.isBroken(socket))
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        #expect(try harness.end(receive) == -ECONNRESET)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func anEndIsNoReset(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        peer.finishSending()
        harness.turn(within: 10)
        #expect(!harness.engine.isBroken(socket))
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func anAcceptedConnectionThatWasResetHasItsAddressOrNone(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let peer = try harness.peer(to: listener)
        peer.send("x")
        peer.reset()
        harness.turn(within: 10)
        let accept = harness.token()
        harness.engine.accept(listener, accept)
        try harness.turn(until: { harness[accept].results.count == 1 })
        let socket = Descriptor(rawValue: harness[accept].results[0])
        let address = harness.engine.peerAddress(socket)
        if kind == .epoll { #expect(address != nil) }
        harness.engine.stopAccepting(listener)
        #expect(try harness.end(accept) == -ECANCELED)
        harness.engine.close(socket)
        harness.engine.close(listener)
      }
    }
  }
}
