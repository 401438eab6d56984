// What others still hold of an engine that has ended: its waker, its mailbox. Neither may reach what
// has been given the engine's numbers since, and neither may keep the kernel's part of it alive.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct EndedEngines {
    /// The number of the eventfd was all that a waker had.
    @Test(.tags(.failure), arguments: kernelEngines)
    func aWakeAfterTheEndReachesNobody(_ kind: EngineKind) throws {
      // Theirs are the numbers that come free with the engine's end.
      let (wakers, count) = try wakersOfAnEndedEngine(kind)
      let later = (0..<count + 8).map { _ in eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)) }
      defer { for number in later { Glibc.close(number) } }
      for waker in wakers { waker.wake() }
      for number in later {
        var value: UInt64 = 0
        #expect(Glibc.read(number, &value, 8) == -1, "a wake reached descriptor \(number)")
        #expect(errno == EAGAIN)
      }
    }

    /// What shares the eventfd gives it back in the end.
    @Test(arguments: kernelEngines)
    func theLastWakerClosesTheDescriptor(_ kind: EngineKind) throws {
      // The first engine of a process may leave descriptors of libraries behind.
      _ = try wakersOfAnEndedEngine(kind)
      let before = openDescriptors()
      var wakers = try wakersOfAnEndedEngine(kind).wakers
      #expect(wakers.count == 3)
      #expect(openDescriptors() == before + 1)
      wakers = []
      #expect(openDescriptors() == before)
    }

    /// A mailbox had a duplicate of the ring's descriptor: the ring lived as long.
    @Test(.tags(.failure), arguments: kernelEngines)
    func aMailboxKeepsNothingOfAnEngineThatHasEnded(_ kind: EngineKind) throws {
      _ = try mailboxOfAnEndedEngine(kind)
      let before = openDescriptors()
      let mailbox = try mailboxOfAnEndedEngine(kind)
      #expect(openDescriptors() == before)
      #expect(mailbox.put(1, Token(rawValue: 1)) == -ESHUTDOWN)
    }

    /// The same of one that messages were sent to, whose ring an entry may name at its end.
    @Test(.tags(.failure), arguments: kernelEngines)
    func aMessageUnderWayAtTheEndOfItsReceiverLeavesNothingOpen(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { from in
        var before = openDescriptors()
        for round in 0..<3 {
          let own = (0..<2).map { _ in from.token() }
          let mailbox = try mailboxOfAnEndedEngine(kind) { to in
            from.engine.post(1, to.token(), to: to.engine.mailbox, own[0])
            if round == 1 { from.turn() }
          }
          // Of a turn that has not come: what was taken was taken.
          from.engine.post(2, Token(rawValue: 1), to: mailbox, own[1])
          try from.expect(own[0], 0)
          try from.expect(own[1], -ESHUTDOWN)
          if round == 0 { before = openDescriptors() }
        }
        #expect(openDescriptors() == before)
        #expect(from.engine.counters.correspondents == 0)
      }
    }

    /// Every mailbox that was ever sent to was kept.
    @Test(arguments: kernelEngines)
    func theMailboxesThatAnEngineKeepsAreBounded(_ kind: EngineKind) throws {
      var small = EngineOptions()
      small.descriptorLimit = 1024
      small.smallBuffers = 4
      small.largeBuffers = 2
      small.frames = 8
      small.submissionEntries = 8
      small.completionEntries = 64
      try withHarness(kind, isComparable: false) { from in
        let others = try (0..<70).map { _ in try Harness(kind, small) }
        var tokens: [(Token, Token)] = []
        for other in others {
          tokens.append((from.token(), other.token()))
          from.engine.post(7, tokens.last!.1, to: other.engine.mailbox, tokens.last!.0)
        }
        for (token, _) in tokens { try from.expect(token, 0) }
        for (other, token) in zip(others, tokens) { try other.expect(token.1, 7) }
        // By now none is under way, so that the last ones take the places of the first.
        let (again, remote) = (from.token(), others[69].token())
        from.engine.post(8, remote, to: others[69].engine.mailbox, again)
        try from.expect(again, 0)
        try others[69].expect(remote, 8)
        let usesRings = kind == .uring && Harness.features.contains(.ringMessages)
        #expect(from.engine.counters.correspondents == (usesRings ? 64 : 0))
        #expect(from.engine.counters.correspondentsReplaced == (usesRings ? 1 : 0))
      }
    }

    /// Those of engines that have ended since the last message to them go first.
    @Test(arguments: kernelEngines)
    func theMailboxesOfEndedEnginesGiveTheirPlacesUp(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { from in
        for _ in 0..<64 {
          _ = try mailboxOfAnEndedEngine(kind) { to in
            let token = from.token()
            from.engine.post(1, to.token(), to: to.engine.mailbox, token)
            for _ in 0..<20 where from.ending(token) == nil { from.turn(within: 5) }
            #expect(from.ending(token) == 0)
          }
        }
        let others = try (0..<3).map { _ in try Harness(kind) }
        for other in others {
          let (token, remote) = (from.token(), other.token())
          from.engine.post(2, remote, to: other.engine.mailbox, token)
          try from.expect(token, 0)
          try other.expect(remote, 2)
        }
        #expect(from.engine.counters.correspondents <= 64)
        #expect(from.engine.counters.correspondentsReplaced == 0)
      }
    }
  }
}

private func mailboxOfAnEndedEngine(
  _ kind: EngineKind, _ body: (Harness) -> Void = { _ in }
) throws -> Mailbox {
  let harness = try Harness(kind)
  harness.turn()
  body(harness)
  return harness.engine.mailbox
}

/// - Returns: its wakers, and how many descriptors it had.
private func wakersOfAnEndedEngine(_ kind: EngineKind) throws -> (wakers: [Waker], count: Int) {
  let before = openDescriptors()
  let harness = try Harness(kind)
  harness.turn()
  let wakers = (0..<3).map { _ in harness.engine.waker }
  return (wakers, openDescriptors() - before)
}
