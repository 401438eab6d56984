// Chains: each step starts when the one before it has succeeded, and a break ends all later ones,
// once each, without having begun.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Chains {
    /// With the kernel's links, and with the steps run by the engine itself.
    static let ways: [EngineFeatures] = [
      Harness.features, Harness.features.subtracting(.linkedChains),
    ]

    static func options(_ features: EngineFeatures) -> EngineOptions {
      var options = Harness.options
      options.features = features
      return options
    }

    @Test(arguments: completeEngines, ways)
    func stepsRunOneAfterAnotherAndAreReportedInOrder(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let steps = (0..<Chain.limit).map { _ in harness.token() }
        chain(harness) { for step in steps { harness.engine.nop(step) } }
        for step in steps { try harness.expect(step, 0) }
        #expect(harness.order == steps.map(\.rawValue))
      }
    }

    @Test(arguments: completeEngines, ways)
    func aChainOfOneStepIsThatStep(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let step = harness.token()
        chain(harness) { harness.engine.nop(step) }
        try harness.expect(step, 0)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aBreakAtAnyPositionCancelsWhatComesAfterItAndNothingBefore(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        for length in [2, 3, Chain.limit] {
          for position in 0..<length {
            let steps = (0..<length).map { _ in harness.token() }
            chain(harness) {
              for (i, step) in steps.enumerated() {
                i == position ? harness.engine.fail(step) : harness.engine.nop(step)
              }
            }
            for (i, step) in steps.enumerated() {
              let expected = i < position ? 0 : i == position ? -EBADF : -ECANCELED
              try harness.expect(step, expected, "step \(i) of \(length), broken at \(position)")
            }
          }
        }
      }
    }

    @Test(arguments: completeEngines, ways)
    func aRecordIsWrittenMadeDurableAndReadBackInOneChain(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let path = try harness.outside.directory() + "/record"
        let file = try harness.open(path, O_RDWR | O_CREAT)
        let (write, sync, read) = (harness.token(), harness.token(), harness.token())
        chain(harness) {
          harness.engine.write(
            file, from: filled(5000), count: 5000, offset: 0, durable: false, write)
          harness.engine.synchronize(file, dataOnly: true, sync)
          harness.engine.read(file, into: FileBuffer(capacity: 5000), count: 5000, offset: 0, read)
        }
        try harness.expect(read, 5000)
        #expect(harness.ending(write) == 5000 && harness.ending(sync) == 0)
        #expect(try harness.fileBuffer(read).bytes(5000) == pattern(5000))
        _ = try harness.fileBuffer(write)
        try harness.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aReadThatIsShortByOneByteBreaksTheChain(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let path = try harness.outside.directory() + "/short"
        let file = try harness.open(path, O_RDWR | O_CREAT)
        #expect(try harness.write(file, pattern(1000), at: 0) == 1000)
        for (count, got, next) in [(999, 999, 0), (1000, 1000, 0), (1001, 1000, -ECANCELED)] {
          let (read, step) = (harness.token(), harness.token())
          chain(harness) {
            harness.engine.read(
              file, into: FileBuffer(capacity: 2000), count: count, offset: 0, read)
            harness.engine.nop(step)
          }
          try harness.expect(step, next, "of 1000 bytes \(count) were asked for")
          try harness.expect(read, Int32(got))
          #expect(try harness.fileBuffer(read).bytes(got) == Array(pattern(1000)[..<got]))
        }
        try harness.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aReadBeyondTheEndBreaksTheChainWithZero(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let file = try harness.open(harness.outside.directory() + "/empty", O_RDWR | O_CREAT)
        let (read, step) = (harness.token(), harness.token())
        chain(harness) {
          harness.engine.read(file, into: FileBuffer(capacity: 64), count: 64, offset: 0, read)
          harness.engine.nop(step)
        }
        try harness.expect(read, 0)
        try harness.expect(step, -ECANCELED)
        _ = try harness.fileBuffer(read)
        try harness.closeFile(file)
      }
    }

    /// A limit on file sizes makes a write stop short (setrlimit(2)): the kernel's engines only.
    @Test(.tags(.failure), arguments: completeKernelEngines, ways)
    func aWriteThatIsShortBreaksTheChain(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let file = try harness.open(harness.outside.directory() + "/limited", O_RDWR | O_CREAT)
        try withFileSizeLimit(8192) {
          for (count, got, next) in [(4095, 4095, 0), (4096, 4096, 0), (4097, 4096, -ECANCELED)] {
            let (write, step) = (harness.token(), harness.token())
            chain(harness) {
              harness.engine.write(
                file, from: filled(5000), count: count, offset: 4096, durable: false, write)
              harness.engine.nop(step)
            }
            try harness.expect(step, next, "\(count) bytes")
            try harness.expect(write, Int32(got))
            _ = try harness.fileBuffer(write)
          }
        }
        try harness.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func theBuffersOfStepsThatNeverBeganComeBack(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let path = try harness.outside.directory() + "/untouched"
        let file = try harness.open(path, O_RDWR | O_CREAT)
        let steps = (0..<4).map { _ in harness.token() }
        chain(harness) {
          harness.engine.fail(steps[0])
          for i in 1..<4 {
            harness.engine.write(
              file, from: filled(64 * i), count: 64 * i, offset: 0, durable: true, steps[i])
          }
        }
        for i in 1..<4 {
          try harness.expect(steps[i], -ECANCELED)
          let back = try harness.fileBuffer(steps[i])
          #expect(back.buffer.capacity == 64 * i && back.bytes(64 * i) == pattern(64 * i))
        }
        _ = try harness.fileBuffer(steps[0])
        #expect(harness.outside.content(of: path) == [], "a cancelled write wrote")
        try harness.closeFile(file)
      }
    }

    @Test(arguments: completeEngines, ways)
    func anAnswerIsSentShutDownAndClosedInOneChain(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        let steps = (0..<3).map { _ in harness.token() }
        let frame = try harness.frame("the last answer")
        harness.engine.beginChain()
        harness.engine.send(socket, frame, .quiet, steps[0])
        harness.engine.shutdown(socket, .send, steps[1])
        harness.engine.close(socket, steps[2])
        harness.engine.endChain()
        try harness.expect(steps[2], 0)
        #expect(harness.ending(steps[0]) == 15 && harness.ending(steps[1]) == 0)
        #expect(try harness.received(by: peer, 15) == Array("the last answer".utf8))
        #expect(try harness.endSeen(by: peer) == 0)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aReceiveStepWaitsForBytesAndThenTheAnswerLeaves(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        let (receive, send) = (harness.token(), harness.token())
        let frame = try harness.frame("pong")
        harness.engine.beginChain()
        harness.engine.receive(socket, .once, receive)
        harness.engine.send(socket, frame, .awaited, send)
        harness.engine.endChain()
        for _ in 0..<5 { harness.turn(within: 4) }
        #expect(harness.ending(receive) == nil && harness.ending(send) == nil)
        #expect(peer.receive() == [], "the answer left before the question had come")
        peer.send("ping")
        try harness.expect(send, 4)
        #expect(harness[receive].bytes == Array("ping".utf8))
        #expect(try harness.received(by: peer, 4) == Array("pong".utf8))
        harness.engine.close(socket)
      }
    }

    /// A step cannot wait for a buffer: beside receives of streams, of which io_uring serves a few at a time, each
    /// of them has to find one.
    @Test(arguments: completeEngines, ways)
    func receiveStepsNeverLackABuffer(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way), isComparable: false) { harness in
        let streams = try (0..<8).map { _ in try harness.connection() }
        let receives = streams.map { socket, _ in
          let token = harness.token()
          harness.engine.receive(socket, .once, token)
          return token
        }
        harness.turn(within: 1)
        let connections = try (0..<8).map { _ in try harness.connection() }
        let steps = connections.map { socket, _ in
          let (receive, end) = (harness.token(), harness.token())
          harness.engine.beginChain()
          harness.engine.receive(socket, .once, receive)
          harness.engine.nop(end)
          harness.engine.endChain()
          return (receive, end)
        }
        harness.turn(within: 1)
        for (_, peer) in streams + connections { peer.send("some bytes") }
        for (receive, end) in steps {
          try harness.expect(end, 0)
          #expect(harness[receive].bytes == Array("some bytes".utf8))
        }
        for receive in receives { try harness.expect(receive, 10) }
        for (socket, _) in streams + connections { harness.engine.close(socket) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aResetBreaksAChainThatWaitsForBytes(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        let steps = (0..<3).map { _ in harness.token() }
        let frame = try harness.frame("never")
        harness.engine.beginChain()
        harness.engine.receive(socket, .once, steps[0])
        harness.engine.send(socket, frame, .awaited, steps[1])
        harness.engine.nop(steps[2])
        harness.engine.endChain()
        for _ in 0..<3 { harness.turn(within: 4) }
        peer.reset()
        try harness.expect(steps[0], -ECONNRESET)
        try harness.expect(steps[1], -ECANCELED)
        try harness.expect(steps[2], -ECANCELED)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aSendThatFailsBreaksTheChainAndTheSocketStaysOpen(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, _) = try harness.connection()
        harness.engine.shutdown(socket, .send)
        let (send, close) = (harness.token(), harness.token())
        let frame = try harness.frame("late")
        harness.engine.beginChain()
        harness.engine.send(socket, frame, .awaited, send)
        harness.engine.close(socket, close)
        harness.engine.endChain()
        try harness.expect(send, -EPIPE)
        try harness.expect(close, -ECANCELED)
        #expect(
          harness.engine.localAddress(socket) != nil, "it was closed although the chain broke")
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aSendThatIsCutOffBreaksTheChain(_ kind: EngineKind, _ way: EngineFeatures) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        let (send, step) = (harness.token(), harness.token())
        let frame = try coldFrame(harness, pattern(8 << 20))
        harness.engine.beginChain()
        harness.engine.send(socket, frame, .awaited, send)
        harness.engine.nop(step)
        harness.engine.endChain()
        for _ in 0..<3 { harness.turn(within: 4) }
        #expect(harness.ending(send) == nil && harness.ending(step) == nil)
        peer.reset()
        #expect(try harness.end(send) < 0)
        try harness.expect(step, -ECANCELED)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aSendThatTakesManyTurnsEndsWholeBeforeTheNextStep(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        let (send, end) = (harness.token(), harness.token())
        let bytes = pattern(8 << 20)
        let frame = try coldFrame(harness, bytes)
        harness.engine.beginChain()
        harness.engine.send(socket, frame, .awaited, send)
        harness.engine.shutdown(socket, .send, end)
        harness.engine.endChain()
        #expect(try harness.received(by: peer, bytes.count) == bytes)
        try harness.expect(end, 0)
        #expect(harness.ending(send) == Int32(bytes.count))
        #expect(try harness.endSeen(by: peer) == 0)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines, ways)
    func aTimeoutStepDelaysTheNextAndCountsAsSuccess(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        harness.engine.refreshClocks()
        let deadline = harness.engine.now + 15_000_000
        let (timeout, step) = (harness.token(), harness.token())
        chain(harness) {
          harness.engine.timeout(at: deadline, timeout)
          harness.engine.nop(step)
        }
        try harness.expect(step, 0)
        #expect(harness.engine.now >= deadline)
        #expect(harness.ending(timeout) == -ETIME)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func cancellingTheStepThatRunsCancelsTheRest(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        harness.engine.refreshClocks()
        let steps = (0..<4).map { _ in harness.token() }
        chain(harness) {
          harness.engine.nop(steps[0])
          harness.engine.timeout(at: harness.engine.now + 60_000_000_000, steps[1])
          harness.engine.nop(steps[2])
          harness.engine.nop(steps[3])
        }
        try harness.expect(steps[0], 0)
        harness.turn(within: 2)
        harness.engine.cancel(steps[1])
        for step in steps[1...] { try harness.expect(step, -ECANCELED) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func stepsThatWereCancelledBeforeTheirTurnNeverRun(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        harness.engine.refreshClocks()
        let steps = (0..<3).map { _ in harness.token() }
        chain(harness) {
          harness.engine.timeout(at: harness.engine.now + 60_000_000_000, steps[0])
          harness.engine.nop(steps[1])
          harness.engine.nop(steps[2])
        }
        harness.turn(within: 2)
        harness.engine.cancel(steps[1])
        harness.engine.cancel(steps[0])
        for step in steps { try harness.expect(step, -ECANCELED) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func cancellingAllOfADescriptorEndsAChainOnIt(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        let (socket, _) = try harness.connection()
        let (receive, send) = (harness.token(), harness.token())
        let frame = try harness.frame("never")
        harness.engine.beginChain()
        harness.engine.receive(socket, .once, receive)
        harness.engine.send(socket, frame, .awaited, send)
        harness.engine.endChain()
        for _ in 0..<3 { harness.turn(within: 2) }
        harness.engine.cancelAll(socket)
        try harness.expect(receive, -ECANCELED)
        try harness.expect(send, -ECANCELED)
        harness.engine.close(socket)
      }
    }

    /// Where the kernel runs the chain, each step ends when its turn has come.
    @Test(.tags(.failure), arguments: completeEngines)
    func cancellingAllOfAFileEndsTheStepsThatWait(_ kind: EngineKind) throws {
      try withHarness(kind, Self.options(Harness.features.subtracting(.linkedChains))) { harness in
        let file = try harness.open(harness.outside.directory() + "/waits", O_RDWR | O_CREAT)
        harness.engine.refreshClocks()
        let (timeout, write, step) = (harness.token(), harness.token(), harness.token())
        chain(harness) {
          harness.engine.timeout(at: harness.engine.now + 60_000_000_000, timeout)
          harness.engine.write(
            file, from: filled(100), count: 100, offset: 0, durable: false, write)
          harness.engine.nop(step)
        }
        harness.turn(within: 2)
        harness.engine.cancelAll(file)
        try harness.expect(write, -ECANCELED)
        try harness.expect(step, -ECANCELED)
        _ = try harness.fileBuffer(write)
        #expect(harness.ending(timeout) == nil, "what runs goes on")
        harness.engine.cancel(timeout)
        try harness.expect(timeout, -ECANCELED)
        #expect(try harness.read(file, 100, at: 0) == [], "it was written all the same")
        try harness.closeFile(file)
      }
    }

    /// Asked for before the kernel had begun the step, its end was never asked for again.
    @Test(.tags(.failure), arguments: completeEngines, ways)
    func anAcceptThatIsStoppedBeforeItsTurnAndAfterwardsEnds(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way), isComparable: false) { harness in
        let listener = try harness.listener()
        harness.engine.refreshClocks()
        let (timeout, accept) = (harness.token(), harness.token())
        chain(harness) {
          harness.engine.timeout(at: harness.engine.now + 15_000_000, timeout)
          harness.engine.acceptOne(listener, into: nil, accept)
        }
        harness.turn()
        harness.engine.stopAccepting(listener)
        #expect(harness.ending(timeout) == nil)
        try harness.expect(timeout, -ETIME)
        for _ in 0..<3 { harness.turn(within: 2) }
        harness.engine.stopAccepting(listener)
        try harness.expect(accept, -ECANCELED)
        harness.engine.close(listener)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, ways)
    func aChainInTheTurnOfItsCancellationEndsOnce(
      _ kind: EngineKind, _ way: EngineFeatures
    ) throws {
      try withHarness(kind, Self.options(way)) { harness in
        harness.engine.refreshClocks()
        let (timeout, step) = (harness.token(), harness.token())
        chain(harness) {
          harness.engine.timeout(at: harness.engine.now + 60_000_000_000, timeout)
          harness.engine.nop(step)
        }
        harness.engine.cancel(timeout)
        try harness.expect(timeout, -ECANCELED)
        try harness.expect(step, -ECANCELED)
      }
    }

    @Test(arguments: completeEngines, ways)
    func manyChainsInOneTurnStayWhole(_ kind: EngineKind, _ way: EngineFeatures) throws {
      var options = Self.options(way)
      // Not a multiple of the limit, so that chains would be cut at the end of the queue.
      options.submissionEntries = 16
      options.controlOperations = 512
      try withHarness(kind, options) { harness in
        for lead in 0..<Chain.limit {
          let loose = (0..<lead).map { _ in harness.token() }
          let chains = (0..<12).map { _ in (0..<(Chain.limit - 1)).map { _ in harness.token() } }
          for step in loose { harness.engine.nop(step) }
          for steps in chains { chain(harness) { for step in steps { harness.engine.nop(step) } } }
          for steps in chains { for step in steps { try harness.expect(step, 0) } }
          for step in loose { try harness.end(step) }
          let order = harness.order
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
      try withHarness(kind, Self.options(way)) { harness in
        let chains = (0..<10).map { _ in (0..<3).map { _ in harness.token() } }
        let loose = harness.token()
        for (i, steps) in chains.enumerated() {
          chain(harness) {
            i % 2 == 0 ? harness.engine.fail(steps[0]) : harness.engine.nop(steps[0])
            harness.engine.nop(steps[1])
            harness.engine.nop(steps[2])
          }
        }
        harness.engine.nop(loose)
        try harness.expect(loose, 0)
        for (i, steps) in chains.enumerated() {
          for step in steps[1...] {
            try harness.expect(step, (i % 2 == 0 ? -ECANCELED : 0))
          }
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aChainOfMoreStepsThanTheLimitTraps(_ kind: EngineKind) async {
      await traps(kind) { harness in
        let steps = (0...Chain.limit).map { _ in harness.token() }
        chain(harness) { for step in steps { harness.engine.nop(step) } }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aChainWithoutAStepTraps(_ kind: EngineKind) async {
      await traps(kind) { harness in chain(harness) {} }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aChainWithinAChainTraps(_ kind: EngineKind) async {
      await traps(kind) { harness in
        harness.engine.beginChain()
        harness.engine.nop(harness.token())
        harness.engine.beginChain()
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anEndWithoutABeginningTraps(_ kind: EngineKind) async {
      await traps(kind) { harness in harness.engine.endChain() }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aReceiveThatStaysArmedIsNoStep(_ kind: EngineKind) async {
      await traps(kind, before: { harness in harness.kept = try harness.connection().socket }) {
        harness in
        harness.engine.beginChain()
        harness.engine.receive(harness.kept, .stream, harness.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anAcceptThatStaysArmedIsNoStep(_ kind: EngineKind) async {
      await traps(kind, before: { harness in harness.kept = try harness.listener() }) { harness in
        harness.engine.beginChain()
        harness.engine.accept(harness.kept, harness.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aConnectIsNoStep(_ kind: EngineKind) async {
      await traps(kind) { harness in
        let address = try SocketAddress.loopback(9)
        harness.engine.beginChain()
        _ = try harness.engine.connect(address, harness.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aSendWithoutCopyingIsNoStep(_ kind: EngineKind) async {
      await traps(kind, before: { harness in harness.kept = try harness.connection().socket }) {
        harness in
        let frame = try harness.frame("x")
        harness.engine.beginChain()
        harness.engine.sendZeroCopy(harness.kept, frame, harness.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aRelayIsNoStep(_ kind: EngineKind) async {
      await traps(kind, before: { harness in harness.kept = try harness.connection().socket }) {
        harness in
        harness.engine.beginChain()
        harness.engine.relay(from: harness.kept, to: harness.kept, count: 1, .copy, harness.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aMessageIsNoStep(_ kind: EngineKind) async {
      await traps(kind, before: { harness in harness.engine.nop(harness.token()) }) { harness in
        let mailbox = harness.engine.mailbox
        harness.engine.beginChain()
        harness.engine.post(1, harness.token(), to: mailbox, harness.token())
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aDatagramIsNoStep(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { harness in
          harness.kept = try harness.engine.bindDatagrams(
            .loopback(), reusePort: false, coalesce: false)
        }
      ) { harness in
        let address = try SocketAddress.loopback(9)
        let frame = try harness.frame("x")
        harness.engine.beginChain()
        harness.engine.sendDatagram(
          harness.kept, frame, to: address, segmentSize: 0, harness.token())
      }
    }
  }
}

/// Submits a chain.
func chain(_ harness: Harness, _ body: () -> Void) {
  harness.engine.beginChain()
  body()
  harness.engine.endChain()
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
