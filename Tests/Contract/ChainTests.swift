// Chains: each step starts when the one before it has succeeded, and a break ends all later ones,
// once each, without having begun.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Chains {
    /// With the kernel's links, and with the steps run by the engine itself.
    static let ways: [EngineFeatures] = [Stage.features, Stage.features.subtracting(.linkedChains)]

    static func options(_ features: EngineFeatures) -> EngineOptions {
      var options = Stage.options
      options.features = features
      return options
    }

    @Test(arguments: completeEngines, ways)
    func stepsRunOneAfterAnotherAndAreReportedInOrder(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let steps = (0..<Chain.limit).map { _ in stage.token() }
        chain(stage) { for step in steps { stage.engine.nop(step) } }
        for step in steps { try stage.expect(step, 0) }
        #expect(stage.order == steps.map(\.rawValue))
      }
    }

    @Test(arguments: completeEngines, ways)
    func aChainOfOneStepIsThatStep(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let step = stage.token()
        chain(stage) { stage.engine.nop(step) }
        try stage.expect(step, 0)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aBreakAtAnyPositionCancelsWhatComesAfterItAndNothingBefore(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        for length in [2, 3, Chain.limit] {
          for position in 0..<length {
            let steps = (0..<length).map { _ in stage.token() }
            chain(stage) {
              for (i, step) in steps.enumerated() {
                i == position ? stage.engine.fail(step) : stage.engine.nop(step)
              }
            }
            for (i, step) in steps.enumerated() {
              let expected = i < position ? 0 : i == position ? -EBADF : -ECANCELED
              try stage.expect(step, expected, "step \(i) of \(length), broken at \(position)")
            }
          }
        }
      }
    }

    @Test(arguments: completeEngines, ways)
    func aRecordIsWrittenMadeDurableAndReadBackInOneChain(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let path = try stage.outside.directory() + "/record"
        let file = try stage.open(path, O_RDWR | O_CREAT)
        let (write, sync, read) = (stage.token(), stage.token(), stage.token())
        chain(stage) {
          stage.engine.write(
            file, from: filled(5000), count: 5000, offset: 0, durable: false, write)
          stage.engine.synchronize(file, dataOnly: true, sync)
          stage.engine.read(file, into: FileBuffer(capacity: 5000), count: 5000, offset: 0, read)
        }
        try stage.expect(read, 5000)
        #expect(stage.ending(write) == 5000 && stage.ending(sync) == 0)
        #expect(try stage.fileBuffer(read).bytes(5000) == pattern(5000))
        _ = try stage.fileBuffer(write)
        try stage.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aReadThatIsShortByOneByteBreaksTheChain(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let path = try stage.outside.directory() + "/short"
        let file = try stage.open(path, O_RDWR | O_CREAT)
        #expect(try stage.write(file, pattern(1000), at: 0) == 1000)
        for (count, got, next) in [(999, 999, 0), (1000, 1000, 0), (1001, 1000, -ECANCELED)] {
          let (read, step) = (stage.token(), stage.token())
          chain(stage) {
            stage.engine.read(
              file, into: FileBuffer(capacity: 2000), count: count, offset: 0, read)
            stage.engine.nop(step)
          }
          try stage.expect(step, next, "of 1000 bytes \(count) were asked for")
          try stage.expect(read, Int32(got))
          #expect(try stage.fileBuffer(read).bytes(got) == Array(pattern(1000)[..<got]))
        }
        try stage.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aReadBeyondTheEndBreaksTheChainWithZero(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let file = try stage.open(stage.outside.directory() + "/empty", O_RDWR | O_CREAT)
        let (read, step) = (stage.token(), stage.token())
        chain(stage) {
          stage.engine.read(file, into: FileBuffer(capacity: 64), count: 64, offset: 0, read)
          stage.engine.nop(step)
        }
        try stage.expect(read, 0)
        try stage.expect(step, -ECANCELED)
        _ = try stage.fileBuffer(read)
        try stage.closeFile(file)
      }
    }

    /// A limit on file sizes makes a write stop short (setrlimit(2)): the kernel's engines only.
    @Test(.tags(.failure), arguments: completeKernelEngines, ways)
    func aWriteThatIsShortBreaksTheChain(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let file = try stage.open(stage.outside.directory() + "/limited", O_RDWR | O_CREAT)
        try withFileSizeLimit(8192) {
          for (count, got, next) in [(4095, 4095, 0), (4096, 4096, 0), (4097, 4096, -ECANCELED)] {
            let (write, step) = (stage.token(), stage.token())
            chain(stage) {
              stage.engine.write(
                file, from: filled(5000), count: count, offset: 4096, durable: false, write)
              stage.engine.nop(step)
            }
            try stage.expect(step, next, "\(count) bytes")
            try stage.expect(write, Int32(got))
            _ = try stage.fileBuffer(write)
          }
        }
        try stage.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func theBuffersOfStepsThatNeverBeganComeBack(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let path = try stage.outside.directory() + "/untouched"
        let file = try stage.open(path, O_RDWR | O_CREAT)
        let steps = (0..<4).map { _ in stage.token() }
        chain(stage) {
          stage.engine.fail(steps[0])
          for i in 1..<4 {
            stage.engine.write(
              file, from: filled(64 * i), count: 64 * i, offset: 0, durable: true, steps[i])
          }
        }
        for i in 1..<4 {
          try stage.expect(steps[i], -ECANCELED)
          let back = try stage.fileBuffer(steps[i])
          #expect(back.buffer.capacity == 64 * i && back.bytes(64 * i) == pattern(64 * i))
        }
        _ = try stage.fileBuffer(steps[0])
        #expect(stage.outside.content(of: path) == [], "a cancelled write wrote")
        try stage.closeFile(file)
      }
    }

    @Test(arguments: completeEngines, ways)
    func anAnswerIsSentShutDownAndClosedInOneChain(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, peer) = try stage.connection()
        let steps = (0..<3).map { _ in stage.token() }
        let frame = try stage.frame("the last answer")
        stage.engine.beginChain()
        stage.engine.send(socket, frame, .quiet, steps[0])
        stage.engine.shutdown(socket, .send, steps[1])
        stage.engine.close(socket, steps[2])
        stage.engine.endChain()
        try stage.expect(steps[2], 0)
        #expect(stage.ending(steps[0]) == 15 && stage.ending(steps[1]) == 0)
        #expect(try stage.received(by: peer, 15) == Array("the last answer".utf8))
        #expect(try stage.endSeen(by: peer) == 0)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aReceiveStepWaitsForBytesAndThenTheAnswerLeaves(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, peer) = try stage.connection()
        let (receive, send) = (stage.token(), stage.token())
        let frame = try stage.frame("pong")
        stage.engine.beginChain()
        stage.engine.receive(socket, .once, receive)
        stage.engine.send(socket, frame, .awaited, send)
        stage.engine.endChain()
        for _ in 0..<5 { stage.turn(within: 4) }
        #expect(stage.ending(receive) == nil && stage.ending(send) == nil)
        #expect(peer.receive() == [], "the answer left before the question had come")
        peer.send("ping")
        try stage.expect(send, 4)
        #expect(stage[receive].bytes == Array("ping".utf8))
        #expect(try stage.received(by: peer, 4) == Array("pong".utf8))
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aResetBreaksAChainThatWaitsForBytes(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, peer) = try stage.connection()
        let steps = (0..<3).map { _ in stage.token() }
        let frame = try stage.frame("never")
        stage.engine.beginChain()
        stage.engine.receive(socket, .once, steps[0])
        stage.engine.send(socket, frame, .awaited, steps[1])
        stage.engine.nop(steps[2])
        stage.engine.endChain()
        for _ in 0..<3 { stage.turn(within: 4) }
        peer.reset()
        try stage.expect(steps[0], -ECONNRESET)
        try stage.expect(steps[1], -ECANCELED)
        try stage.expect(steps[2], -ECANCELED)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aSendThatFailsBreaksTheChainAndTheSocketStaysOpen(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, _) = try stage.connection()
        stage.engine.shutdown(socket, .send)
        let (send, close) = (stage.token(), stage.token())
        let frame = try stage.frame("late")
        stage.engine.beginChain()
        stage.engine.send(socket, frame, .awaited, send)
        stage.engine.close(socket, close)
        stage.engine.endChain()
        try stage.expect(send, -EPIPE)
        try stage.expect(close, -ECANCELED)
        #expect(stage.engine.localAddress(socket) != nil, "it was closed although the chain broke")
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aSendThatIsCutOffBreaksTheChain(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, peer) = try stage.connection()
        let (send, step) = (stage.token(), stage.token())
        let frame = try coldFrame(stage, pattern(8 << 20))
        stage.engine.beginChain()
        stage.engine.send(socket, frame, .awaited, send)
        stage.engine.nop(step)
        stage.engine.endChain()
        for _ in 0..<3 { stage.turn(within: 4) }
        #expect(stage.ending(send) == nil && stage.ending(step) == nil)
        peer.reset()
        #expect(try stage.end(send) < 0)
        try stage.expect(step, -ECANCELED)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aSendThatTakesManyTurnsEndsWholeBeforeTheNextStep(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, peer) = try stage.connection()
        let (send, end) = (stage.token(), stage.token())
        let bytes = pattern(8 << 20)
        let frame = try coldFrame(stage, bytes)
        stage.engine.beginChain()
        stage.engine.send(socket, frame, .awaited, send)
        stage.engine.shutdown(socket, .send, end)
        stage.engine.endChain()
        #expect(try stage.received(by: peer, bytes.count) == bytes)
        try stage.expect(end, 0)
        #expect(stage.ending(send) == Int32(bytes.count))
        #expect(try stage.endSeen(by: peer) == 0)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aTimeoutStepDelaysTheNextAndCountsAsSuccess(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        stage.engine.refreshClocks()
        let deadline = stage.engine.now + 15_000_000
        let (timeout, step) = (stage.token(), stage.token())
        chain(stage) {
          stage.engine.timeout(at: deadline, timeout)
          stage.engine.nop(step)
        }
        try stage.expect(step, 0)
        #expect(stage.engine.now >= deadline)
        #expect(stage.ending(timeout) == -ETIME)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func cancellingTheStepThatRunsCancelsTheRest(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        stage.engine.refreshClocks()
        let steps = (0..<4).map { _ in stage.token() }
        chain(stage) {
          stage.engine.nop(steps[0])
          stage.engine.timeout(at: stage.engine.now + 60_000_000_000, steps[1])
          stage.engine.nop(steps[2])
          stage.engine.nop(steps[3])
        }
        try stage.expect(steps[0], 0)
        stage.turn(within: 2)
        stage.engine.cancel(steps[1])
        for step in steps[1...] { try stage.expect(step, -ECANCELED) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func stepsThatWereCancelledBeforeTheirTurnNeverRun(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        stage.engine.refreshClocks()
        let steps = (0..<3).map { _ in stage.token() }
        chain(stage) {
          stage.engine.timeout(at: stage.engine.now + 60_000_000_000, steps[0])
          stage.engine.nop(steps[1])
          stage.engine.nop(steps[2])
        }
        stage.turn(within: 2)
        stage.engine.cancel(steps[1])
        stage.engine.cancel(steps[0])
        for step in steps { try stage.expect(step, -ECANCELED) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func cancellingAllOfADescriptorEndsAChainOnIt(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let (socket, _) = try stage.connection()
        let (receive, send) = (stage.token(), stage.token())
        let frame = try stage.frame("never")
        stage.engine.beginChain()
        stage.engine.receive(socket, .once, receive)
        stage.engine.send(socket, frame, .awaited, send)
        stage.engine.endChain()
        for _ in 0..<3 { stage.turn(within: 2) }
        stage.engine.cancelAll(socket)
        try stage.expect(receive, -ECANCELED)
        try stage.expect(send, -ECANCELED)
        stage.engine.close(socket)
      }
    }

    /// Where the kernel runs the chain, each step ends when its turn has come.
    @Test(.tags(.failure), arguments: completeEngines)
    func cancellingAllOfAFileEndsTheStepsThatWait(_ kind: EngineKind) throws {
      try onStage(kind, Self.options(Stage.features.subtracting(.linkedChains))) { stage in
        let file = try stage.open(stage.outside.directory() + "/waits", O_RDWR | O_CREAT)
        stage.engine.refreshClocks()
        let (timeout, write, step) = (stage.token(), stage.token(), stage.token())
        chain(stage) {
          stage.engine.timeout(at: stage.engine.now + 60_000_000_000, timeout)
          stage.engine.write(file, from: filled(100), count: 100, offset: 0, durable: false, write)
          stage.engine.nop(step)
        }
        stage.turn(within: 2)
        stage.engine.cancelAll(file)
        try stage.expect(write, -ECANCELED)
        try stage.expect(step, -ECANCELED)
        _ = try stage.fileBuffer(write)
        #expect(stage.ending(timeout) == nil, "what runs goes on")
        stage.engine.cancel(timeout)
        try stage.expect(timeout, -ECANCELED)
        #expect(try stage.read(file, 100, at: 0) == [], "it was written all the same")
        try stage.closeFile(file)
      }
    }

    /// Asked for before the kernel had begun the step, its end was never asked for again.
    @Test(.tags(.failure), arguments: completeEngines, ways)
    func anAcceptThatIsStoppedBeforeItsTurnAndAfterwardsEnds(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way), isComparable: false) { stage in
        let listener = try stage.listener()
        stage.engine.refreshClocks()
        let (timeout, accept) = (stage.token(), stage.token())
        chain(stage) {
          stage.engine.timeout(at: stage.engine.now + 15_000_000, timeout)
          stage.engine.acceptOne(listener, into: nil, accept)
        }
        stage.turn()
        stage.engine.stopAccepting(listener)
        #expect(stage.ending(timeout) == nil)
        try stage.expect(timeout, -ETIME)
        for _ in 0..<3 { stage.turn(within: 2) }
        stage.engine.stopAccepting(listener)
        try stage.expect(accept, -ECANCELED)
        stage.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aChainInTheTurnOfItsCancellationEndsOnce(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        stage.engine.refreshClocks()
        let (timeout, step) = (stage.token(), stage.token())
        chain(stage) {
          stage.engine.timeout(at: stage.engine.now + 60_000_000_000, timeout)
          stage.engine.nop(step)
        }
        stage.engine.cancel(timeout)
        try stage.expect(timeout, -ECANCELED)
        try stage.expect(step, -ECANCELED)
      }
    }

    @Test(arguments: completeEngines, ways)
    func manyChainsInOneTurnStayWhole(_ kind: EngineKind, _ way: EngineFeatures) throws {
      var options = Self.options(way)
      // Not a multiple of the limit, so that chains would be cut at the end of the queue.
      options.submissionEntries = 16
      options.controlOperations = 512
      try onStage(kind, options) { stage in
        for lead in 0..<Chain.limit {
          let loose = (0..<lead).map { _ in stage.token() }
          let chains = (0..<12).map { _ in (0..<(Chain.limit - 1)).map { _ in stage.token() } }
          for step in loose { stage.engine.nop(step) }
          for steps in chains { chain(stage) { for step in steps { stage.engine.nop(step) } } }
          for steps in chains { for step in steps { try stage.expect(step, 0) } }
          for step in loose { try stage.end(step) }
          let order = stage.order
          for steps in chains {
            let places = steps.map { order.firstIndex(of: $0.rawValue)! }
            #expect(places == places.sorted(), "a chain ran out of order")
          }
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aBrokenChainDoesNotTouchItsNeighbours(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try onStage(kind, Self.options(way)) { stage in
        let chains = (0..<10).map { _ in (0..<3).map { _ in stage.token() } }
        let loose = stage.token()
        for (i, steps) in chains.enumerated() {
          chain(stage) {
            i % 2 == 0 ? stage.engine.fail(steps[0]) : stage.engine.nop(steps[0])
            stage.engine.nop(steps[1])
            stage.engine.nop(steps[2])
          }
        }
        stage.engine.nop(loose)
        try stage.expect(loose, 0)
        for (i, steps) in chains.enumerated() {
          for step in steps[1...] {
            try stage.expect(step, (i % 2 == 0 ? -ECANCELED : 0))
          }
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aChainOfMoreStepsThanTheLimitTraps(_ kind: EngineKind) async {
      await traps(kind) { stage in
        let steps = (0...Chain.limit).map { _ in stage.token() }
        chain(stage) { for step in steps { stage.engine.nop(step) } }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aChainWithoutAStepTraps(_ kind: EngineKind) async {
      await traps(kind) { stage in chain(stage) {} }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aChainWithinAChainTraps(_ kind: EngineKind) async {
      await traps(kind) { stage in
        stage.engine.beginChain()
        stage.engine.nop(stage.token())
        stage.engine.beginChain()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anEndWithoutABeginningTraps(_ kind: EngineKind) async {
      await traps(kind) { stage in stage.engine.endChain() }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aReceiveThatStaysArmedIsNoStep(_ kind: EngineKind) async {
      await traps(kind, before: { stage in stage.kept = try stage.connection().socket }) { stage in
        stage.engine.beginChain()
        stage.engine.receive(stage.kept, .stream, stage.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anAcceptThatStaysArmedIsNoStep(_ kind: EngineKind) async {
      await traps(kind, before: { stage in stage.kept = try stage.listener() }) { stage in
        stage.engine.beginChain()
        stage.engine.accept(stage.kept, stage.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aConnectIsNoStep(_ kind: EngineKind) async {
      await traps(kind) { stage in
        let address = try SocketAddress.loopback(9)
        stage.engine.beginChain()
        _ = try stage.engine.connect(address, stage.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aSendWithoutCopyingIsNoStep(_ kind: EngineKind) async {
      await traps(kind, before: { stage in stage.kept = try stage.connection().socket }) { stage in
        let frame = try stage.frame("x")
        stage.engine.beginChain()
        stage.engine.sendZeroCopy(stage.kept, frame, stage.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aRelayIsNoStep(_ kind: EngineKind) async {
      await traps(kind, before: { stage in stage.kept = try stage.connection().socket }) { stage in
        stage.engine.beginChain()
        stage.engine.relay(from: stage.kept, to: stage.kept, count: 1, .copy, stage.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aMessageIsNoStep(_ kind: EngineKind) async {
      await traps(kind, before: { stage in stage.engine.nop(stage.token()) }) { stage in
        let mailbox = stage.engine.mailbox
        stage.engine.beginChain()
        stage.engine.post(1, stage.token(), to: mailbox, stage.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aDatagramIsNoStep(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { stage in
          stage.kept = try stage.engine.bindDatagrams(
            .loopback(), reusePort: false, coalesce: false)
        }
      ) { stage in
        let address = try SocketAddress.loopback(9)
        let frame = try stage.frame("x")
        stage.engine.beginChain()
        stage.engine.sendDatagram(stage.kept, frame, to: address, segmentSize: 0, stage.token())
      }
    }
  }
}

/// Submits a chain.
func chain(_ stage: Stage, _ body: () -> Void) {
  stage.engine.beginChain()
  body()
  stage.engine.endChain()
}

extension ContractEngine {
  /// A step that fails with EBADF, once it is its turn.
  func fail(_ token: Token) {
    read(
      Descriptor(rawValue: 60_000), into: FileBuffer(capacity: 8), count: 8, offset: 0, token)
  }
}

/// A buffer with the first bytes of the pattern.
func filled(_ count: Int) -> FileBuffer {
  let buffer = FileBuffer(capacity: max(count, 1))
  pattern(count).withUnsafeBytes {
    if let base = $0.baseAddress { buffer.base.copyMemory(from: base, byteCount: count) }
  }
  return buffer
}

/// Runs `body` while files of the process may not grow beyond so many bytes.
func withFileSizeLimit(_ bytes: Int, _ body: () throws -> Void) throws {
  var before = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &before)
  var tight = before
  tight.rlim_cur = rlim_t(bytes)
  setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &tight)
  defer { setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &before) }
  try body()
}
