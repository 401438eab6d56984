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
      Harness.features, Harness.features.subtracting(.directDescriptors),
    ]

    private static func options(_ features: EngineFeatures, slots: Int = 8) -> EngineOptions {
      var options = Harness.options
      options.features = features
      options.directDescriptors = slots
      return options
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func slotsAreAsManyAsTheLimitAndOneMoreIsNilAndCounted(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way, slots: 3)) { harness in
        var slots: [Descriptor] = []
        for taken in 1...3 {
          slots.append(try #require(harness.engine.takeSlot()))
          #expect(harness.engine.counters.directDescriptorsInUse == taken)
          #expect(harness.engine.counters.slotRefusals == 0)
        }
        #expect(Set(slots.map(\.rawValue)).count == 3)
        #expect(slots.allSatisfy { $0.isDirect && $0.isValid })
        #expect(harness.engine.takeSlot() == nil)
        #expect(harness.engine.takeSlot() == nil)
        #expect(harness.engine.counters.slotRefusals == 2)
        harness.engine.returnSlot(slots[1])
        let again = harness.engine.takeSlot()
        #expect(again == slots[1])
        for slot in slots { harness.engine.returnSlot(slot) }
        #expect(harness.engine.counters.directDescriptorsInUse == 0)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anEngineWithoutSlotsHasNone(_ kind: EngineKind) throws {
      try withHarness(kind, Self.options(Harness.features, slots: 0)) { harness in
        #expect(harness.engine.takeSlot() == nil)
        #expect(harness.engine.counters.slotRefusals == 1)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aConnectionInASlotCarriesBytesBothWays(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (slot, peer) = try acceptedIntoASlot(harness)
        #expect(harness.engine.peerAddress(slot) == nil && harness.engine.localAddress(slot) == nil)
        let receive = harness.token()
        harness.engine.receive(slot, .stream, receive)
        peer.send("question")
        try harness.turn(until: { harness[receive].bytes == Array("question".utf8) })
        #expect(try harness.send(slot, "answer") == 6)
        #expect(try harness.received(by: peer, 6) == Array("answer".utf8))
        peer.finishSending()
        try harness.expect(receive, 0)
        harness.engine.close(slot)
        #expect(try harness.endSeen(by: peer) == 0)
        #expect(harness.engine.counters.directDescriptorsInUse == 0)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aWholeExchangeInOneChainNeedsNoNumber(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let listener = try harness.listener()
        let slot = try #require(harness.engine.takeSlot())
        let steps = (0..<5).map { _ in harness.token() }
        let frame = try harness.frame("pong")
        harness.engine.beginChain()
        harness.engine.acceptOne(listener, into: slot, steps[0])
        harness.engine.receive(slot, .once, steps[1])
        harness.engine.send(slot, frame, .awaited, steps[2])
        harness.engine.shutdown(slot, .send, steps[3])
        harness.engine.close(slot, steps[4])
        harness.engine.endChain()
        harness.turn(within: 5)
        let peer = try harness.peer(to: listener)
        peer.send("ping")
        try harness.expect(steps[4], 0)
        #expect(harness.ending(steps[0]) == 0 && harness[steps[1]].bytes == Array("ping".utf8))
        #expect(harness.ending(steps[2]) == 4 && harness.ending(steps[3]) == 0)
        #expect(try harness.received(by: peer, 4) == Array("pong".utf8))
        #expect(try harness.endSeen(by: peer) == 0)
        #expect(harness.engine.counters.directDescriptorsInUse == 0)
        harness.engine.close(listener)
      }
    }

    /// The simulated engine put the next connection into the slot of the accept before.
    @Test(.tags(.failure), arguments: completeEngines, ways)
    func theSlotOfAnAcceptThatHasEndedIsNoneOfTheNextAccepts(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let listener = try harness.listener()
        let (cancelled, filled) = (
          try #require(harness.engine.takeSlot()), try #require(harness.engine.takeSlot())
        )
        let never = harness.token()
        harness.engine.acceptOne(listener, into: cancelled, never)
        harness.turn(within: 2)
        harness.engine.cancel(never)
        try harness.expect(never, -ECANCELED)
        let one = harness.token()
        harness.engine.acceptOne(listener, into: filled, one)
        let first = try harness.peer(to: listener)
        try harness.expect(one, 0)
        let all = harness.token()
        harness.engine.accept(listener, all)
        let second = try harness.peer(to: listener)
        try harness.turn(until: { !harness[all].results.isEmpty }, "the second connection")
        let socket = Descriptor(rawValue: harness[all].results[0])
        #expect(socket.isValid && !socket.isDirect)
        harness.engine.stopAccepting(listener)
        try harness.expect(all, -ECANCELED)
        for (descriptor, peer) in [(filled, first), (socket, second)] {
          let receive = harness.token()
          harness.engine.receive(descriptor, .once, receive)
          peer.send("hello")
          try harness.expect(receive, 5)
          harness.engine.close(descriptor)
        }
        harness.engine.returnSlot(cancelled)
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func anExchangeThatBreaksLeavesTheSlotToTheCaller(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let listener = try harness.listener()
        let slot = try #require(harness.engine.takeSlot())
        let steps = (0..<4).map { _ in harness.token() }
        let frame = try harness.frame("never")
        harness.engine.beginChain()
        harness.engine.acceptOne(listener, into: slot, steps[0])
        harness.engine.receive(slot, .once, steps[1])
        harness.engine.send(slot, frame, .awaited, steps[2])
        harness.engine.close(slot, steps[3])
        harness.engine.endChain()
        let peer = try harness.peer(to: listener)
        try harness.expect(steps[0], 0)
        harness.turn(within: 5)
        peer.reset()
        try harness.expect(steps[1], -ECONNRESET)
        try harness.expect(steps[2], -ECANCELED)
        try harness.expect(steps[3], -ECANCELED)
        #expect(harness.engine.counters.directDescriptorsInUse == 1)
        harness.engine.close(slot)
        #expect(harness.engine.counters.directDescriptorsInUse == 0)
        harness.engine.close(listener)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aFileIsOpenedWrittenMadeDurableAndClosedInOneChain(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let path = try harness.outside.directory() + "/chained"
        let slot = try #require(harness.engine.takeSlot())
        let steps = (0..<4).map { _ in harness.token() }
        chain(harness) {
          harness.engine.open(path, flags: O_RDWR | O_CREAT, mode: 0o600, into: slot, steps[0])
          harness.engine.write(
            slot, from: filled(3000), count: 3000, offset: 0, durable: false, steps[1])
          harness.engine.synchronize(slot, dataOnly: false, steps[2])
          harness.engine.close(slot, steps[3])
        }
        try harness.expect(steps[3], 0)
        #expect(steps.map { harness.ending($0) } == [0, 3000, 0, 0])
        _ = try harness.fileBuffer(steps[1])
        #expect(harness.outside.content(of: path) == pattern(3000))
        #expect(harness.engine.counters.directDescriptorsInUse == 0)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aFileThatIsNotThereLeavesTheSlotEmpty(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let path = try harness.outside.directory() + "/no/such/file"
        let slot = try #require(harness.engine.takeSlot())
        let (open, read, close) = (harness.token(), harness.token(), harness.token())
        chain(harness) {
          harness.engine.open(path, flags: O_RDONLY, mode: 0, into: slot, open)
          harness.engine.read(slot, into: FileBuffer(capacity: 8), count: 8, offset: 0, read)
          harness.engine.close(slot, close)
        }
        try harness.expect(open, -ENOENT)
        try harness.expect(read, -ECANCELED)
        try harness.expect(close, -ECANCELED)
        _ = try harness.fileBuffer(read)
        harness.engine.returnSlot(slot)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func anEmptySlotIsEBADF(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let slot = try #require(harness.engine.takeSlot())
        let (read, sync) = (harness.token(), harness.token())
        harness.engine.read(slot, into: FileBuffer(capacity: 8), count: 8, offset: 0, read)
        try harness.expect(read, -EBADF)
        _ = try harness.fileBuffer(read)
        harness.engine.synchronize(slot, dataOnly: true, sync)
        try harness.expect(sync, -EBADF)
        harness.engine.returnSlot(slot)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aSlotIsUsedAgainManyTimes(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way, slots: 2)) { harness in
        let path = try harness.outside.directory() + "/again"
        for round in 0..<60 {
          let slot = try #require(harness.engine.takeSlot())
          let opened = try harness.ending {
            harness.engine.open(path, flags: O_RDWR | O_CREAT, mode: 0o600, into: slot, $0)
          }
          #expect(opened == 0)
          #expect(try harness.write(slot, [UInt8(round)], at: 0) == 1)
          #expect(try harness.read(slot, 10, at: 0) == [UInt8(round)])
          if round % 2 == 0 {
            harness.engine.close(slot)
          } else {
            try harness.expect(0) { harness.engine.close(slot, $0) }
          }
        }
        #expect(harness.engine.counters.slotRefusals == 0)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aResetReachesASlot(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (slot, peer) = try acceptedIntoASlot(harness)
        let receive = harness.token()
        harness.engine.receive(slot, .stream, receive)
        harness.turn(within: 2)
        peer.reset()
        try harness.expect(receive, -ECONNRESET)
        harness.engine.close(slot)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aSlotIsShutDownByAnOperation(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (slot, peer) = try acceptedIntoASlot(harness)
        let (receive, send) = (harness.token(), harness.token())
        harness.engine.receive(slot, .stream, receive)
        harness.engine.send(slot, try coldFrame(harness, pattern(8 << 20)), .quiet, send)
        for _ in 0..<3 { harness.turn(within: 3) }
        try harness.expect(0) { harness.engine.shutdown(slot, .both, $0) }
        try harness.expect(receive, 0)
        try harness.expect(send, -EPIPE)
        harness.engine.close(slot)
        _ = peer
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func everythingOnASlotIsCancelled(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (slot, _) = try acceptedIntoASlot(harness)
        let receive = harness.token()
        harness.engine.receive(slot, .stream, receive)
        harness.turn(within: 2)
        harness.engine.cancelAll(slot)
        try harness.expect(receive, -ECANCELED)
        harness.engine.close(slot)
      }
    }

    // MARK: The single accept

    @Test(arguments: completeEngines)
    func aSingleAcceptTakesOneConnectionAndLeavesTheRest(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let peers = try (0..<3).map { _ in try harness.peer(to: listener) }
        for _ in 0..<3 { harness.turn(within: 2) }
        var sockets: [Descriptor] = []
        for taken in 1...3 {
          let accept = harness.token()
          harness.engine.acceptOne(listener, into: nil, accept)
          let socket = try harness.end(accept)
          #expect(socket > 0 && harness[accept].results.count == 1)
          sockets.append(Descriptor(rawValue: socket))
          #expect(Set(sockets.map(\.rawValue)).count == taken)
        }
        for socket in sockets {
          try harness.send(socket, "hello")
          harness.engine.close(socket)
        }
        for peer in peers { #expect(try harness.received(by: peer, 5).count == 5) }
        harness.engine.close(listener)
      }
    }

    @Test(arguments: completeEngines)
    func aSingleAcceptWaitsForItsConnection(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let accept = harness.token()
        harness.engine.acceptOne(listener, into: nil, accept)
        for _ in 0..<3 { harness.turn(within: 2) }
        #expect(harness.ending(accept) == nil)
        _ = try harness.peer(to: listener)
        let socket = Descriptor(rawValue: try harness.end(accept))
        #expect(harness.engine.peerAddress(socket) != nil)
        harness.engine.close(socket)
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [false, true])
    func aSingleAcceptIsStopped(_ kind: EngineKind, _ isDirect: Bool) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let slot = isDirect ? harness.engine.takeSlot() : nil
        let accept = harness.token()
        harness.engine.acceptOne(listener, into: slot, accept)
        harness.turn(within: 2)
        harness.engine.stopAccepting(listener)
        try harness.expect(accept, -ECANCELED)
        if let slot { harness.engine.returnSlot(slot) }
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aSingleAcceptIsCancelledByItsToken(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let accept = harness.token()
        harness.engine.acceptOne(listener, into: nil, accept)
        harness.turn(within: 2)
        harness.engine.cancel(accept)
        try harness.expect(accept, -ECANCELED)
        // The connection of later is not lost.
        let peer = try harness.peer(to: listener)
        let next = harness.token()
        harness.engine.acceptOne(listener, into: nil, next)
        let socket = Descriptor(rawValue: try harness.end(next))
        try harness.send(socket, "hi")
        #expect(try harness.received(by: peer, 2).count == 2)
        harness.engine.close(socket)
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func noDescriptorLeftEndsTheSingleAcceptWithEMFILE(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let peer = try harness.peer(to: listener)
        try harness.outside.withoutDescriptors {
          try harness.expect(-EMFILE) { harness.engine.acceptOne(listener, into: nil, $0) }
        }
        let socket = Descriptor(
          rawValue: try harness.ending { harness.engine.acceptOne(listener, into: nil, $0) })
        try harness.send(socket, "still here")
        #expect(try harness.received(by: peer, 10).count == 10)
        harness.engine.close(socket)
        harness.engine.close(listener)
      }
    }
  }
}

/// A connection in a slot and its other end; the listener is gone.
private func acceptedIntoASlot(_ harness: Harness) throws -> (slot: Descriptor, peer: any Peer) {
  let listener = try harness.listener()
  let peer = try harness.peer(to: listener)
  let slot = try #require(harness.engine.takeSlot())
  let accepted = try harness.ending { harness.engine.acceptOne(listener, into: slot, $0) }
  #expect(accepted == 0)
  harness.engine.close(listener)
  return (slot, peer)
}
