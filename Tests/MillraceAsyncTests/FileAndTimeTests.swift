// Files and time through the façade.

import Foundation
import MillraceAsync
import MillraceEngine
import Testing

@Suite(.serialized, .timeLimit(.minutes(2))) struct FileAndTimeTests {
  @Test(arguments: engines)
  func aFileIsWrittenAndReadInPiecesOfAnySize(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      try await withTemporaryFile { path in
        let file = try await engine.open(path, flags: O_RDWR | O_CREAT | O_EXCL)
        // Below, at and above one piece of the engine, which is 1 MiB.
        let bytes = pattern((3 << 20) + 17)
        try await file.write(bytes, at: 0)
        try await file.write([], at: 0)
        try await file.synchronize(dataOnly: true)
        try await file.synchronize()
        #expect(try await file.read(bytes.count, at: 0) == bytes)
        #expect(try await file.read(1 << 20, at: 0) == Array(bytes[..<(1 << 20)]))
        #expect(try await file.read(bytes.count * 2, at: 5) == Array(bytes[5...]))
        #expect(try await file.read(10, at: Int64(bytes.count)) == [])
        #expect(try await file.read(0, at: 0) == [])
        try await file.truncate(to: 100)
        #expect(try await file.read(1000, at: 90) == Array(bytes[90..<100]))
        try await file.write([9], at: 0, durable: true)
        await file.close()
        await #expect(throws: AsyncEngineFailure.closed) { _ = try await file.read(1, at: 0) }
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data([9] + bytes[1..<100]))
      }
    }
  }

  @Test(arguments: engines)
  func manyTasksUseManyFilesAtOnce(_ kind: EngineKind) async throws {
    var limits = AsyncLimits()
    limits.fileOperations = 3
    try await withEngine(kind, limits) { engine in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 1...50 {
          group.addTask {
            try await withTemporaryFile { path in
              let file = try await engine.open(path, flags: O_RDWR | O_CREAT)
              let bytes = pattern(10_000, seed: UInt64(number))
              try await withThrowingTaskGroup(of: Void.self) { writers in
                for start in stride(from: 0, to: bytes.count, by: 1000) {
                  writers.addTask {
                    try await file.write(Array(bytes[start..<start + 1000]), at: Int64(start))
                  }
                }
                try await writers.waitForAll()
              }
              #expect(try await file.read(20_000, at: 0) == bytes)
              await file.close()
            }
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test(arguments: engines)
  func errorsOfFilesKeepTheirNumber(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      await #expect {
        _ = try await engine.open("/no/such/file", flags: O_RDONLY)
      } throws: { error in
        let failure = error as? SystemFailure
        return failure?.code == ENOENT && failure?.operation == "open /no/such/file"
      }
      let full = try await engine.open("/dev/full", flags: O_WRONLY)
      await #expect {
        try await full.write([1, 2, 3], at: 0)
      } throws: { error in
        (error as? SystemFailure)?.code == ENOSPC
      }
      let directory = try await engine.open("/tmp", flags: O_RDONLY)
      await #expect {
        _ = try await directory.read(1, at: 0)
      } throws: { error in
        (error as? SystemFailure)?.code == EISDIR
      }
    }
  }

  @Test(arguments: engines)
  func sleepersWakeInTheOrderOfTheirDeadlinesAndNotBefore(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let start = SystemClock.monotonicNanoseconds()
      try await withThrowingTaskGroup(of: Int64.self) { group in
        for number in [7, 3, 9, 1, 5, 8, 2, 6, 4, 0] {
          let deadline = start + 50_000_000 + Int64(number) * 10_000_000
          group.addTask {
            try await engine.sleep(until: deadline)
            #expect(SystemClock.monotonicNanoseconds() >= deadline)
            return deadline
          }
        }
        for try await _ in group {}
      }
      try await engine.sleep(until: 0)
      try await engine.sleep(for: .zero)
      try await engine.sleep(for: .seconds(-1))
    }
  }

  @Test(arguments: engines)
  func aThousandCancelledSleepsLeaveTheOthersAlone(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let kept = (0..<20).map { number in
        Task { try await engine.sleep(for: .milliseconds(100 + number)) }
      }
      let cancelled = (0..<1000).map { number in
        Task { try await engine.sleep(for: .milliseconds(50 + number * 1000)) }
      }
      try await settle(engine)
      for task in cancelled { task.cancel() }
      for task in cancelled {
        await #expect(throws: CancellationError.self) { try await task.value }
      }
      for task in kept { try await task.value }
    }
  }

  @Test func theSimulatedEngineHasNoThread() async throws {
    await #expect(throws: SystemFailure.self) { _ = try await AsyncEngine(.simulated) }
  }

  @Test func anEngineIsChosenWhereNoneIsNamed() async throws {
    let engine = try await AsyncEngine()
    #expect(engines.contains(engine.kind))
    await engine.shutdown()
  }
}
