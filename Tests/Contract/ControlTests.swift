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
      try onStage(kind) { stage in
        let nops = (0..<100).map { _ in stage.token() }
        for nop in nops { stage.engine.nop(nop) }
        #expect(stage.engine.next() == nil, "nothing is reported from a submission")
        for nop in nops { try stage.expect(nop, 0) }
      }
    }

    @Test(arguments: completeEngines)
    func aNopEndsAWaitForEver(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let nop = stage.token()
        stage.engine.nop(nop)
        stage.engine.wait(until: nil)
        stage.drain()
        #expect(stage.ending(nop) == 0)
      }
    }

    @Test(arguments: completeEngines)
    func timeoutsEndInTheOrderOfTheirDeadlinesAndNotBefore(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        stage.engine.refreshClocks()
        let start = stage.engine.now
        // Submitted in another order than that of their deadlines. What is past when the kernel
        // takes it ends in the order of submission, and a kernel thread on a busy machine has taken
        // them 3 ms late: none is due before 40.
        let delays: [Int64] = [31, 7, 23, 3, 17, 41, 11, 13, 29, 5, 37, 19, 2].map {
          (40 + $0) * 1_000_000
        }
        let timeouts = delays.map { delay in
          let token = stage.token()
          stage.engine.timeout(at: start + delay, token)
          return (delay: delay, token: token)
        }
        for (delay, token) in timeouts.sorted(by: { $0.delay < $1.delay }) {
          try stage.expect(token, -ETIME)
          #expect(stage.engine.now >= start + delay, "\(delay) ns: early")
        }
        let sorted = timeouts.sorted { $0.delay < $1.delay }.map(\.token.rawValue)
        #expect(stage.order == sorted)
      }
    }

    @Test(arguments: completeEngines, [Int64(1), 1000, 999_999, 1_000_000, 1_000_001, 12_345_678])
    func aTimeoutEndsAWaitForEverSoonAfterItsDeadline(_ kind: EngineKind, _ delay: Int64) throws {
      try onStage(kind) { stage in
        stage.engine.refreshClocks()
        let deadline = stage.engine.now + delay
        let timeout = stage.token()
        stage.engine.timeout(at: deadline, timeout)
        while stage.ending(timeout) == nil {
          stage.engine.wait(until: nil)
          stage.drain()
        }
        stage.engine.refreshClocks()
        #expect(stage.engine.now >= deadline)
        // Generous, for a busy machine: a lost timeout would never come.
        #expect(stage.engine.now < deadline + second)
      }
    }

    @Test(arguments: completeEngines, [Int64.min, -1, 0, 1])
    func aTimeoutInThePastEndsAtOnce(_ kind: EngineKind, _ deadline: Int64) throws {
      try onStage(kind) { stage in
        let timeout = stage.token()
        stage.engine.timeout(at: deadline, timeout)
        stage.engine.wait(until: nil)
        stage.drain()
        try stage.expect(timeout, -ETIME)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [Int64.max, Int64.max - 1])
    func aTimeoutThatNeverComesCanBeCancelled(_ kind: EngineKind, _ deadline: Int64) throws {
      try onStage(kind) { stage in
        let timeout = stage.token()
        stage.engine.timeout(at: deadline, timeout)
        for _ in 0..<3 { stage.turn(within: 3) }
        #expect(stage.ending(timeout) == nil)
        stage.engine.cancel(timeout)
        stage.engine.cancel(timeout)
        try stage.expect(timeout, -ECANCELED)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func cancellingOneOfManyTimeoutsLeavesTheOthersAlone(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        stage.engine.refreshClocks()
        let start = stage.engine.now
        let timeouts = (1...30).map { i in
          let token = stage.token()
          stage.engine.timeout(at: start + Int64(i) * 1_000_000, token)
          return token
        }
        stage.engine.cancel(timeouts[29])
        try stage.expect(timeouts[29], -ECANCELED)
        for timeout in timeouts[..<29] { try stage.expect(timeout, -ETIME) }
      }
    }

    @Test(arguments: completeEngines)
    func cancellingWhatIsNotThereIsNothing(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        stage.engine.cancel(Token(rawValue: 1 << 50))
        let (socket, _) = try stage.connection()
        stage.engine.cancelAll(socket)
        let nop = stage.token()
        stage.engine.nop(nop)
        try stage.expect(nop, 0)
        stage.engine.cancel(nop)
        stage.turn(within: 5)
        #expect(stage[nop].terminals == 1)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [ReceiveMode.stream, .once])
    func aReceiveIsCancelledByItsToken(_ kind: EngineKind, _ mode: ReceiveMode) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let receive = stage.token()
        stage.engine.receive(socket, mode, receive)
        stage.turn(within: 2)
        stage.engine.cancel(receive)
        try stage.expect(receive, -ECANCELED)
        // And nothing is broken: the bytes of later are there for the next.
        peer.send("later")
        let next = stage.token()
        stage.engine.receive(socket, .once, next)
        try stage.expect(next, 5)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anAcceptIsCancelledByItsToken(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let accept = stage.token()
        stage.engine.accept(listener, accept)
        stage.turn(within: 2)
        stage.engine.cancel(accept)
        try stage.expect(accept, -ECANCELED)
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aConnectIsCancelledByItsToken(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let plain = try stage.outside.listener(backlog: 0)
        let first = try stage.peer(at: plain.address)
        var waiting: [(socket: Descriptor, token: Token)] = []
        for _ in 0..<3 {
          let token = stage.token()
          stage.engine.transcript.mayRace(token)
          waiting.append((try stage.engine.connect(plain.address, token), token))
        }
        for _ in 0..<5 { stage.turn(within: 4) }
        for (_, token) in waiting { stage.engine.cancel(token) }
        #expect(try stage.end(waiting[2].token) == -ECANCELED)
        for (socket, token) in waiting {
          try stage.end(token)
          stage.engine.close(socket)
        }
        first.close()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [SendUrgency.quiet, .awaited])
    func aSendIsCancelledByItsTokenAndEndsShort(
      _ kind: EngineKind, _ urgency: SendUrgency
    ) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let send = stage.token()
        stage.engine.send(socket, try coldFrame(stage, pattern(8 << 20)), urgency, send)
        for _ in 0..<4 { stage.turn(within: 3) }
        #expect(stage.ending(send) == nil)
        stage.engine.cancel(send)
        try stage.expect(send, -ECANCELED)
        // What had left, and nothing else, arrives.
        stage.engine.shutdown(socket, .send)
        var got: [UInt8] = []
        try stage.turn(until: {
          guard let more = peer.receive() else { return true }
          got += more
          return false
        })
        #expect(got == Array(pattern(8 << 20)[..<got.count]) && got.count < 8 << 20)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func everyOperationOfATokenIsCancelled(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (first, _) = try stage.connection()
        let (second, _) = try stage.connection()
        let shared = Token(rawValue: 1 << 40)
        var ended: [Int32] = []
        stage.engine.receive(first, .stream, shared)
        stage.engine.receive(second, .once, shared)
        stage.engine.refreshClocks()
        stage.engine.timeout(at: stage.engine.now + 60_000_000_000, shared)
        stage.turn(within: 2)
        stage.watch = { if $0.token == shared { ended.append($0.result) } }
        stage.engine.cancel(shared)
        try stage.turn(until: { ended.count == 3 })
        #expect(ended == [-ECANCELED, -ECANCELED, -ECANCELED])
        stage.expectSeveralEndings(of: shared)
        stage.engine.close(first)
        stage.engine.close(second)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func cancellingAllOfASocketEndsBothDirections(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try stage.connection()
        let (receive, send) = (stage.token(), stage.token())
        stage.engine.receive(socket, .stream, receive)
        stage.engine.send(socket, try coldFrame(stage, pattern(8 << 20)), .quiet, send)
        for _ in 0..<4 { stage.turn(within: 3) }
        stage.engine.cancelAll(socket)
        try stage.expect(receive, -ECANCELED)
        try stage.expect(send, -ECANCELED)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func cancellingAllOfAListenerEndsItsAccept(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let listener = try stage.listener()
        let accept = stage.token()
        stage.engine.accept(listener, accept)
        stage.turn(within: 2)
        stage.engine.cancelAll(listener)
        try stage.expect(accept, -ECANCELED)
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func cancellingAllInTheTurnOfTheSubmissionEndsEachOnce(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try stage.connection()
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        stage.engine.cancelAll(socket)
        stage.engine.cancelAll(socket)
        try stage.expect(receive, -ECANCELED)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [-1, 0, 1])
    func oneTimeoutMoreThanThereAreSlotsIsENOBUFSAndCounted(
      _ kind: EngineKind, _ beyond: Int
    ) throws {
      var options = Stage.options
      options.controlOperations = 8
      try onStage(kind, options) { stage in
        stage.engine.refreshClocks()
        let far = stage.engine.now + 60 * second
        let timeouts = (0..<(8 + beyond)).map { _ in
          let token = stage.token()
          stage.engine.timeout(at: far, token)
          return token
        }
        if beyond > 0 { try stage.expect(timeouts[8], -ENOBUFS) }
        #expect(stage.engine.counters.operationsRefused == max(0, beyond))
        stage.turn(within: 2)
        for timeout in timeouts.prefix(8) { stage.engine.cancel(timeout) }
        for timeout in timeouts.prefix(8) { try stage.expect(timeout, -ECANCELED) }
        // The slots are free again.
        let nop = stage.token()
        stage.engine.nop(nop)
        try stage.expect(nop, 0)
      }
    }

    /// Foreign descriptors are the process's own.
    @Test(arguments: completeKernelEngines)
    func aForeignPipeIsPolledOnce(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let pipe = try ForeignPipe()
        let (readable, writable) = (stage.token(), stage.token())
        stage.engine.poll(pipe.output, .readable, readable)
        stage.engine.poll(pipe.input, .writable, writable)
        try stage.expect(writable, Int32(PollEvents.writable.rawValue))
        for _ in 0..<3 { stage.turn(within: 2) }
        #expect(stage.ending(readable) == nil)
        pipe.write("x")
        #expect(try stage.end(readable) & Int32(PollEvents.readable.rawValue) != 0)
        pipe.write("y")
        for _ in 0..<3 { stage.turn(within: 2) }
        #expect(stage[readable].terminals == 1)
        // And again, under another token.
        let again = stage.token()
        stage.engine.poll(pipe.output, .readable, again)
        try stage.expect(again, Int32(PollEvents.readable.rawValue))
      }
    }

    @Test(.tags(.failure), arguments: completeKernelEngines)
    func aPollThatNothingHappensToIsCancelled(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let pipe = try ForeignPipe()
        for byAll in [false, true] {
          let poll = stage.token()
          stage.engine.poll(pipe.output, .readable, poll)
          stage.turn(within: 2)
          byAll
            ? stage.engine.cancelAll(Descriptor(rawValue: pipe.output)) : stage.engine.cancel(poll)
          try stage.expect(poll, -ECANCELED)
        }
      }
    }

    @Test(.tags(.failure), arguments: completeKernelEngines)
    func theOtherEndThatGoesAwayIsAHangUp(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let pipe = try ForeignPipe()
        let poll = stage.token()
        stage.engine.poll(pipe.output, .readable, poll)
        stage.turn(within: 2)
        pipe.closeInput()
        let events = try stage.end(poll)
        #expect(events & Int32(PollEvents.hangUp.rawValue) != 0)
        stage.showedFailure = true
      }
    }

    @Test(.tags(.failure), arguments: completeKernelEngines)
    func aDescriptorThatIsNotOpenCannotBePolled(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        try stage.expect(-EBADF) { stage.engine.poll(60_000, .readable, $0) }
      }
    }

    @Test(arguments: completeKernelEngines)
    func aRegularFileIsAlwaysReady(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let path = try stage.outside.directory() + "/ready"
        let file = Glibc.open(path, O_RDWR | O_CREAT, 0o600)
        defer { Glibc.close(file) }
        let events = try stage.ending { stage.engine.poll(file, [.readable, .writable], $0) }
        #expect(events == Int32(PollEvents([.readable, .writable]).rawValue))
      }
    }

    /// epoll, because poll(2) looks once more when its time is over: it would find the work that
    /// nobody woke it for.
    @Test(arguments: completeKernelEngines)
    func theDescriptorForOtherLoopsWakesOneThatSleepsAlready(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        let descriptor = stage.engine.pollDescriptor
        let foreign = epoll_create1(Int32(EPOLL_CLOEXEC))
        defer { Glibc.close(foreign) }
        var interest = epoll_event(
          events: EPOLLIN.rawValue, data: epoll_data_t(fd: descriptor))
        #expect(epoll_ctl(foreign, EPOLL_CTL_ADD, descriptor, &interest) == 0)
        for round in 1...5 {
          for _ in 0..<3 {
            stage.engine.wait(until: 0)
            stage.drain()
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
        try stage.turn(until: { stage[receive].bytes.count == 20 })
        try stage.close(socket, joining: receive)
      }
    }

    @Test(arguments: completeKernelEngines)
    func theDescriptorForOtherLoopsIsReadableWhenThereIsWork(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        func isReadable(_ milliseconds: Int32) -> Bool {
          var ready = pollfd(
            fd: stage.engine.pollDescriptor, events: Int16(POLLIN), revents: 0)
          return Glibc.poll(&ready, 1, milliseconds) == 1
        }
        func settle() {
          for _ in 0..<3 {
            stage.engine.wait(until: 0)
            stage.drain()
          }
        }
        let (socket, peer) = try stage.connection()
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        settle()
        #expect(!isReadable(0))
        for round in 1...5 {
          peer.send("work")
          #expect(isReadable(5000), "the foreign loop was not told")
          settle()
          #expect(stage[receive].bytes.count == 4 * round)
          #expect(!isReadable(0))
        }
        stage.engine.waker.wake()
        #expect(isReadable(5000), "a wake")
        settle()
        try stage.close(socket, joining: receive)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func closingASocketThatIsShutDownAsAnOperationEndsWithZeroEach(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        try stage.expect(0) { stage.engine.shutdown(socket, .send, $0) }
        #expect(try stage.endSeen(by: peer) == 0)
        let late = stage.token()
        stage.engine.send(socket, try stage.frame("late"), .awaited, late)
        try stage.expect(late, -EPIPE)
        try stage.expect(0) { stage.engine.close(socket, $0) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func shuttingDownWhatIsNotConnectedIsENOTCONN(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let closed = try stage.listener()
        let address = try stage.address(of: closed)
        stage.engine.close(closed)
        stage.turn()
        let connect = stage.token()
        let socket = try stage.engine.connect(address, connect)
        try stage.expect(connect, -ECONNREFUSED)
        try stage.expect(-ENOTCONN) { stage.engine.shutdown(socket, .both, $0) }
        try stage.expect(0) { stage.engine.close(socket, $0) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aNumberThatIsNotOpenIsEBADFToShutdownAndClose(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let none = Descriptor(rawValue: 60_000)
        try stage.expect(-EBADF) { stage.engine.shutdown(none, .both, $0) }
        try stage.expect(-EBADF) { stage.engine.close(none, $0) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aShutdownAsAnOperationEndsAReceiveWithZeroAndASendWithEPIPE(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try stage.connection()
        let (receive, send, shutdown) = (stage.token(), stage.token(), stage.token())
        stage.engine.receive(socket, .stream, receive)
        stage.engine.send(socket, try coldFrame(stage, pattern(8 << 20)), .awaited, send)
        for _ in 0..<3 { stage.turn(within: 3) }
        stage.engine.shutdown(socket, .both, shutdown)
        try stage.expect(shutdown, 0)
        try stage.expect(receive, 0)
        try stage.expect(send, -EPIPE)
        stage.engine.close(socket)
      }
    }

    /// The engine's table has no record of them to look at.
    @Test(.tags(.failure), arguments: completeEngines, Chains.ways)
    func closingANumberThatNoneCanHaveIsEBADF(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Chains.options(way)) { stage in
        let limit = Int32(Stage.options.descriptorLimit)
        for number in [-1, limit, .max - 1, .max, .min] {
          let none = Descriptor(rawValue: number)
          try stage.expect(-EBADF) { stage.engine.close(none, $0) }
          let (close, step) = (stage.token(), stage.token())
          chain(stage) {
            stage.engine.close(none, close)
            stage.engine.nop(step)
          }
          try stage.expect(close, -EBADF)
          try stage.expect(step, -ECANCELED)
          stage.engine.cancelAll(none)
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func closingAsAnOperationWithAReceiveInFlightTraps(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { stage in
          stage.kept = try stage.connection().socket
          stage.engine.receive(stage.kept, .stream, stage.token())
        }
      ) { stage in
        stage.engine.close(stage.kept, stage.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func twoReceivesOnOneSocketTrap(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { stage in
          stage.kept = try stage.connection().socket
          stage.engine.receive(stage.kept, .stream, stage.token())
        }
      ) { stage in
        stage.engine.receive(stage.kept, .once, stage.token())
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
    guard clinux_pipe2(&ends, O_CLOEXEC) == 0 else { throw StageFailure("pipe: errno \(errno)") }
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
