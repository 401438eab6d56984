// Direct slots, and the single accept that fills one: numbers that are known before anything is
// open in them, limited, counted, and given back.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Direct {
    /// In the kernel's table, and kept by the engine.
    static let ways: [EngineFeatures] = [
      Stage.features, Stage.features.subtracting(.directDescriptors),
    ]

    private static func options(_ features: EngineFeatures, slots: Int = 8) -> EngineOptions {
      var options = Stage.options
      options.features = features
      options.directDescriptors = slots
      return options
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func slotsAreAsManyAsTheLimitAndOneMoreIsNilAndCounted(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way, slots: 3)) { stage in
        var slots: [Descriptor] = []
        for taken in 1...3 {
          slots.append(try #require(stage.engine.takeSlot()))
          #expect(stage.engine.counters.directDescriptorsInUse == taken)
          #expect(stage.engine.counters.slotRefusals == 0)
        }
        #expect(Set(slots.map(\.rawValue)).count == 3)
        #expect(slots.allSatisfy { $0.isDirect && $0.isValid })
        #expect(stage.engine.takeSlot() == nil)
        #expect(stage.engine.takeSlot() == nil)
        #expect(stage.engine.counters.slotRefusals == 2)
        stage.engine.returnSlot(slots[1])
        let again = stage.engine.takeSlot()
        #expect(again == slots[1])
        for slot in slots { stage.engine.returnSlot(slot) }
        #expect(stage.engine.counters.directDescriptorsInUse == 0)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anEngineWithoutSlotsHasNone(_ kind: EngineKind) throws {
      try onStage(kind, Self.options(Stage.features, slots: 0)) { stage in
        #expect(stage.engine.takeSlot() == nil)
        #expect(stage.engine.counters.slotRefusals == 1)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aConnectionInASlotCarriesBytesBothWays(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (slot, peer) = try acceptedIntoASlot(stage)
        #expect(stage.engine.peerAddress(slot) == nil && stage.engine.localAddress(slot) == nil)
        let receive = stage.token()
        stage.engine.receive(slot, .stream, receive)
        peer.send("question")
        try stage.turn(until: { stage[receive].bytes == Array("question".utf8) })
        #expect(try stage.send(slot, "answer") == 6)
        #expect(try stage.received(by: peer, 6) == Array("answer".utf8))
        peer.finishSending()
        try stage.expect(receive, 0)
        stage.engine.close(slot)
        #expect(try stage.endSeen(by: peer) == 0)
        #expect(stage.engine.counters.directDescriptorsInUse == 0)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aWholeExchangeInOneChainNeedsNoNumber(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let listener = try stage.listener()
        let slot = try #require(stage.engine.takeSlot())
        let steps = (0..<5).map { _ in stage.token() }
        let frame = try stage.frame("pong")
        stage.engine.beginChain()
        stage.engine.acceptOne(listener, into: slot, steps[0])
        stage.engine.receive(slot, .once, steps[1])
        stage.engine.send(slot, frame, .awaited, steps[2])
        stage.engine.shutdown(slot, .send, steps[3])
        stage.engine.close(slot, steps[4])
        stage.engine.endChain()
        stage.turn(within: 5)
        let peer = try stage.peer(to: listener)
        peer.send("ping")
        try stage.expect(steps[4], 0)
        #expect(stage.ending(steps[0]) == 0 && stage[steps[1]].bytes == Array("ping".utf8))
        #expect(stage.ending(steps[2]) == 4 && stage.ending(steps[3]) == 0)
        #expect(try stage.received(by: peer, 4) == Array("pong".utf8))
        #expect(try stage.endSeen(by: peer) == 0)
        #expect(stage.engine.counters.directDescriptorsInUse == 0)
        stage.engine.close(listener)
      }
    }

    /// The simulated engine put the next connection into the slot of the accept before.
    @Test(.tags(.failure), arguments: completeEngines, ways)
    func theSlotOfAnAcceptThatHasEndedIsNoneOfTheNextAccepts(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let listener = try stage.listener()
        let (cancelled, filled) = (
          try #require(stage.engine.takeSlot()), try #require(stage.engine.takeSlot())
        )
        let never = stage.token()
        stage.engine.acceptOne(listener, into: cancelled, never)
        stage.turn(within: 2)
        stage.engine.cancel(never)
        try stage.expect(never, -ECANCELED)
        let one = stage.token()
        stage.engine.acceptOne(listener, into: filled, one)
        let first = try stage.peer(to: listener)
        try stage.expect(one, 0)
        let all = stage.token()
        stage.engine.accept(listener, all)
        let second = try stage.peer(to: listener)
        try stage.turn(until: { !stage[all].results.isEmpty }, "the second connection")
        let socket = Descriptor(rawValue: stage[all].results[0])
        #expect(socket.isValid && !socket.isDirect)
        stage.engine.stopAccepting(listener)
        try stage.expect(all, -ECANCELED)
        for (descriptor, peer) in [(filled, first), (socket, second)] {
          let receive = stage.token()
          stage.engine.receive(descriptor, .once, receive)
          peer.send("hello")
          try stage.expect(receive, 5)
          stage.engine.close(descriptor)
        }
        stage.engine.returnSlot(cancelled)
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func anExchangeThatBreaksLeavesTheSlotToTheCaller(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let listener = try stage.listener()
        let slot = try #require(stage.engine.takeSlot())
        let steps = (0..<4).map { _ in stage.token() }
        let frame = try stage.frame("never")
        stage.engine.beginChain()
        stage.engine.acceptOne(listener, into: slot, steps[0])
        stage.engine.receive(slot, .once, steps[1])
        stage.engine.send(slot, frame, .awaited, steps[2])
        stage.engine.close(slot, steps[3])
        stage.engine.endChain()
        let peer = try stage.peer(to: listener)
        try stage.expect(steps[0], 0)
        stage.turn(within: 5)
        peer.reset()
        try stage.expect(steps[1], -ECONNRESET)
        try stage.expect(steps[2], -ECANCELED)
        try stage.expect(steps[3], -ECANCELED)
        #expect(stage.engine.counters.directDescriptorsInUse == 1)
        stage.engine.close(slot)
        #expect(stage.engine.counters.directDescriptorsInUse == 0)
        stage.engine.close(listener)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aFileIsOpenedWrittenMadeDurableAndClosedInOneChain(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let path = try stage.outside.directory() + "/chained"
        let slot = try #require(stage.engine.takeSlot())
        let steps = (0..<4).map { _ in stage.token() }
        chain(stage) {
          stage.engine.open(path, flags: O_RDWR | O_CREAT, mode: 0o600, into: slot, steps[0])
          stage.engine.write(
            slot, from: filled(3000), count: 3000, offset: 0, durable: false, steps[1])
          stage.engine.synchronize(slot, dataOnly: false, steps[2])
          stage.engine.close(slot, steps[3])
        }
        try stage.expect(steps[3], 0)
        #expect(steps.map { stage.ending($0) } == [0, 3000, 0, 0])
        _ = try stage.fileBuffer(steps[1])
        #expect(stage.outside.content(of: path) == pattern(3000))
        #expect(stage.engine.counters.directDescriptorsInUse == 0)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aFileThatIsNotThereLeavesTheSlotEmpty(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let path = try stage.outside.directory() + "/no/such/file"
        let slot = try #require(stage.engine.takeSlot())
        let (open, read, close) = (stage.token(), stage.token(), stage.token())
        chain(stage) {
          stage.engine.open(path, flags: O_RDONLY, mode: 0, into: slot, open)
          stage.engine.read(slot, into: FileBuffer(capacity: 8), count: 8, offset: 0, read)
          stage.engine.close(slot, close)
        }
        try stage.expect(open, -ENOENT)
        try stage.expect(read, -ECANCELED)
        try stage.expect(close, -ECANCELED)
        _ = try stage.fileBuffer(read)
        stage.engine.returnSlot(slot)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func anEmptySlotIsEBADF(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let slot = try #require(stage.engine.takeSlot())
        let (read, sync) = (stage.token(), stage.token())
        stage.engine.read(slot, into: FileBuffer(capacity: 8), count: 8, offset: 0, read)
        try stage.expect(read, -EBADF)
        _ = try stage.fileBuffer(read)
        stage.engine.synchronize(slot, dataOnly: true, sync)
        try stage.expect(sync, -EBADF)
        stage.engine.returnSlot(slot)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aSlotIsUsedAgainManyTimes(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way, slots: 2)) { stage in
        let path = try stage.outside.directory() + "/again"
        for round in 0..<60 {
          let slot = try #require(stage.engine.takeSlot())
          let opened = try stage.ending {
            stage.engine.open(path, flags: O_RDWR | O_CREAT, mode: 0o600, into: slot, $0)
          }
          #expect(opened == 0)
          #expect(try stage.write(slot, [UInt8(round)], at: 0) == 1)
          #expect(try stage.read(slot, 10, at: 0) == [UInt8(round)])
          if round % 2 == 0 {
            stage.engine.close(slot)
          } else {
            try stage.expect(0) { stage.engine.close(slot, $0) }
          }
        }
        #expect(stage.engine.counters.slotRefusals == 0)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aResetReachesASlot(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (slot, peer) = try acceptedIntoASlot(stage)
        let receive = stage.token()
        stage.engine.receive(slot, .stream, receive)
        stage.turn(within: 2)
        peer.reset()
        try stage.expect(receive, -ECONNRESET)
        stage.engine.close(slot)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aSlotIsShutDownByAnOperation(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (slot, peer) = try acceptedIntoASlot(stage)
        let (receive, send) = (stage.token(), stage.token())
        stage.engine.receive(slot, .stream, receive)
        stage.engine.send(slot, try coldFrame(stage, pattern(8 << 20)), .quiet, send)
        for _ in 0..<3 { stage.turn(within: 3) }
        try stage.expect(0) { stage.engine.shutdown(slot, .both, $0) }
        try stage.expect(receive, 0)
        try stage.expect(send, -EPIPE)
        stage.engine.close(slot)
        _ = peer
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func everythingOnASlotIsCancelled(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (slot, _) = try acceptedIntoASlot(stage)
        let receive = stage.token()
        stage.engine.receive(slot, .stream, receive)
        stage.turn(within: 2)
        stage.engine.cancelAll(slot)
        try stage.expect(receive, -ECANCELED)
        stage.engine.close(slot)
      }
    }

    // MARK: The single accept

    @Test(arguments: completeEngines)
    func aSingleAcceptTakesOneConnectionAndLeavesTheRest(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let peers = try (0..<3).map { _ in try stage.peer(to: listener) }
        for _ in 0..<3 { stage.turn(within: 2) }
        var sockets: [Descriptor] = []
        for taken in 1...3 {
          let accept = stage.token()
          stage.engine.acceptOne(listener, into: nil, accept)
          let socket = try stage.end(accept)
          #expect(socket > 0 && stage[accept].results.count == 1)
          sockets.append(Descriptor(rawValue: socket))
          #expect(Set(sockets.map(\.rawValue)).count == taken)
        }
        for socket in sockets {
          try stage.send(socket, "hello")
          stage.engine.close(socket)
        }
        for peer in peers { #expect(try stage.received(by: peer, 5).count == 5) }
        stage.engine.close(listener)
      }
    }

    @Test(arguments: completeEngines)
    func aSingleAcceptWaitsForItsConnection(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let accept = stage.token()
        stage.engine.acceptOne(listener, into: nil, accept)
        for _ in 0..<3 { stage.turn(within: 2) }
        #expect(stage.ending(accept) == nil)
        _ = try stage.peer(to: listener)
        let socket = Descriptor(rawValue: try stage.end(accept))
        #expect(stage.engine.peerAddress(socket) != nil)
        stage.engine.close(socket)
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [false, true])
    func aSingleAcceptIsStopped(_ kind: EngineKind, _ isDirect: Bool) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let slot = isDirect ? stage.engine.takeSlot() : nil
        let accept = stage.token()
        stage.engine.acceptOne(listener, into: slot, accept)
        stage.turn(within: 2)
        stage.engine.stopAccepting(listener)
        try stage.expect(accept, -ECANCELED)
        if let slot { stage.engine.returnSlot(slot) }
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aSingleAcceptIsCancelledByItsToken(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let accept = stage.token()
        stage.engine.acceptOne(listener, into: nil, accept)
        stage.turn(within: 2)
        stage.engine.cancel(accept)
        try stage.expect(accept, -ECANCELED)
        // The connection of later is not lost.
        let peer = try stage.peer(to: listener)
        let next = stage.token()
        stage.engine.acceptOne(listener, into: nil, next)
        let socket = Descriptor(rawValue: try stage.end(next))
        try stage.send(socket, "hi")
        #expect(try stage.received(by: peer, 2).count == 2)
        stage.engine.close(socket)
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func noDescriptorLeftEndsTheSingleAcceptWithEMFILE(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let peer = try stage.peer(to: listener)
        try stage.outside.withoutDescriptors {
          try stage.expect(-EMFILE) { stage.engine.acceptOne(listener, into: nil, $0) }
        }
        let socket = Descriptor(
          rawValue: try stage.ending { stage.engine.acceptOne(listener, into: nil, $0) })
        try stage.send(socket, "still here")
        #expect(try stage.received(by: peer, 10).count == 10)
        stage.engine.close(socket)
        stage.engine.close(listener)
      }
    }
  }
}

/// A connection in a slot and its other end; the listener is gone.
private func acceptedIntoASlot(_ stage: Stage) throws -> (slot: Descriptor, peer: any Peer) {
  let listener = try stage.listener()
  let peer = try stage.peer(to: listener)
  let slot = try #require(stage.engine.takeSlot())
  let accepted = try stage.ending { stage.engine.acceptOne(listener, into: slot, $0) }
  #expect(accepted == 0)
  stage.engine.close(listener)
  return (slot, peer)
}
