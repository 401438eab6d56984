// How operations end early: by cancellation of their task, by a close, by the end of the engine. Each ends
// exactly once, with the reason that its task should see, and nothing stays behind.

import Foundation
import MillraceAsync
import MillraceEngine
import Testing

/// More than any socket buffer of this machine takes, tcp_wmem and tcp_rmem.
private let large = [UInt8](repeating: 7, count: 24 << 20)

@Suite(.serialized, .timeLimit(.minutes(2))) struct EndingTests {
  @Test(arguments: engines)
  func aCancelledReceiveThrowsAndTheConnectionLivesOn(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let (near, far, _) = try await pair(engine)
      let waiting = Task { try await near.receive() }
      try await settle(engine)
      waiting.cancel()
      await #expect(throws: CancellationError.self) { _ = try await waiting.value }
      try await far.send([1, 2, 3])
      #expect(try await near.receive() == [1, 2, 3])
    }
  }

  @Test(arguments: engines)
  func cancellationThatRacesWithBytesLosesNone(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let (near, far, _) = try await pair(engine)
      var received: [UInt8] = []
      var cancelled = 0
      for number in 0..<500 {
        let waiting = Task { try await near.receive() }
        async let sent: Void = far.send([UInt8(truncatingIfNeeded: number)])
        waiting.cancel()
        try await sent
        do {
          received += try await waiting.value ?? []
        } catch is CancellationError {
          cancelled += 1
        }
      }
      try await far.finishSending()
      while let rest = try await near.receive() { received += rest }
      #expect(received == (0..<500).map { UInt8(truncatingIfNeeded: $0) })
      #expect(cancelled > 0, "the race was never won by the cancellation")
    }
  }

  @Test(arguments: engines)
  func aTaskThatIsCancelledBeforeItAsksStartsNothing(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let (near, far, _) = try await pair(engine)
      let task = Task {
        while !Task.isCancelled { await Task.yield() }
        try await near.send([1])
      }
      task.cancel()
      await #expect(throws: CancellationError.self) { try await task.value }
      try await near.finishSending()
      #expect(try await far.receive() == nil)
    }
  }

  @Test(arguments: engines)
  func aCancelledSendThatHasBegunShutsItsConnectionDown(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let (near, far, _) = try await pair(engine)
      let first = Task { try await near.send(large) }
      try await settle(engine)
      let second = Task { try await near.send([1]) }
      let third = Task { try await near.send([2]) }
      try await settle(engine)
      third.cancel()
      await #expect(throws: CancellationError.self) { try await third.value }
      first.cancel()
      await #expect(throws: CancellationError.self) { try await first.value }
      await #expect(throws: SystemFailure.self) { try await second.value }
      // The peer sees an end, before all 24 MiB.
      let seen = (try? await receive(24 << 20, from: far)) ?? []
      #expect(seen.count < 24 << 20)
    }
  }

  @Test(arguments: engines)
  func acceptConnectAndSleepCanBeCancelled(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let listener = try await engine.listen(on: anyPort)
      let accepting = Task { try await listener.accept() }
      let sleeping = Task { try await engine.sleep(for: .seconds(3600)) }
      // TEST-NET-1 (RFC 5737): the network has no such host, so that the attempt hangs or fails.
      let nowhere = try SocketAddress.resolve(host: "192.0.2.1", port: 9)[0]
      let connecting = Task { try await engine.connect(to: nowhere) }
      try await settle(engine)
      accepting.cancel()
      sleeping.cancel()
      connecting.cancel()
      await #expect(throws: CancellationError.self) { _ = try await accepting.value }
      await #expect(throws: CancellationError.self) { try await sleeping.value }
      await #expect(throws: (any Error).self) { _ = try await connecting.value }
      // The listener still listens.
      let near = try await engine.connect(to: try #require(listener.address))
      #expect(try await listener.accept() != nil)
      await near.close()
    }
  }

  @Test(arguments: engines)
  func aCloseEndsWhatIsUnderWay(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let (near, far, listener) = try await pair(engine)
      let receiving = Task { try await near.receive() }
      let sending = Task { try await near.send(large) }
      let accepting = Task { try await listener.accept() }
      try await settle(engine)
      await #expect(throws: AsyncEngineFailure.receiving) { _ = try await near.receive() }
      await near.close()
      await #expect(throws: AsyncEngineFailure.closed) { _ = try await receiving.value }
      await #expect(throws: AsyncEngineFailure.closed) { try await sending.value }
      await #expect(throws: AsyncEngineFailure.closed) { try await near.send([1]) }
      await near.close()
      await listener.close()
      #expect(try await accepting.value == nil)
      #expect(try await listener.accept() == nil)
      await far.close()
    }
  }

  @Test(arguments: engines)
  func theEndOfTheEngineEndsEverythingOnce(_ kind: EngineKind) async throws {
    let descriptors = DescriptorLimit.open()
    for _ in 0..<5 {
      let engine = try await AsyncEngine(kind)
      let (near, far, listener) = try await pair(engine)
      try await withTemporaryFile { path in
        let file = try await engine.open(path, flags: O_RDWR | O_CREAT)
        let tasks: [Task<Void, any Error>] = [
          Task { _ = try await near.receive() },
          Task { _ = try await far.receive() },
          Task { try await near.send(large) },
          Task { try await engine.sleep(for: .seconds(3600)) },
          Task { for try await _ in listener.connections {} },
          Task { for _ in 0..<1000 { try await file.write(pattern(4096), at: 0) } },
        ]
        try await settle(engine)
        async let once: Void = engine.shutdown()
        await engine.shutdown()
        await once
        for (number, task) in tasks.enumerated() {
          let result = await task.result
          switch (number, result) {
          case (4, .success): break
          case (0, .success), (1, .success): break
          case (5, .success): break
          case (_, .failure(let error)):
            #expect(error as? AsyncEngineFailure == .ended, "task \(number): \(error)")
          case (_, .success): Issue.record("task \(number) ended as if nothing had happened")
          }
        }
        await #expect(throws: AsyncEngineFailure.ended) {
          _ = try await engine.listen(on: anyPort)
        }
        await near.close()
        await file.close()
      }
    }
    // Every descriptor is closed, the engines' own included. Tests beside this one open some too, and
    // close them again: theirs are waited for, ours would stay.
    for _ in 0..<600 where DescriptorLimit.open() > descriptors + 2 {
      try await Task.sleep(for: .milliseconds(100))
    }
    #expect(DescriptorLimit.open() <= descriptors + 2)
  }

  @Test(arguments: engines)
  func whatNobodyHoldsIsClosed(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let listener = try await engine.listen(on: anyPort)
      let near = try await engine.connect(to: try #require(listener.address))
      _ = try await listener.accept()
      #expect(try await near.receive() == nil)
    }
  }

  @Test(arguments: engines)
  func operationsBeyondTheLimitAreRefused(_ kind: EngineKind) async throws {
    var limits = AsyncLimits()
    limits.operations = 8
    limits.connections = 4
    try await withEngine(kind, limits) { engine in
      let (near, _, listener) = try await pair(engine)
      let sleeping = (0..<8).map { _ in Task { try await engine.sleep(for: .seconds(3600)) } }
      try await Task.sleep(for: .milliseconds(100))
      await #expect(throws: AsyncEngineFailure.busy(limit: "operations")) {
        try await near.send([1])
      }
      for task in sleeping { task.cancel() }
      for task in sleeping { _ = await task.result }
      _ = try await engine.connect(to: try #require(listener.address))
      await near.close()
    }
  }
}
