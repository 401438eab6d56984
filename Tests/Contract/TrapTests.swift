// Broken preconditions trap, at once and always: each of these would otherwise be memory that two
// owners believe to be theirs.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Traps {
    @Test(.tags(.failure)) func redeemingReceivedBytesTwiceTrapsOnEpoll() async {
      await #expect(processExitsWith: .failure) { redeemTwice(.epoll, afterReuse: false) }
    }

    @Test(.tags(.failure), .enabled(if: ringFailure == nil, "io_uring is refused"))
    func redeemingReceivedBytesTwiceTrapsOnTheRing() async {
      await #expect(processExitsWith: .failure) { redeemTwice(.uring, afterReuse: false) }
    }

    @Test(.tags(.failure)) func redeemingBytesWhoseBufferIsSomebodyElsesByNowTrapsOnEpoll() async {
      await #expect(processExitsWith: .failure) { redeemTwice(.epoll, afterReuse: true) }
    }

    @Test(.tags(.failure), .enabled(if: ringFailure == nil, "io_uring is refused"))
    func redeemingBytesWhoseBufferIsSomebodyElsesByNowTrapsOnTheRing() async {
      await #expect(processExitsWith: .failure) { redeemTwice(.uring, afterReuse: true) }
    }

    @Test(.tags(.failure)) func closingWithAReceiveInFlightTrapsOnEpoll() async {
      await #expect(processExitsWith: .failure) { closeInFlight(.epoll) }
    }

    @Test(.tags(.failure), .enabled(if: ringFailure == nil, "io_uring is refused"))
    func closingWithAReceiveInFlightTrapsOnTheRing() async {
      await #expect(processExitsWith: .failure) { closeInFlight(.uring) }
    }

    @Test(.tags(.failure)) func twoSendsOnOneSocketTrapOnEpoll() async {
      await #expect(processExitsWith: .failure) { sendTwice(.epoll) }
    }

    @Test(.tags(.failure), .enabled(if: ringFailure == nil, "io_uring is refused"))
    func twoSendsOnOneSocketTrapOnTheRing() async {
      await #expect(processExitsWith: .failure) { sendTwice(.uring) }
    }

    @Test(.tags(.failure)) func redeemingAFileBufferTwiceTraps() async {
      await #expect(processExitsWith: .failure) {
        redeemFileBufferTwice()
      }
    }

    /// The way through each of these without its last step: what traps is that step.
    @Test(arguments: engines)
    func theSameStepsWithoutTheLastDoNotTrap(_ kind: EngineKind) async throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let completion = try received(stage, socket, peer, .once)
        _ = stage.engine.takeSlice(completion)
        let next = try received(stage, socket, peer, .once)
        _ = stage.engine.takeSlice(next)
        stage.engine.close(socket)
      }
    }
  }
}

private func completion(_ engine: any ContractEngine) throws -> Completion {
  for _ in 0..<1000 {
    engine.refreshClocks()
    engine.wait(until: engine.now + 10_000_000)
    if let completion = engine.next() { return completion }
  }
  throw StageFailure("nothing was completed")
}

private func received(
  _ stage: Stage, _ socket: Descriptor, _ peer: any Peer, _ mode: ReceiveMode
) throws -> Completion {
  stage.engine.receive(socket, mode, Token(rawValue: 1 << 40))
  peer.send("some bytes")
  return try completion(stage.engine)
}

/// Runs the way to a trap. An error on the way ends the process as if nothing had trapped, and so
/// does coming to its end; the stage lives on, because an engine with operations in flight would
/// trap for another reason.
func orSucceed(_ kind: EngineKind, _ body: (Stage) throws -> Void) {
  var options = Stage.options
  options.largeBuffers = 1
  guard let stage = try? Stage(kind, options) else { exit(EXIT_SUCCESS) }
  _ = Unmanaged.passRetained(stage)
  try? body(stage)
  exit(EXIT_SUCCESS)
}

private func redeemTwice(_ kind: EngineKind, afterReuse: Bool) {
  orSucceed(kind) { stage in
    let (socket, peer) = try stage.connection()
    let completion = try received(stage, socket, peer, .once)
    let slice = stage.engine.takeSlice(completion)
    if afterReuse {
      // There is one large buffer: the next completion, not yet redeemed, names it as well.
      _ = consume slice
      _ = try received(stage, socket, peer, .once)
    }
    _ = stage.engine.takeSlice(completion)
  }
}

private func redeemFileBufferTwice() {
  orSucceed(.epoll) { stage in
    let engine = stage.engine
    let none = Descriptor(rawValue: 60_000)
    engine.read(
      none, into: FileBuffer(capacity: 8), count: 8, offset: 0, Token(rawValue: 1))
    let completion = try completion(engine)
    _ = engine.takeFileBuffer(completion)
    _ = engine.takeFileBuffer(completion)
  }
}

private func closeInFlight(_ kind: EngineKind) {
  orSucceed(kind) { stage in
    let (socket, _) = try stage.connection()
    stage.engine.receive(socket, .stream, Token(rawValue: 1))
    stage.turn()
    stage.engine.close(socket)
  }
}

private func sendTwice(_ kind: EngineKind) {
  orSucceed(kind) { stage in
    let (socket, _) = try stage.connection()
    stage.engine.send(socket, try coldFrame(stage, pattern(8 << 20)), .quiet, Token(rawValue: 1))
    stage.turn()
    stage.engine.send(socket, try stage.frame("x"), .quiet, Token(rawValue: 2))
  }
}
