// Faults of the engines that were found by reading and by teardown, each as the shortest script that
// shows it.

import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Regressions {
    /// The kernel kept their failures back, and they were taken for sent.
    @Test(.tags(.failure), arguments: engines)
    func quietSendsThatFailInATurnThatOverflowsAreNoSuccess(_ kind: EngineKind) throws {
      var options = Stage.options
      options.submissionEntries = 64
      options.completionEntries = 64
      try onStage(kind, options) { stage in
        stage.overflows = true
        let connections = try (0..<20).map { _ in try stage.connection() }
        for (socket, _) in connections { stage.engine.shutdown(socket, .send) }
        let nops = (0..<64).map { _ in stage.token() }
        for nop in nops { stage.engine.nop(nop) }
        var sends: [Token] = []
        for (socket, _) in connections {
          let send = stage.token()
          sends.append(send)
          stage.engine.send(socket, try stage.frame("late"), .quiet, send)
        }
        stage.engine.expediteSends()
        for send in sends { #expect(try stage.end(send) == -EPIPE) }
        for nop in nops { #expect(try stage.end(nop) == 0) }
        stage.showedFailure = true
        for (socket, _) in connections { stage.engine.close(socket) }
      }
    }

    /// ECANCELED was taken for the socket's own error.
    @Test(.tags(.failure), arguments: engines)
    func theEndAfterACancelledSendIsAPlainEnd(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let send = stage.token()
        stage.engine.send(socket, try coldFrame(stage, pattern(8 << 20)), .awaited, send)
        for _ in 0..<5 { stage.turn(within: 2) }
        stage.engine.cancel(send)
        try stage.expect(send, -ECANCELED)
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        peer.finishSending()
        #expect(try stage.end(receive) == 0)
        stage.engine.close(socket)
      }
    }

    /// Operations on paths have no descriptor, and an empty slot stands for none.
    @Test(.tags(.failure), arguments: completeEngines)
    func cancellingAnEmptySlotLeavesPathsAlone(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let slot = try #require(stage.engine.takeSlot())
        let tokens = (0..<12).map { _ in stage.token() }
        for token in tokens { stage.engine.unlink("/nowhere/\(token.rawValue)", token) }
        stage.engine.cancelAll(slot)
        for token in tokens { try stage.expect(token, -ENOENT) }
        stage.engine.returnSlot(slot)
      }
    }

    /// The step was not found before its turn, and nobody asked again.
    @Test(.tags(.failure), arguments: engines)
    func aStepIsCancelledOnceItsTurnHasCome(_ kind: EngineKind) throws {
      try onStage(kind, isComparable: false) { stage in
        let (socket, _) = try stage.connection()
        stage.engine.refreshClocks()
        let (first, second) = (stage.token(), stage.token())
        stage.engine.beginChain()
        stage.engine.timeout(at: stage.engine.now + 20_000_000, first)
        stage.engine.receive(socket, .once, second)
        stage.engine.endChain()
        for _ in 0..<3 { stage.turn(within: 1) }
        stage.engine.cancel(second)
        try stage.expect(first, -ETIME)
        stage.engine.cancel(second)
        try stage.expect(second, -ECANCELED)
        stage.engine.close(socket)
      }
    }
  }
}
