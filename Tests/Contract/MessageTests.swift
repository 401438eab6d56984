// Messages between engines, of the same kind and of different kinds, with the kernel's help and
// without; and what becomes of a message that nobody can take.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Messages {
    struct Route: Sendable, CustomTestStringConvertible {
      let from: EngineKind
      let to: EngineKind
      var usesRings = true
      var testDescription: String {
        "\(from.rawValue) to \(to.rawValue)\(usesRings ? "" : " through memory")"
      }
      var options: EngineOptions {
        var options = Harness.options
        if !usesRings { options.features.remove(.ringMessages) }
        return options
      }
    }

    static let routes: [Route] =
      completeEngines.flatMap { from in completeEngines.map { Route(from: from, to: $0) } }
      + completeEngines.map { Route(from: $0, to: $0, usesRings: false) }

    @Test(arguments: routes)
    func aMessageArrivesWithItsTokenAndItsValue(_ route: Route) throws {
      try withTwo(route) { from, to in
        for value in [0, 1, 123_456, Int32.max] {
          let (remote, own) = (to.token(), from.token())
          from.engine.post(value, remote, to: to.engine.mailbox, own)
          try from.expect(own, 0)
          try to.expect(remote, value)
        }
        #expect(to.engine.counters.messages == 4)
      }
    }

    @Test(arguments: routes)
    func messagesKeepTheirOrder(_ route: Route) throws {
      try withTwo(route) { from, to in
        let remotes = (0..<100).map { _ in to.token() }
        let owns = (0..<100).map { _ in from.token() }
        for i in 0..<100 {
          from.engine.post(Int32(i), remotes[i], to: to.engine.mailbox, owns[i])
        }
        for own in owns { try from.expect(own, 0) }
        for (i, remote) in remotes.enumerated() { try to.expect(remote, Int32(i)) }
        #expect(to.order == remotes.map(\.rawValue))
      }
    }

    /// What a message owns, a descriptor say, must not be lost with an engine that is about to end.
    @Test(arguments: routes)
    func whatWasSentBeforeARefusalStillArrives(_ route: Route) throws {
      try withTwo(route) { from, to in
        let first = to.token()
        // Of nothing that the receiver waits for.
        let second = Token(rawValue: 1 << 40)
        let (own, late) = (from.token(), from.token())
        from.engine.post(1, first, to: to.engine.mailbox, own)
        to.engine.mailbox.refuse()
        from.engine.post(2, second, to: to.engine.mailbox, late)
        #expect(to.engine.mailbox.put(3, second) == -ESHUTDOWN)
        try from.expect(own, 0)
        try from.expect(late, -ESHUTDOWN)
        try to.expect(first, 1)
        for _ in 0..<3 { to.turn() }
        #expect(to.ending(second) == nil)
        #expect(to.engine.counters.messages == 1)
      }
    }

    @Test(arguments: routes)
    func aMessageEndsAWaitForEver(_ route: Route) throws {
      try withTwo(route) { from, to in
        let (remote, own) = (to.token(), from.token())
        from.engine.post(7, remote, to: to.engine.mailbox, own)
        try from.end(own)
        var waits = 0
        while to.ending(remote) == nil && waits < 4 {
          to.engine.wait(until: nil)
          to.drain()
          waits += 1
        }
        #expect(to.ending(remote) == 7)
      }
    }

    @Test(arguments: completeEngines)
    func anEngineSendsToItself(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (remote, own) = (harness.token(), harness.token())
        harness.engine.post(42, remote, to: harness.engine.mailbox, own)
        try harness.expect(remote, 42)
        try harness.expect(own, 0)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [-1, 0, 1])
    func aFullMailboxIsENOBUFSAndWhatWasTakenArrives(_ kind: EngineKind, _ beyond: Int) throws {
      var options = Harness.options
      options.features.remove(.ringMessages)
      try withHarness(kind, options) { harness in
        let mailbox = harness.engine.mailbox
        let count = Mailbox.capacity + beyond
        let remotes = (0..<count).map { _ in harness.token() }
        for (i, remote) in remotes.enumerated() {
          let expected = i < Mailbox.capacity ? 0 : -ENOBUFS
          #expect(mailbox.put(Int32(i), remote) == expected)
        }
        for (i, remote) in remotes.prefix(Mailbox.capacity).enumerated() {
          try harness.expect(remote, Int32(i))
        }
        // And there is room again.
        let again = harness.token()
        #expect(mailbox.put(5, again) == 0)
        try harness.expect(again, 5)
        harness.showedFailure = true
      }
    }

    @Test(.tags(.failure), arguments: routes)
    func nothingIsLostWhenNobodyTurnsTheReceiver(_ route: Route) throws {
      try withTwo(route) { from, to in
        var taken: [Token] = []
        var refused = 0
        for i in 0..<(Mailbox.capacity + 200) {
          let (remote, own) = (to.token(), from.token())
          from.engine.post(Int32(i), remote, to: to.engine.mailbox, own)
          let ending = try from.end(own)
          if ending == 0 {
            taken.append(remote)
          } else {
            #expect(ending == -ENOBUFS)
            refused += 1
          }
        }
        for remote in taken { _ = try to.end(remote) }
        #expect(to.engine.counters.messages == taken.count)
        if !route.usesRings { #expect(refused == 200) }
        from.showedFailure = true
        to.showedFailure = true
      }
    }

    @Test(.tags(.failure), arguments: routes)
    func anEngineThatHasEndedIsESHUTDOWN(_ route: Route) throws {
      try withHarness(route.from, route.options, isComparable: false) { from in
        let mailbox = try endedMailbox(route)
        let own = from.token()
        from.engine.post(1, Token(rawValue: 1 << 40), to: mailbox, own)
        try from.expect(own, -ESHUTDOWN)
        #expect(mailbox.put(1, Token(rawValue: 1)) == -ESHUTDOWN)
      }
    }

    @Test(arguments: completeEngines)
    func anyThreadCanPutAMessageIn(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let mailbox = harness.engine.mailbox
        let tokens = (0..<200).map { _ in harness.token() }
        let threads = try (0..<4).map { part in
          try WorkerThread.start(name: "sender", cpu: nil) {
            for i in (part * 50)..<(part * 50 + 50) { _ = mailbox.put(Int32(i), tokens[i]) }
          }
        }
        // Before the loop turns: the threads are of this world, whose time a simulated one does not
        // know. What waits in the mailbox is not lost.
        for thread in threads { thread.join() }
        for (i, token) in tokens.enumerated() { try harness.expect(token, Int32(i)) }
        #expect(harness.engine.counters.messages == 200)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func oneMessageMoreThanThereAreSlotsIsENOBUFS(_ kind: EngineKind) throws {
      var options = Harness.options
      options.controlOperations = 4
      try withHarness(kind, options) { harness in
        harness.engine.refreshClocks()
        let timeouts = (0..<4).map { _ in harness.token() }
        for timeout in timeouts {
          harness.engine.timeout(at: harness.engine.now + 60_000_000_000, timeout)
        }
        let own = harness.token()
        harness.engine.post(1, Token(rawValue: 1 << 40), to: harness.engine.mailbox, own)
        try harness.expect(own, -ENOBUFS)
        #expect(harness.engine.counters.operationsRefused == 1)
        for timeout in timeouts { harness.engine.cancel(timeout) }
        for timeout in timeouts { try harness.expect(timeout, -ECANCELED) }
      }
    }
  }
}

private func withTwo(
  _ route: Contract.Messages.Route, at location: SourceLocation = #_sourceLocation,
  _ body: (Harness, Harness) throws -> Void
) throws {
  try withHarness(route.from, route.options, isComparable: false, at: location) { from in
    try withHarness(route.to, route.options, isComparable: false, at: location) { to in
      try body(from, to)
    }
  }
}

private func endedMailbox(_ route: Contract.Messages.Route) throws -> Mailbox {
  let harness = try Harness(route.to, route.options)
  harness.turn()
  return harness.engine.mailbox
}
