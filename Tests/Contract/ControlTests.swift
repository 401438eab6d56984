// The loop's own operations: time, doing nothing, cancelling, and other loops' descriptors.

import CLinux
import Glibc
import MillraceEngine
import Testing

private let second: Int64 = 1_000_000_000

extension Contract {
  @Suite struct Control {
    @Test(arguments: completeEngines)
    func doingNothingEndsWithZeroInTheNextTurn(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let nops = (0..<100).map { _ in harness.token() }
        for nop in nops { harness.engine.nop(nop) }
        #expect(harness.engine.next() == nil, "nothing is reported from a submission")
        for nop in nops { try harness.expect(nop, 0) }
      }
    }

    @Test(arguments: completeEngines)
    func aNopEndsAWaitForEver(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let nop = harness.token()
        harness.engine.nop(nop)
        harness.engine.wait(until: nil)
        harness.drain()
        #expect(harness.ending(nop) == 0)
      }
    }

    @Test(arguments: completeEngines)
    func timeoutsEndInTheOrderOfTheirDeadlinesAndNotBefore(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        harness.engine.refreshClocks()
        let start = harness.engine.now
        // Submitted in another order than that of their deadlines. What is past when the kernel
        // takes it ends in the order of submission, and a kernel thread on a busy machine has taken
        // them 3 ms late: none is due before 40.
        let delays: [Int64] = [31, 7, 23, 3, 17, 41, 11, 13, 29, 5, 37, 19, 2].map {
          (40 + $0) * 1_000_000
        }
        let timeouts = delays.map { delay in
          let token = harness.token()
          harness.engine.timeout(at: start + delay, token)
          return (delay: delay, token: token)
        }
        for (delay, token) in timeouts.sorted(by: { $0.delay < $1.delay }) {
          try harness.expect(token, -ETIME)
          #expect(harness.engine.now >= start + delay, "\(delay) ns: early")
        }
        let sorted = timeouts.sorted { $0.delay < $1.delay }.map(\.token.rawValue)
        #expect(harness.order == sorted)
      }
    }

    @Test(arguments: completeEngines, [Int64(1), 1000, 999_999, 1_000_000, 1_000_001, 12_345_678])
    func aTimeoutEndsAWaitForEverSoonAfterItsDeadline(_ kind: EngineKind, _ delay: Int64) throws {
      try withHarness(kind) { harness in
        harness.engine.refreshClocks()
        let deadline = harness.engine.now + delay
        let timeout = harness.token()
        harness.engine.timeout(at: deadline, timeout)
        while harness.ending(timeout) == nil {
          harness.engine.wait(until: nil)
          harness.drain()
        }
        harness.engine.refreshClocks()
        #expect(harness.engine.now >= deadline)
        // Generous, for a busy machine: a lost timeout would never come.
        #expect(harness.engine.now < deadline + second)
      }
    }

    @Test(arguments: completeEngines, [Int64.min, -1, 0, 1])
    func aTimeoutInThePastEndsAtOnce(_ kind: EngineKind, _ deadline: Int64) throws {
      try withHarness(kind) { harness in
        let timeout = harness.token()
        harness.engine.timeout(at: deadline, timeout)
        harness.engine.wait(until: nil)
        harness.drain()
        try harness.expect(timeout, -ETIME)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [Int64.max, Int64.max - 1])
    func aTimeoutThatNeverComesCanBeCancelled(_ kind: EngineKind, _ deadline: Int64) throws {
      try withHarness(kind) { harness in
        let timeout = harness.token()
        harness.engine.timeout(at: deadline, timeout)
        for _ in 0..<3 { harness.turn(within: 3) }
        #expect(harness.ending(timeout) == nil)
        harness.engine.cancel(timeout)
        harness.engine.cancel(timeout)
        try harness.expect(timeout, -ECANCELED)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func cancellingOneOfManyTimeoutsLeavesTheOthersAlone(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        harness.engine.refreshClocks()
        let start = harness.engine.now
        let timeouts = (1...30).map { i in
          let token = harness.token()
          harness.engine.timeout(at: start + Int64(i) * 1_000_000, token)
          return token
        }
        harness.engine.cancel(timeouts[29])
        try harness.expect(timeouts[29], -ECANCELED)
        for timeout in timeouts[..<29] { try harness.expect(timeout, -ETIME) }
      }
    }

    @Test(arguments: completeEngines)
    func cancellingWhatIsNotThereIsNothing(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        harness.engine.cancel(Token(rawValue: 1 << 50))
        let (socket, _) = try harness.connection()
        harness.engine.cancelAll(socket)
        let nop = harness.token()
        harness.engine.nop(nop)
        try harness.expect(nop, 0)
        harness.engine.cancel(nop)
        harness.turn(within: 5)
        #expect(harness[nop].terminals == 1)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [ReceiveMode.stream, .once])
    func aReceiveIsCancelledByItsToken(_ kind: EngineKind, _ mode: ReceiveMode) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, mode, receive)
        harness.turn(within: 2)
        harness.engine.cancel(receive)
        try harness.expect(receive, -ECANCELED)
        // And nothing is broken: the bytes of later are there for the next.
        peer.send("later")
        let next = harness.token()
        harness.engine.receive(socket, .once, next)
        try harness.expect(next, 5)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anAcceptIsCancelledByItsToken(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let accept = harness.token()
        harness.engine.accept(listener, accept)
        harness.turn(within: 2)
        harness.engine.cancel(accept)
        try harness.expect(accept, -ECANCELED)
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aConnectIsCancelledByItsToken(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let plain = try harness.outside.listener(backlog: 0)
        let first = try harness.peer(at: plain.address)
        var waiting: [(socket: Descriptor, token: Token)] = []
        for _ in 0..<3 {
          let token = harness.token()
          harness.engine.transcript.mayRace(token)
          waiting.append((try harness.engine.connect(plain.address, token), token))
        }
        for _ in 0..<5 { harness.turn(within: 4) }
        for (_, token) in waiting { harness.engine.cancel(token) }
        #expect(try harness.end(waiting[2].token) == -ECANCELED)
        for (socket, token) in waiting {
          try harness.end(token)
          harness.engine.close(socket)
        }
        first.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [SendUrgency.quiet, .awaited])
    func aSendIsCancelledByItsTokenAndEndsShort(
      _ kind: EngineKind, _ urgency: SendUrgency
    ) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let send = harness.token()
        harness.engine.send(socket, try coldFrame(harness, pattern(8 << 20)), urgency, send)
        for _ in 0..<4 { harness.turn(within: 3) }
        #expect(harness.ending(send) == nil)
        harness.engine.cancel(send)
        try harness.expect(send, -ECANCELED)
        // What had left, and nothing else, arrives.
        harness.engine.shutdown(socket, .send)
        var got: [UInt8] = []
        try harness.turn(until: {
          guard let more = peer.receive() else { return true }
          got += more
          return false
        })
        #expect(got == Array(pattern(8 << 20)[..<got.count]) && got.count < 8 << 20)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func everyOperationOfATokenIsCancelled(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (first, _) = try harness.connection()
        let (second, _) = try harness.connection()
        let shared = Token(rawValue: 1 << 40)
        var ended: [Int32] = []
        harness.engine.receive(first, .stream, shared)
        harness.engine.receive(second, .once, shared)
        harness.engine.refreshClocks()
        harness.engine.timeout(at: harness.engine.now + 60_000_000_000, shared)
        harness.turn(within: 2)
        harness.watch = { if $0.token == shared { ended.append($0.result) } }
        harness.engine.cancel(shared)
        try harness.turn(until: { ended.count == 3 })
        #expect(ended == [-ECANCELED, -ECANCELED, -ECANCELED])
        harness.expectSeveralEndings(of: shared)
        harness.engine.close(first)
        harness.engine.close(second)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func cancellingAllOfASocketEndsBothDirections(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try harness.connection()
        let (receive, send) = (harness.token(), harness.token())
        harness.engine.receive(socket, .stream, receive)
        harness.engine.send(socket, try coldFrame(harness, pattern(8 << 20)), .quiet, send)
        for _ in 0..<4 { harness.turn(within: 3) }
        harness.engine.cancelAll(socket)
        try harness.expect(receive, -ECANCELED)
        try harness.expect(send, -ECANCELED)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func cancellingAllOfAListenerEndsItsAccept(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let listener = try harness.listener()
        let accept = harness.token()
        harness.engine.accept(listener, accept)
        harness.turn(within: 2)
        harness.engine.cancelAll(listener)
        try harness.expect(accept, -ECANCELED)
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func cancellingAllInTheTurnOfTheSubmissionEndsEachOnce(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        harness.engine.cancelAll(socket)
        harness.engine.cancelAll(socket)
        try harness.expect(receive, -ECANCELED)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [-1, 0, 1])
    func oneTimeoutMoreThanThereAreSlotsIsENOBUFSAndCounted(
      _ kind: EngineKind, _ beyond: Int
    ) throws {
      var options = Harness.options
      options.controlOperations = 8
      try withHarness(kind, options) { harness in
        harness.engine.refreshClocks()
        let far = harness.engine.now + 60 * second
        let timeouts = (0..<(8 + beyond)).map { _ in
          let token = harness.token()
          harness.engine.timeout(at: far, token)
          return token
        }
        if beyond > 0 { try harness.expect(timeouts[8], -ENOBUFS) }
        #expect(harness.engine.counters.operationsRefused == max(0, beyond))
        harness.turn(within: 2)
        for timeout in timeouts.prefix(8) { harness.engine.cancel(timeout) }
        for timeout in timeouts.prefix(8) { try harness.expect(timeout, -ECANCELED) }
        // The slots are free again.
        let nop = harness.token()
        harness.engine.nop(nop)
        try harness.expect(nop, 0)
      }
    }

    /// Foreign descriptors are the process's own.
    @Test(arguments: completeKernelEngines)
    func aForeignPipeIsPolledOnce(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let pipe = try ForeignPipe()
        let (readable, writable) = (harness.token(), harness.token())
        harness.engine.poll(pipe.output, .readable, readable)
        harness.engine.poll(pipe.input, .writable, writable)
        try harness.expect(writable, Int32(PollEvents.writable.rawValue))
        for _ in 0..<3 { harness.turn(within: 2) }
        #expect(harness.ending(readable) == nil)
        pipe.write("x")
        #expect(try harness.end(readable) & Int32(PollEvents.readable.rawValue) != 0)
        pipe.write("y")
        for _ in 0..<3 { harness.turn(within: 2) }
        #expect(harness[readable].terminals == 1)
        // And again, under another token.
        let again = harness.token()
        harness.engine.poll(pipe.output, .readable, again)
        try harness.expect(again, Int32(PollEvents.readable.rawValue))
      }
    }

    @Test(.tags(.failure), arguments: completeKernelEngines)
    func aPollThatNothingHappensToIsCancelled(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let pipe = try ForeignPipe()
        for byAll in [false, true] {
          let poll = harness.token()
          harness.engine.poll(pipe.output, .readable, poll)
          harness.turn(within: 2)
          byAll
            ? harness.engine.cancelAll(Descriptor(rawValue: pipe.output))
            : harness.engine.cancel(poll)
          try harness.expect(poll, -ECANCELED)
        }
      }
    }

    @Test(.tags(.failure), arguments: completeKernelEngines)
    func theOtherEndThatGoesAwayIsAHangUp(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let pipe = try ForeignPipe()
        let poll = harness.token()
        harness.engine.poll(pipe.output, .readable, poll)
        harness.turn(within: 2)
        pipe.closeInput()
        let events = try harness.end(poll)
        #expect(events & Int32(PollEvents.hangUp.rawValue) != 0)
        harness.showedFailure = true
      }
    }

    @Test(.tags(.failure), arguments: completeKernelEngines)
    func aDescriptorThatIsNotOpenCannotBePolled(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        try harness.expect(-EBADF) { harness.engine.poll(60_000, .readable, $0) }
      }
    }

    @Test(arguments: completeKernelEngines)
    func aRegularFileIsAlwaysReady(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let path = try harness.outside.directory() + "/ready"
        let file = Glibc.open(path, O_RDWR | O_CREAT, 0o600)
        defer { Glibc.close(file) }
        let events = try harness.ending { harness.engine.poll(file, [.readable, .writable], $0) }
        #expect(events == Int32(PollEvents([.readable, .writable]).rawValue))
      }
    }

    /// epoll, because poll(2) looks once more when its time is over: it would find the work that
    /// nobody woke it for.
    @Test(arguments: completeKernelEngines)
    func theDescriptorForOtherLoopsWakesOneThatSleepsAlready(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        let descriptor = harness.engine.pollDescriptor
        let foreign = epoll_create1(Int32(EPOLL_CLOEXEC))
        defer { Glibc.close(foreign) }
        var interest = epoll_event(
          events: EPOLLIN.rawValue, data: epoll_data_t(fd: descriptor))
        #expect(epoll_ctl(foreign, EPOLL_CTL_ADD, descriptor, &interest) == 0)
        for round in 1...5 {
          for _ in 0..<3 {
            harness.engine.wait(until: 0)
            harness.drain()
          }
          // Asleep on another thread, as a foreign loop may be; its answer comes through a pipe.
          var answer: (Int32, Int32) = (0, 0)
          withUnsafeMutableBytes(of: &answer) {
            _ = Glibc.pipe($0.baseAddress!.assumingMemoryBound(to: Int32.self))
          }
          let tell = answer.1
          let sleeper = try WorkerThread.start(name: "foreign", cpu: nil) {
            var event = epoll_event()
            var ready = UInt8(truncatingIfNeeded: clinux_epoll_wait(foreign, &event, 1, 5 * second))
            _ = Glibc.write(tell, &ready, 1)
          }
          usleep(20_000)
          peer.send("work")
          var ready: UInt8 = 0
          _ = Glibc.read(answer.0, &ready, 1)
          sleeper.join()
          Glibc.close(answer.0)
          Glibc.close(answer.1)
          #expect(ready == 1, "round \(round): the foreign loop was not told")
        }
        // Beside a thread of the kernel's one turn may be early.
        try harness.turn(until: { harness[receive].bytes.count == 20 })
        try harness.close(socket, joining: receive)
      }
    }

    @Test(arguments: completeKernelEngines)
    func theDescriptorForOtherLoopsIsReadableWhenThereIsWork(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        func isReadable(_ milliseconds: Int32) -> Bool {
          var ready = pollfd(
            fd: harness.engine.pollDescriptor, events: Int16(POLLIN), revents: 0)
          return Glibc.poll(&ready, 1, milliseconds) == 1
        }
        func settle() {
          for _ in 0..<3 {
            harness.engine.wait(until: 0)
            harness.drain()
          }
        }
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        settle()
        #expect(!isReadable(0))
        for round in 1...5 {
          peer.send("work")
          #expect(isReadable(5000), "the foreign loop was not told")
          settle()
          #expect(harness[receive].bytes.count == 4 * round)
          #expect(!isReadable(0))
        }
        harness.engine.waker.wake()
        #expect(isReadable(5000), "a wake")
        settle()
        try harness.close(socket, joining: receive)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func closingASocketThatIsShutDownAsAnOperationEndsWithZeroEach(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        try harness.expect(0) { harness.engine.shutdown(socket, .send, $0) }
        #expect(try harness.endSeen(by: peer) == 0)
        let late = harness.token()
        harness.engine.send(socket, try harness.frame("late"), .awaited, late)
        try harness.expect(late, -EPIPE)
        try harness.expect(0) { harness.engine.close(socket, $0) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func shuttingDownWhatIsNotConnectedIsENOTCONN(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let closed = try harness.listener()
        let address = try harness.address(of: closed)
        harness.engine.close(closed)
        harness.turn()
        let connect = harness.token()
        let socket = try harness.engine.connect(address, connect)
        try harness.expect(connect, -ECONNREFUSED)
        try harness.expect(-ENOTCONN) { harness.engine.shutdown(socket, .both, $0) }
        try harness.expect(0) { harness.engine.close(socket, $0) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aNumberThatIsNotOpenIsEBADFToShutdownAndClose(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let none = Descriptor(rawValue: 60_000)
        try harness.expect(-EBADF) { harness.engine.shutdown(none, .both, $0) }
        try harness.expect(-EBADF) { harness.engine.close(none, $0) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aShutdownAsAnOperationEndsAReceiveWithZeroAndASendWithEPIPE(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try harness.connection()
        let (receive, send, shutdown) = (harness.token(), harness.token(), harness.token())
        harness.engine.receive(socket, .stream, receive)
        harness.engine.send(socket, try coldFrame(harness, pattern(8 << 20)), .awaited, send)
        for _ in 0..<3 { harness.turn(within: 3) }
        harness.engine.shutdown(socket, .both, shutdown)
        try harness.expect(shutdown, 0)
        try harness.expect(receive, 0)
        try harness.expect(send, -EPIPE)
        harness.engine.close(socket)
      }
    }

    /// The engine's table has no record of them to look at.
    @Test(.tags(.failure), arguments: completeEngines, Chains.ways)
    func closingANumberThatNoneCanHaveIsEBADF(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Chains.options(way)) { harness in
        let limit = Int32(Harness.options.descriptorLimit)
        for number in [-1, limit, .max - 1, .max, .min] {
          let none = Descriptor(rawValue: number)
          try harness.expect(-EBADF) { harness.engine.close(none, $0) }
          let (close, step) = (harness.token(), harness.token())
          chain(harness) {
            harness.engine.close(none, close)
            harness.engine.nop(step)
          }
          try harness.expect(close, -EBADF)
          try harness.expect(step, -ECANCELED)
          harness.engine.cancelAll(none)
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func closingAsAnOperationWithAReceiveInFlightTraps(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { harness in
          harness.kept = try harness.connection().socket
          harness.engine.receive(harness.kept, .stream, harness.token())
        }
      ) { harness in
        harness.engine.close(harness.kept, harness.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func twoReceivesOnOneSocketTrap(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { harness in
          harness.kept = try harness.connection().socket
          harness.engine.receive(harness.kept, .stream, harness.token())
        }
      ) { harness in
        harness.engine.receive(harness.kept, .once, harness.token())
      }
    }
  }
}

/// A pipe that no engine knows of.
private final class ForeignPipe {
  let output: Int32
  private(set) var input: Int32

  init() throws {
    var ends: [Int32] = [-1, -1]
    guard clinux_pipe2(&ends, O_CLOEXEC) == 0 else { throw HarnessFailure("pipe: errno \(errno)") }
    output = ends[0]
    input = ends[1]
  }

  deinit {
    closeInput()
    Glibc.close(output)
  }

  func write(_ text: String) { _ = Glibc.write(input, text, text.utf8.count) }

  func closeInput() {
    if input >= 0 { Glibc.close(input) }
    input = -1
  }
}
