// Thousands of sockets and a dice: whatever the order in which things happen, each operation has
// exactly one ending, every byte arrives where and as it was sent, and nothing is left. The dice
// are seeded; a failure prints the seed.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Stress {
    @Test(arguments: engines, [UInt64(1), 2, 3, 4])
    func everyOperationEndsOnceInAnyOrderOfEvents(_ kind: EngineKind, _ seed: UInt64) throws {
      var options = Stage.options
      // Few enough to run dry on the way.
      options.smallBuffers = 64
      options.submissionEntries = 128
      // The dice are thrown per turn, and turns differ.
      try onStage(kind, options, isComparable: false) { stage in
        let crowd = try Crowd(stage, size: 300, seed: seed)
        for _ in 0..<400 { try crowd.step() }
        try crowd.end()
        #expect(crowd.opened > 300, "seed \(seed): nobody was replaced")
        #expect(crowd.echoed > 100_000, "seed \(seed): nothing was sent")
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aCompletionQueueThatOverflowsLosesNothing(_ kind: EngineKind) throws {
      var options = Stage.options
      options.submissionEntries = 64
      options.completionEntries = 64
      try onStage(kind, options) { stage in
        stage.overflows = true
        let connections = try (0..<300).map { _ in try stage.connection() }
        let receives = connections.map { socket, _ in
          let token = stage.token()
          stage.engine.receive(socket, .stream, token)
          return token
        }
        stage.turn()
        for round in 1...5 {
          for (_, peer) in connections { peer.send("0123456789") }
          let sends = try connections.map { socket, _ in
            let token = stage.token()
            stage.engine.send(socket, try stage.frame("abc"), .awaited, token)
            return token
          }
          for send in sends { #expect(try stage.end(send) == 3) }
          try stage.turn(until: {
            receives.allSatisfy { stage[$0].bytes.count == 10 * round }
          })
        }
        // The others have no queue of the kernel's that could overflow.
        if kind == .uring { #expect(stage.engine.counters.completionQueueOverflows > 0) }
        stage.showedFailure = kind != .uring
        for (socket, _) in connections { stage.engine.shutdown(socket, .both) }
        for receive in receives { #expect(try stage.end(receive) == 0) }
        for (socket, _) in connections { stage.engine.close(socket) }
      }
    }

    @Test(arguments: engines)
    func threeThousandSocketsAreServedAtOnce(_ kind: EngineKind) throws {
      try withManyDescriptors {
        try onStage(kind) { stage in
          let listener = try stage.listener(backlog: 4096)
          let accept = stage.token()
          stage.engine.accept(listener, accept)
          var peers: [any Peer] = []
          for i in 0..<3000 {
            peers.append(try stage.peer(to: listener))
            if i % 100 == 0 { stage.turn() }
          }
          try stage.turn(until: { stage[accept].results.count == 3000 })
          let sockets = stage[accept].results.map { Descriptor(rawValue: $0) }
          let receives = sockets.map { socket in
            let token = stage.token()
            stage.engine.receive(socket, .stream, token)
            return token
          }
          stage.turn()
          for round in 0..<3 {
            for peer in peers { peer.send("0123456789") }
            try stage.turn(until: {
              receives.allSatisfy { stage[$0].bytes.count == 10 * (round + 1) }
            })
            let sends = try sockets.map { socket in
              let token = stage.token()
              stage.engine.send(socket, try stage.frame("abc"), .quiet, token)
              return token
            }
            stage.engine.expediteSends()
            for send in sends { #expect(try stage.end(send) == 3) }
          }
          for socket in sockets { stage.engine.shutdown(socket, .both) }
          for receive in receives { #expect(try stage.end(receive) == 0) }
          for socket in sockets { stage.engine.close(socket) }
          try endAccept(stage, listener, accept)
        }
      }
    }
  }
}

/// Raises the soft limit on descriptors to the hard one.
func withManyDescriptors(_ body: () throws -> Void) throws {
  var before = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before)
  var raised = before
  raised.rlim_cur = min(before.rlim_max, 60_000)
  setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &raised)
  defer { setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before) }
  try #require(raised.rlim_cur >= 8192, "this test needs 8192 descriptors (ulimit -Hn)")
  try body()
}
