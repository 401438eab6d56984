// A peer that has reset a connection of which nothing is read.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Gone {
    @Test(.tags(.failure), arguments: engines)
    func aResetIsSeenWithoutAReceiveAndStillReported(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        #expect(!stage.engine.isBroken(socket))
        peer.send("not read")
        stage.turn(within: 10)
        #expect(!stage.engine.isBroken(socket))
        peer.reset()
        try stage.turn(until: { stage.engine.isBroken(socket) })
        // Asking takes nothing away.
        #expect(stage.engine.isBroken(socket))
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        #expect(try stage.end(receive) == -ECONNRESET)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func anEndIsNoReset(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        peer.finishSending()
        stage.turn(within: 10)
        #expect(!stage.engine.isBroken(socket))
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func anAcceptedConnectionThatWasResetHasItsAddressOrNone(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let peer = try stage.peer(to: listener)
        peer.send("x")
        peer.reset()
        stage.turn(within: 10)
        let accept = stage.token()
        stage.engine.accept(listener, accept)
        try stage.turn(until: { stage[accept].results.count == 1 })
        let socket = Descriptor(rawValue: stage[accept].results[0])
        let address = stage.engine.peerAddress(socket)
        if kind == .epoll { #expect(address != nil) }
        stage.engine.stopAccepting(listener)
        #expect(try stage.end(accept) == -ECANCELED)
        stage.engine.close(socket)
        stage.engine.close(listener)
      }
    }
  }
}
