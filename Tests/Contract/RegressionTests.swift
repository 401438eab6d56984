// Faults of the engines that were found by reading and by teardown, each as the shortest script that
// shows it.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Regressions {
    /// The kernel kept their failures back, and they were taken for sent.
    @Test(.tags(.failure), arguments: engines)
    func quietSendsThatFailInATurnThatOverflowsAreNoSuccess(_ kind: EngineKind) throws {
      var options = Harness.options
      options.submissionEntries = 64
      options.completionEntries = 64
      try withHarness(kind, options) { harness in
        harness.overflows = true
        let connections = try (0..<20).map { _ in try harness.connection() }
        for (socket, _) in connections { harness.engine.shutdown(socket, .send) }
        let nops = (0..<64).map { _ in harness.token() }
        for nop in nops { harness.engine.nop(nop) }
        var sends: [Token] = []
        for (socket, _) in connections {
          let send = harness.token()
          sends.append(send)
          harness.engine.send(socket, try harness.frame("late"), .quiet, send)
        }
        harness.engine.expediteSends()
        for send in sends { #expect(try harness.end(send) == -EPIPE) }
        for nop in nops { #expect(try harness.end(nop) == 0) }
        harness.showedFailure = true
        for (socket, _) in connections { harness.engine.close(socket) }
      }
    }

    /// ECANCELED was taken for the socket's own error.
    @Test(.tags(.failure), arguments: engines)
    func theEndAfterACancelledSendIsAPlainEnd(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let send = harness.token()
        harness.engine.send(socket, try coldFrame(harness, pattern(8 << 20)), .awaited, send)
        for _ in 0..<5 { harness.turn(within: 2) }
        harness.engine.cancel(send)
        try harness.expect(send, -ECANCELED)
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        peer.finishSending()
        #expect(try harness.end(receive) == 0)
        harness.engine.close(socket)
      }
    }

    /// Operations on paths have no descriptor, and an empty slot stands for none.
    @Test(.tags(.failure), arguments: completeEngines)
    func cancellingAnEmptySlotLeavesPathsAlone(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let slot = try #require(harness.engine.takeSlot())
        let tokens = (0..<12).map { _ in harness.token() }
        for token in tokens { harness.engine.unlink("/nowhere/\(token.rawValue)", token) }
        harness.engine.cancelAll(slot)
        for token in tokens { try harness.expect(token, -ENOENT) }
        harness.engine.returnSlot(slot)
      }
    }

    /// The step was not found before its turn, and nobody asked again.
    @Test(.tags(.failure), arguments: engines)
    func aStepIsCancelledOnceItsTurnHasCome(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { harness in
        let (socket, _) = try harness.connection()
        harness.engine.refreshClocks()
        let (first, second) = (harness.token(), harness.token())
        harness.engine.beginChain()
        harness.engine.timeout(at: harness.engine.now + 20_000_000, first)
        harness.engine.receive(socket, .once, second)
        harness.engine.endChain()
        for _ in 0..<3 { harness.turn(within: 1) }
        harness.engine.cancel(second)
        try harness.expect(first, -ETIME)
        harness.engine.cancel(second)
        try harness.expect(second, -ECANCELED)
        harness.engine.close(socket)
      }
    }

    /// Engines that run chains themselves, and one whose kernel does not.
    static let runners: [(EngineKind, EngineFeatures)] = engines.map {
      ($0, Harness.features.subtracting(.linkedChains))
    }

    /// Only those were found that had begun.
    @Test(.tags(.failure), arguments: runners)
    func aStepThatWaitsIsCancelledWithThoseBehindItAndNotTheOneThatRuns(
      _ kind: EngineKind, _ features: EngineFeatures
    ) throws {
      var options = Harness.options
      options.features = features
      options.chains = 1
      try withHarness(kind, options, isComparable: false) { harness in
        let (socket, _) = try harness.connection()
        let buffer = FileBuffer(capacity: 16)
        let tokens = (0..<5).map { _ in harness.token() }
        harness.engine.refreshClocks()
        harness.engine.beginChain()
        harness.engine.timeout(at: harness.engine.now + 60_000_000_000, tokens[0])
        harness.engine.receive(socket, .once, tokens[1])
        harness.engine.send(socket, try harness.frame("never"), .awaited, tokens[2])
        harness.engine.write(
          Descriptor(rawValue: 60_000), from: buffer, count: 16, offset: 0, durable: false,
          tokens[3])
        harness.engine.shutdown(socket, .both, tokens[4])
        harness.engine.endChain()
        harness.engine.cancel(tokens[3])
        try harness.expect(tokens[3], -ECANCELED)
        try harness.expect(tokens[4], -ECANCELED)
        harness.engine.cancelAll(socket)
        try harness.expect(tokens[1], -ECANCELED)
        try harness.expect(tokens[2], -ECANCELED)
        #expect(harness.ending(tokens[0]) == nil)
        #expect(harness.engine.counters.operationsInFlight == 1)
        harness.engine.cancel(tokens[0])
        try harness.expect(tokens[0], -ECANCELED)
        for token in tokens { #expect(harness[token].terminals == 1) }
        harness.engine.close(socket)
        // The chain's place is free again: there is only one.
        let last = harness.token()
        harness.engine.beginChain()
        harness.engine.nop(last)
        harness.engine.endChain()
        try harness.expect(last, 0)
      }
    }

    /// Nobody asked again for a file's step once its turn had come.
    @Test(.tags(.failure), arguments: kernelEngines)
    func aFileStepIsCancelledBeforeItsTurn(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { harness in
        let (output, input) = try harness.engine.pipe(capacity: 4096)
        let (first, second) = (harness.token(), harness.token())
        harness.engine.refreshClocks()
        harness.engine.beginChain()
        harness.engine.timeout(at: harness.engine.now + 20_000_000, first)
        // Of an empty pipe, which ends only by being cancelled.
        harness.engine.read(output, into: FileBuffer(capacity: 8), count: 8, offset: 0, second)
        harness.engine.endChain()
        harness.turn()
        harness.engine.cancel(second)
        try harness.expect(first, -ETIME)
        try harness.expect(second, -ECANCELED)
        harness.engine.close(output)
        harness.engine.close(input)
      }
    }

    /// A slot that a connection could not be put in was nobody's.
    @Test(.tags(.failure), .enabled(if: canDenySystemCalls, "no seccomp, or no x86-64"))
    func aSlotWhoseConnectionIsRefusedByEpollIsStillTheCallers() {
      inChild(.epoll) { harness in
        let listener = try harness.listener()
        let slot = harness.engine.takeSlot()!
        let accept = harness.token()
        harness.engine.acceptOne(listener, into: slot, accept)
        let peer = try harness.peer(to: listener)
        // From here on as if fs.epoll.max_user_watches were reached.
        try demand(deny(systemCall: epollControl, with: ENOSPC))
        for _ in 0..<3 { harness.turn(within: 5) }
        try demand(harness.engine.counters.connectionsRefused == 1)
        try demand(peer.receive(atMost: 1) == nil)
        harness.engine.stopAccepting(listener)
        try demand(harness.end(accept) == -ECANCELED)
        harness.engine.returnSlot(slot)
        try demand(harness.engine.counters.directDescriptorsInUse == 0)
        harness.engine.close(listener)
      }
    }

    /// It would have been somebody else's.
    @Test(.tags(.failure), arguments: engines)
    func closingADescriptorTwiceTraps(_ kind: EngineKind) async {
      func prepare(_ harness: Harness) throws {
        harness.kept = try harness.connection().socket
        harness.engine.close(harness.kept)
      }
      await traps(kind, before: prepare) { $0.engine.close($0.kept) }
    }

    /// The same of a close that says how it went, which the kernel was asked for.
    @Test(.tags(.failure), arguments: kernelEngines)
    func aSecondCloseLeavesTheNextOwnerOfTheNumberAlone(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try harness.connection()
        try harness.expect(0) { harness.engine.close(socket, $0) }
        // Ours by now, and none of the engine's.
        #expect(dup2(2, socket.rawValue) == socket.rawValue)
        try harness.expect(-EBADF) { harness.engine.close(socket, $0) }
        #expect(fcntl(socket.rawValue, F_GETFD) >= 0)
        Glibc.close(socket.rawValue)
      }
    }

    /// Each relay made the process ignore it again.
    @Test(arguments: kernelEngines)
    func whatTheProcessSaysOfBrokenPipesAfterwardsStands(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let before = signal(SIGPIPE, SIG_DFL)
        defer { signal(SIGPIPE, before) }
        for _ in 0..<2 {
          let (source, from) = try harness.connection()
          let (sink, to) = try harness.connection()
          let relay = harness.token()
          from.send("bytes")
          harness.engine.relay(from: source, to: sink, count: 5, .copy, relay)
          #expect(try harness.end(relay) >= 0)
          #expect(try harness.received(by: to, 5) == Array("bytes".utf8))
          signal(SIGPIPE, SIG_DFL)
          harness.engine.close(source)
          harness.engine.close(sink)
        }
        let (source, _) = try harness.connection()
        let (sink, _) = try harness.connection()
        let relay = harness.token()
        harness.engine.relay(from: source, to: sink, count: 0, .copy, relay)
        try harness.expect(relay, 0)
        var action = sigaction()
        #expect(sigaction(SIGPIPE, nil, &action) == 0)
        #expect(action.__sigaction_handler.sa_handler == nil)
        harness.engine.close(source)
        harness.engine.close(sink)
      }
    }

    /// The end of an engine waited for a thread of the kernel's that had ended before.
    @Test(.tags(.failure), .enabled(if: engines.contains(.uring), "about the ring's thread"))
    func anEngineWithoutItsSubmissionThreadEndsAndDoesNotTurn() throws {
      var options = Harness.options
      options.features.insert(.submissionThread)
      for turns in [false, true] {
        var ends: (Int32, Int32) = (0, 0)
        let made = withUnsafeMutableBytes(of: &ends) {
          Glibc.pipe($0.baseAddress!.assumingMemoryBound(to: Int32.self))
        }
        #expect(made == 0)
        inChild(.epoll) { _ in
          var harness: Harness? = try Harness(.uring, options)
          let (socket, _) = try harness!.connection()
          try demand(harness!.engine.features.contains { $0.name == "sqpoll" && $0.state == .on })
          // The parent of this one ends, and the ring's thread with it.
          let parent = getpid()
          guard clinux_fork() == 0 else { return }
          alarm(10)
          while getppid() == parent { usleep(1000) }
          usleep(50_000)
          if turns {
            signal(SIGILL) { _ in tell(2) }
            signal(SIGTRAP) { _ in tell(2) }
          }
          toldTo = ends.1
          // A turn that finds completions waiting asks the kernel nothing.
          if turns { for _ in 0..<10 { harness!.turn(within: 5) } }
          harness!.engine.close(socket)
          harness = nil
          tell(1)
        }
        Glibc.close(ends.1)
        var answer: UInt8 = 0
        _ = Glibc.read(ends.0, &answer, 1)
        #expect(answer == (turns ? 2 : 1), "it hangs, or it turns")
        Glibc.close(ends.0)
      }
    }

    /// The kernel reported a number that no program should see, ERESTARTSYS, or EINTR, which was
    /// taken for a cancellation.
    @Test(.tags(.failure), arguments: kernelEngines)
    func aFileOperationGoesOnWhenTheProcessWasStopped(_ kind: EngineKind) {
      inChild(kind) { harness in
        let path = "/tmp/millrace-fifo-\(getpid())"
        try demand(mkfifo(path, 0o600) == 0)
        defer { Glibc.unlink(path) }
        let open = harness.token()
        // With O_CREAT the kernel hands it to a worker, which waits for a writer.
        harness.engine.open(path, flags: O_RDONLY | O_CREAT, mode: 0o600, open)
        for _ in 0..<3 { harness.turn(within: 10) }
        try demand(harness.ending(open) == nil)
        kill(getpid(), SIGSTOP)
        for _ in 0..<5 { harness.turn(within: 10) }
        let writer = Glibc.open(path, O_RDWR | O_NONBLOCK)
        let result = try harness.end(open)
        Glibc.close(writer)
        try demand(result >= 0)
        Glibc.close(result)
      }
    }

    /// The same number, of an open that was cancelled while a worker waited in it.
    @Test(
      .tags(.failure), .enabled(if: engines.contains(.uring), "a thread's calls run to their end"))
    func anOpenThatIsCancelledInAWorkerIsECANCELED() throws {
      try withHarness(.uring, isComparable: false) { harness in
        let path = "/tmp/millrace-fifo-\(getpid())"
        #expect(mkfifo(path, 0o600) == 0)
        defer { Glibc.unlink(path) }
        let open = harness.token()
        harness.engine.open(path, flags: O_RDONLY | O_CREAT, mode: 0o600, open)
        for _ in 0..<3 { harness.turn(within: 10) }
        #expect(harness.ending(open) == nil)
        harness.engine.cancel(open)
        try harness.expect(open, -ECANCELED)
      }
    }
  }
}

