// The end of a connection: shut down, join both directions, close; and the number's next life.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Closing {
    @Test(.tags(.failure), arguments: engines)
    func aShutdownEndsBothDirectionsAndThenCloseIsAllowed(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        let send = harness.token()
        harness.engine.receive(socket, .stream, receive)
        harness.engine.send(socket, try coldFrame(harness, pattern(8 << 20)), .quiet, send)
        for _ in 0..<3 { harness.turn(within: 5) }
        harness.engine.shutdown(socket, .both)
        #expect(try harness.end(receive) == 0)
        #expect(try harness.end(send) == -EPIPE)
        harness.engine.close(socket)
        harness.turn()
        _ = peer
      }
    }

    @Test(arguments: engines)
    func aHalfCloseStillReceives(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        try harness.send(socket, "request")
        harness.engine.shutdown(socket, .send)
        #expect(try harness.received(by: peer, 7) == Array("request".utf8))
        #expect(try harness.endSeen(by: peer) == 0)
        peer.send("answer")
        peer.finishSending()
        #expect(try harness.end(receive) == 0)
        #expect(harness[receive].bytes == Array("answer".utf8))
        harness.engine.close(socket)
      }
    }

    @Test(arguments: engines)
    func aClosedSocketIsAnEndOfStreamToThePeer(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        harness.engine.close(socket)
        #expect(try harness.endSeen(by: peer) == 0)
      }
    }

    @Test(arguments: engines)
    func resetOnCloseIsAResetToThePeer(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        try harness.send(socket, "half an ans")
        #expect(try harness.received(by: peer, 11).count == 11)
        harness.engine.resetOnClose(socket)
        harness.engine.close(socket)
        #expect(try harness.endSeen(by: peer) == ECONNRESET)
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aNumberThatIsUsedAgainHasNothingOfItsFormerOwner(_ kind: EngineKind) throws {
      // Whether the bytes of an odd round arrive before the stop is a race.
      try withHarness(kind, isComparable: false) { harness in
        let listener = try harness.listener()
        var numbers: [Int32] = []
        for round in 0..<50 {
          let peer = try harness.peer(to: listener)
          var accepted: Descriptor?
          try harness.turn(until: {
            accepted = accepted ?? harness.engine.acceptNow(listener)
            return accepted != nil
          })
          let socket = accepted!
          numbers.append(socket.rawValue)
          let receive = harness.token()
          harness.engine.receive(socket, .stream, receive)
          peer.send("round \(round)")
          // An odd round leaves an edge and bytes behind that nobody took.
          if round % 2 == 0 {
            try harness.turn(until: { harness[receive].bytes == Array("round \(round)".utf8) })
          }
          harness.engine.stopReceiving(socket)
          #expect(try harness.end(receive) == -ECANCELED)
          peer.send("too late")
          harness.engine.close(socket)
          peer.close()
          harness.turn()
        }
        #expect(Set(numbers).count < numbers.count, "no number was used again")
        harness.engine.close(listener)
      }
    }

    @Test(arguments: kernelEngines)
    func closesThatWaitForATurnHappenWhenTheEngineEnds(_ kind: EngineKind) throws {
      let before = openDescriptors()
      do {
        let harness = try Harness(kind)
        let (socket, peer) = try harness.connection()
        harness.turn()
        harness.engine.close(socket)
        peer.close()
      }
      // The ring itself is closed by the kernel a little later.
      var after = openDescriptors()
      for _ in 0..<100 where after > before {
        usleep(10_000)
        after = openDescriptors()
      }
      #expect(after == before)
    }

    @Test(arguments: kernelEngines)
    func anEngineThatEndsGivesItsMemoryAndDescriptorsBack(_ kind: EngineKind) throws {
      let before = openDescriptors()
      for _ in 0..<20 {
        let harness = try Harness(kind)
        harness.turn()
      }
      var after = openDescriptors()
      for _ in 0..<100 where after > before {
        usleep(10_000)
        after = openDescriptors()
      }
      #expect(after == before)
    }
  }
}

func openDescriptors() -> Int {
  guard let stream = opendir("/proc/self/fd") else { return -1 }
  defer { closedir(stream) }
  var count = 0
  while readdir(stream) != nil { count += 1 }
  return count
}
