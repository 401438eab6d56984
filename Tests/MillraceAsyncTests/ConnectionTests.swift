// Connections through the façade: bytes arrive whole and in order, one after another and many at once,
// and a peer that does not read holds its sender back.

import Foundation
import MillraceAsync
import MillraceEngine
import Testing

@Suite(.serialized, .timeLimit(.minutes(2))) struct ConnectionTests {
  @Test(arguments: engines)
  func anEchoGivesBackEverySizeUnchanged(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let (near, far, listener) = try await pair(engine)
      async let echoing: Void = echo(far)
      for size in [1, 2, 3000, 4095, 4096, 4097, 131_071, 131_072, 131_073, 262_144, 1 << 20] {
        let bytes = pattern(size, seed: UInt64(size))
        async let sent: Void = near.send(bytes)
        let back = try await receive(size, from: near)
        try await sent
        #expect(back == bytes, "\(size) bytes")
      }
      try await near.finishSending()
      #expect(try await near.receive() == nil)
      await echoing
      await near.close()
      await listener.close()
    }
  }

  @Test(arguments: engines)
  func twoHundredConnectionsAtOnceKeepTheirBytesApart(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let listener = try await engine.listen(on: anyPort)
      let address = try #require(listener.address)
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          try await withThrowingDiscardingTaskGroup { servers in
            for try await connection in listener.connections {
              servers.addTask { await echo(connection) }
            }
          }
        }
        try await withThrowingTaskGroup(of: Void.self) { clients in
          for number in 0..<200 {
            clients.addTask {
              let connection = try await engine.connect(to: address)
              for round in 0..<10 {
                let bytes = pattern(500 + 97 * round, seed: UInt64(number * 100 + round + 1))
                try await connection.send(bytes)
                #expect(try await receive(bytes.count, from: connection) == bytes)
              }
              try await connection.finishSending()
              #expect(try await connection.receive() == nil)
              await connection.close()
            }
          }
          try await clients.waitForAll()
        }
        await listener.close()
        try await group.waitForAll()
      }
    }
  }

  @Test(arguments: engines)
  func thousandsOfOperationsOneAfterAnotherLeaveNothingBehind(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let (near, far, _) = try await pair(engine)
      for number in 0..<3000 {
        let byte = UInt8(truncatingIfNeeded: number)
        try await near.send([byte])
        #expect(try await far.receive() == [byte])
      }
      #expect(try await engine.counters().operationsInFlight <= 2)
    }
  }

  @Test(arguments: engines)
  func aPeerThatDoesNotReadHoldsTheSenderBack(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let (near, far, _) = try await pair(engine)
      // More than any socket buffer of this machine takes, tcp_wmem and tcp_rmem.
      let part = pattern(1 << 20)
      var bytes: [UInt8] = []
      for _ in 0..<24 { bytes += part }
      let all = bytes
      let isSent = Flag()
      let sending = Task {
        try await near.send(all)
        isSent.set()
      }
      try await engine.sleep(for: .milliseconds(200))
      #expect(!isSent.isSet, "the send ended although nobody read")
      #expect(try await engine.counters().coldBytes <= 1 << 20, "more is copied than is sent")
      let back = try await receive(bytes.count, from: far)
      try await sending.value
      #expect(back == bytes)
    }
  }

  @Test(arguments: engines)
  func sendsOfManyTasksLeaveWhole(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let (near, far, _) = try await pair(engine)
      let size = 100_000
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<20 {
          group.addTask { try await near.send([UInt8](repeating: UInt8(number), count: size)) }
        }
        let all = try await receive(20 * size, from: far)
        try await group.waitForAll()
        var seen: Set<UInt8> = []
        for start in stride(from: 0, to: all.count, by: size) {
          let first = all[start]
          #expect(all[start..<start + size].allSatisfy { $0 == first }, "mixed at \(start)")
          seen.insert(first)
        }
        #expect(seen.count == 20)
      }
    }
  }

  @Test(arguments: engines)
  func errorsOfTheKernelKeepTheirNumber(_ kind: EngineKind) async throws {
    try await withEngine(kind) { engine in
      let listener = try await engine.listen(on: anyPort)
      let address = try #require(listener.address)
      await listener.close()
      await #expect {
        _ = try await engine.connect(to: address)
      } throws: { error in
        (error as? SystemFailure)?.code == ECONNREFUSED
      }
      let taken = try await engine.listen(on: anyPort)
      await #expect {
        _ = try await engine.listen(on: try #require(taken.address))
      } throws: { error in
        (error as? SystemFailure)?.code == EADDRINUSE
      }
      let (near, far, _) = try await pair(engine)
      await far.close()
      #expect(try await near.receive() == nil)
      await #expect(throws: SystemFailure.self) {
        for _ in 0..<100 { try await near.send(pattern(10_000)) }
      }
    }
  }

  @Test(arguments: engines)
  func acceptedConnectionsThatNobodyTakesAreBounded(_ kind: EngineKind) async throws {
    var limits = AsyncLimits()
    limits.acceptedWaiting = 4
    try await withEngine(kind, limits) { engine in
      let listener = try await engine.listen(on: anyPort)
      let address = try #require(listener.address)
      var near: [AsyncConnection] = []
      for number in 0..<40 {
        let connection = try await engine.connect(to: address)
        try await connection.send([UInt8(number)])
        near.append(connection)
      }
      // All are served in the end, in order, because the rest wait in the kernel's backlog.
      for number in 0..<40 {
        let far = try #require(try await listener.accept())
        #expect(try await far.receive() == [UInt8(number)])
        await far.close()
      }
    }
  }
}

/// A word that one task sets and another looks at.
final class Flag: @unchecked Sendable {
  // Sendable: `set` and `isSet` take the lock.
  private let lock = NSLock()
  private var value = false
  func set() { lock.withLock { value = true } }
  var isSet: Bool { lock.withLock { value } }
}
