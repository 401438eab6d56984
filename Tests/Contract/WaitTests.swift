// The turn: deadlines, wakes, clocks.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Waiting {
    @Test(arguments: engines, [Int64.min, -1, 0])
    func aDeadlineInThePastDoesNotWait(_ kind: EngineKind, _ deadline: Int64) throws {
      try withHarness(kind) { harness in
        let start = SystemClock.monotonicNanoseconds()
        for _ in 0..<100 { harness.engine.wait(until: deadline) }
        #expect(SystemClock.monotonicNanoseconds() - start < 1_000_000_000)
        #expect(harness.engine.next() == nil)
      }
    }

    @Test(arguments: engines, [Int64(1), 999_999, 1_000_000, 1_000_001, 20_000_000])
    func aDeadlineIsNeverReportedEarly(_ kind: EngineKind, _ ahead: Int64) throws {
      try withHarness(kind) { harness in
        harness.engine.refreshClocks()
        let deadline = harness.engine.now + ahead
        // A signal may end a wait; a deadline may take as many waits as it likes, but few.
        var waits = 0
        while harness.engine.now < deadline && waits < 10 {
          harness.engine.wait(until: deadline)
          waits += 1
        }
        #expect(harness.engine.now >= deadline)
        #expect(waits <= 2)
      }
    }

    @Test(arguments: kernelEngines, [Int64.max, Int64.max - 1, nil])
    func aWakeEndsAWaitThatHasNoEnd(_ kind: EngineKind, _ deadline: Int64?) throws {
      try withHarness(kind) { harness in
        let waker = harness.engine.waker
        let start = SystemClock.monotonicNanoseconds()
        let thread = try WorkerThread.start(name: "waker", cpu: nil) {
          usleep(20_000)
          waker.wake()
        }
        // The end of a former ring on this thread, as a signal, may interrupt a wait.
        var waits = 0
        while harness.engine.now - start < 15_000_000 && waits < 4 {
          harness.engine.wait(until: deadline)
          waits += 1
        }
        #expect(harness.engine.now - start >= 15_000_000)
        thread.join()
        #expect(harness.engine.next() == nil, "a wake is no completion")
      }
    }

    @Test(arguments: engines)
    func aWakeBeforeTheWaitIsNotLostAndCountsOnce(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        for _ in 0..<3 { harness.engine.waker.wake() }
        harness.engine.wait(until: nil)
        // And it is used up: the next wait lasts until its deadline.
        harness.engine.wait(until: harness.engine.now)
        harness.engine.refreshClocks()
        let deadline = harness.engine.now + 20_000_000
        var waits = 0
        while harness.engine.now < deadline {
          harness.engine.wait(until: deadline)
          waits += 1
        }
        #expect(waits <= 2)
      }
    }

    @Test(arguments: kernelEngines)
    func manyWakesFromManyThreadsAreAllSeen(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        for _ in 0..<50 {
          let waker = harness.engine.waker
          let threads = try (0..<4).map { _ in
            try WorkerThread.start(name: "waker", cpu: nil) { waker.wake() }
          }
          harness.engine.wait(until: nil)
          for thread in threads { thread.join() }
          harness.engine.wait(until: 0)
        }
      }
    }

    @Test(arguments: kernelEngines)
    func theClocksMoveWithTheTurnsOnly(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        harness.engine.wait(until: 0)
        let before = harness.engine.now
        usleep(2000)
        #expect(harness.engine.now == before)
        harness.engine.wait(until: 0)
        #expect(harness.engine.now >= before + 2_000_000)
      }
    }

    // MARK: Submitting without waiting

    @Test(arguments: engines, [SendUrgency.awaited, .quiet])
    func whatIsSubmittedWithoutAWaitBeginsAndEndsOnce(_ kind: EngineKind, _ urgency: SendUrgency)
      throws
    {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        for _ in 0..<4 { harness.turn() }
        let turns = harness.engine.counters.turns
        let send = harness.token()
        harness.engine.submit()
        harness.engine.send(socket, try harness.frame("early"), urgency, send)
        harness.engine.submit()
        harness.engine.submit()
        // A simulated network has a latency, and a thread of the kernel takes it in its own time.
        var bytes: [UInt8] = []
        for _ in 0..<1000 where bytes.count < 5 {
          bytes += peer.receive() ?? []
          if bytes.count < 5 { harness.outside.pause(milliseconds: 1) }
        }
        #expect(bytes == Array("early".utf8))
        #expect(harness.engine.counters.turns == turns)
        // Success of a quiet send is told with the next event.
        let event = harness.token()
        harness.engine.nop(event)
        try harness.turn(
          until: { harness.ending(send) != nil && harness.ending(event) != nil }, "the send")
        #expect(harness.ending(send) == 5)
        try harness.close(socket)
      }
    }

    // MARK: Waits for several completions

    /// A long time that no test waits for.
    private static let never: Int64 = 60_000_000_000

    /// Whether a wait that `prepare` has left too little for lasts until its limit. A signal may end one early, and
    /// a busy machine may begin one too late: one of five has to.
    private func lastsUntilItsLimit(
      _ harness: Harness, count: Int, _ prepare: () throws -> Void
    ) throws -> Bool {
      for _ in 0..<5 {
        let before = harness.engine.counters.coalescedWaits
        try prepare()
        harness.engine.refreshClocks()
        let limit = harness.engine.now + 20_000_000
        harness.engine.wait(until: nil, coalescing: count, before: limit)
        let ended = harness.engine.now
        harness.drain()
        harness.turn()
        if ended >= limit && harness.engine.counters.coalescedWaits == before + 1 { return true }
      }
      return false
    }

    @Test(arguments: engines)
    func aCoalescingWaitReturnsAtItsLimitWithWhatIsThere(_ kind: EngineKind) throws {
      // A thread of the kernel that takes submissions ends a wait with the first event.
      guard !Harness.features.contains(.submissionThread) else { return }
      try withHarness(kind, isComparable: false) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        for _ in 0..<4 { harness.turn() }
        var sent = 0
        let lasts = try lastsUntilItsLimit(harness, count: 8) {
          peer.send("x")
          sent += 1
        }
        #expect(lasts)
        try harness.turn(until: { harness[receive].bytes.count == sent }, "the bytes")
        try harness.close(socket, joining: receive)
      }
    }

    @Test(arguments: engines)
    func aCoalescingWaitReturnsAtItsLimitWithNothing(_ kind: EngineKind) throws {
      guard !Harness.features.contains(.submissionThread) else { return }
      try withHarness(kind, isComparable: false) { harness in
        harness.engine.refreshClocks()
        let start = harness.engine.now
        harness.engine.wait(
          until: start + Self.never, coalescing: 8, before: start + 2_000_000)
        // One that is preempted until its limit has passed is the usual wait, which a wake would end.
        if harness.engine.counters.coalescedWaits == 1 {
          #expect(harness.engine.now < start + Self.never)
        }
        #expect(harness.engine.next() == nil)
      }
    }

    @Test func onARingEnoughCompletionsEndACoalescingWait() throws {
      try withHarness(.uring, isComparable: false) { harness in
        let connections = try (0..<3).map { _ in try harness.connection() }
        let receives = connections.map { connection in
          let token = harness.token()
          harness.engine.receive(connection.0, .stream, token)
          return token
        }
        for _ in 0..<4 { harness.turn() }
        for connection in connections { connection.1.send("x") }
        harness.engine.refreshClocks()
        let limit = harness.engine.now + Self.never
        harness.engine.wait(until: nil, coalescing: 3, before: limit)
        #expect(harness.engine.now < limit)
        harness.drain()
        try harness.turn(until: { receives.allSatisfy { harness[$0].bytes.count == 1 } }, "all")
        for (connection, token) in zip(connections, receives) {
          try harness.close(connection.0, joining: token)
        }
      }
    }

    @Test func onARingSendsOfTheSameTurnAreNotWhatIsWaitedFor() throws {
      guard !Harness.features.contains(.submissionThread) else { return }
      try withHarness(.uring, isComparable: false) { harness in
        let connections = try (0..<4).map { _ in try harness.connection() }
        for _ in 0..<4 { harness.turn() }
        var tokens: [Token] = []
        let lasts = try lastsUntilItsLimit(harness, count: 2) {
          for connection in connections {
            tokens.append(harness.token())
            harness.engine.send(
              connection.0, try harness.frame("answer"), .awaited, tokens[tokens.count - 1])
          }
        }
        #expect(lasts, "four sends ended, and nothing came")
        #expect(tokens.allSatisfy { harness.ending($0) == 6 })
        for connection in connections { try harness.close(connection.0) }
      }
    }

    @Test(arguments: engines)
    func aCoalescingWaitKeepsItsDeadline(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { harness in
        harness.engine.refreshClocks()
        let start = harness.engine.now
        let deadline = start + 5_000_000
        while harness.engine.now < deadline {
          harness.engine.wait(until: deadline, coalescing: 8, before: start + Self.never)
        }
        #expect(harness.engine.now < start + Self.never)
        #expect(harness.engine.next() == nil)
      }
    }

    @Test(
      arguments: engines,
      [(1, never), (0, never), (-1, never), (8, 0), (8, -1), (8, Int64.min)])
    func aWaitForOneEventOrWithAPastLimitIsTheUsualOne(
      _ kind: EngineKind, _ goal: (count: Int, ahead: Int64)
    ) throws {
      try withHarness(kind, isComparable: false) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        for _ in 0..<4 { harness.turn() }
        peer.send("x")
        harness.engine.refreshClocks()
        let start = harness.engine.now
        while harness[receive].bytes.isEmpty {
          let limit = goal.ahead == .min ? .min : start + goal.ahead
          harness.engine.wait(until: start + Self.never, coalescing: goal.count, before: limit)
          harness.drain()
        }
        #expect(harness.engine.now < start + Self.never)
        #expect(harness.engine.counters.coalescedWaits == 0)
        try harness.close(socket, joining: receive)
      }
    }

    @Test func aThreadOfOursBlocksTheSignalsOfOthers() throws {
      var before = sigset_t()
      pthread_sigmask(SIG_BLOCK, nil, &before)
      let box = UnsafeMutablePointer<sigset_t>.allocate(capacity: 1)
      box.initialize(to: sigset_t())
      let address = UInt(bitPattern: box)
      try WorkerThread.start(name: "a name that is cut off", cpu: nil) {
        pthread_sigmask(SIG_BLOCK, nil, UnsafeMutablePointer(bitPattern: address)!)
      }.join()
      #expect(sigismember(box, SIGTERM) == 1)
      #expect(sigismember(box, SIGSEGV) == 0)
      var after = sigset_t()
      pthread_sigmask(SIG_BLOCK, nil, &after)
      for signal: Int32 in 1...31 {
        let was = sigismember(&before, signal)
        #expect(sigismember(&after, signal) == was, "the maker's own mask, signal \(signal)")
      }
      box.deallocate()
    }
  }
}