/// How a grandchild answers: it is nobody's whom a test can wait for.
nonisolated(unsafe) private var toldTo: Int32 = -1

private func tell(_ answer: UInt8) {
  var answer = answer
  _ = Glibc.write(toldTo, &answer, 1)
  _exit(0)
}

/// Of x86-64.
private let epollControl: UInt32 = 233

private let canDenySystemCalls: Bool = {
  #if arch(x86_64)
    return dlsym(nil, "prctl") != nil
  #else
    return false
  #endif
}()

/// Has a system call fail for the rest of the process's life, seccomp(2).
/// - Returns: false where that is not allowed.
private func deny(systemCall number: UInt32, with code: Int32) -> Bool {
  // prctl(2) is variadic, which Swift cannot see.
  typealias Control = @convention(c) (Int32, UInt, UInt, UInt, UInt) -> Int32
  guard let symbol = dlsym(nil, "prctl") else { return false }
  let control = unsafeBitCast(symbol, to: Control.self)
  // struct sock_filter: load the number, compare it, and fail or let through.
  let errnoReturn = 0x0005_0000 | UInt64(UInt32(code))
  let program: [UInt64] = [
    0x20, 0x15 | 1 << 24 | UInt64(number) << 32, 0x06 | errnoReturn << 32,
    0x06 | 0x7FFF_0000 << 32,
  ]
  return program.withUnsafeBytes { filter in
    // struct sock_fprog: a count, and where the program is.
    var head = (UInt(filter.count / 8), UInt(bitPattern: filter.baseAddress))
    return withUnsafePointer(to: &head) { head in
      control(38, 1, 0, 0, 0) == 0 && control(22, 2, UInt(bitPattern: head), 0, 0) == 0
    }
  }
}
