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
      var options = Harness.options
      // Few enough to run dry on the way.
      options.smallBuffers = 64
      options.submissionEntries = 128
      // The dice are thrown per turn, and turns differ.
      try withHarness(kind, options, isComparable: false) { harness in
        let crowd = try Crowd(harness, size: 300, seed: seed)
        for _ in 0..<400 { try crowd.step() }
        try crowd.end()
        #expect(crowd.opened > 300, "seed \(seed): nobody was replaced")
        #expect(crowd.echoed > 100_000, "seed \(seed): nothing was sent")
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aCompletionQueueThatOverflowsLosesNothing(_ kind: EngineKind) throws {
      var options = Harness.options
      options.submissionEntries = 64
      options.completionEntries = 64
      try withHarness(kind, options) { harness in
        harness.overflows = true
        let connections = try (0..<300).map { _ in try harness.connection() }
        let receives = connections.map { socket, _ in
          let token = harness.token()
          harness.engine.receive(socket, .stream, token)
          return token
        }
        harness.turn()
        for round in 1...5 {
          for (_, peer) in connections { peer.send("0123456789") }
          let sends = try connections.map { socket, _ in
            let token = harness.token()
            harness.engine.send(socket, try harness.frame("abc"), .awaited, token)
            return token
          }
          for send in sends { #expect(try harness.end(send) == 3) }
          try harness.turn(until: {
            receives.allSatisfy { harness[$0].bytes.count == 10 * round }
          })
        }
        // The others have no queue of the kernel's that could overflow.
        if kind == .uring { #expect(harness.engine.counters.completionQueueOverflows > 0) }
        harness.showedFailure = kind != .uring
        for (socket, _) in connections { harness.engine.shutdown(socket, .both) }
        for receive in receives { #expect(try harness.end(receive) == 0) }
        for (socket, _) in connections { harness.engine.close(socket) }
      }
    }

    @Test(arguments: engines)
    func threeThousandSocketsAreServedAtOnce(_ kind: EngineKind) throws {
      try withManyDescriptors {
        try withHarness(kind) { harness in
          let listener = try harness.listener(backlog: 4096)
          let accept = harness.token()
          harness.engine.accept(listener, accept)
          var peers: [any Peer] = []
          for i in 0..<3000 {
            peers.append(try harness.peer(to: listener))
            if i % 100 == 0 { harness.turn() }
          }
          try harness.turn(until: { harness[accept].results.count == 3000 })
          let sockets = harness[accept].results.map { Descriptor(rawValue: $0) }
          let receives = sockets.map { socket in
            let token = harness.token()
            harness.engine.receive(socket, .stream, token)
            return token
          }
          harness.turn()
          for round in 0..<3 {
            for peer in peers { peer.send("0123456789") }
            try harness.turn(until: {
              receives.allSatisfy { harness[$0].bytes.count == 10 * (round + 1) }
            })
            let sends = try sockets.map { socket in
              let token = harness.token()
              harness.engine.send(socket, try harness.frame("abc"), .quiet, token)
              return token
            }
            harness.engine.expediteSends()
            for send in sends { #expect(try harness.end(send) == 3) }
          }
          for socket in sockets { harness.engine.shutdown(socket, .both) }
          for receive in receives { #expect(try harness.end(receive) == 0) }
          for socket in sockets { harness.engine.close(socket) }
          try endAccept(harness, listener, accept)
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
