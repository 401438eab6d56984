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
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let completion = try received(harness, socket, peer, .once)
        _ = harness.engine.takeSlice(completion)
        let next = try received(harness, socket, peer, .once)
        _ = harness.engine.takeSlice(next)
        harness.engine.close(socket)
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
  throw HarnessFailure("nothing was completed")
}

private func received(
  _ harness: Harness, _ socket: Descriptor, _ peer: any Peer, _ mode: ReceiveMode
) throws -> Completion {
  harness.engine.receive(socket, mode, Token(rawValue: 1 << 40))
  peer.send("some bytes")
  return try completion(harness.engine)
}

/// Runs the way to a trap. An error on the way ends the process as if nothing had trapped, and so
/// does coming to its end; the harness lives on, because an engine with operations in flight would
/// trap for another reason.
func orSucceed(_ kind: EngineKind, _ body: (Harness) throws -> Void) {
  var options = Harness.options
  options.largeBuffers = 1
  guard let harness = try? Harness(kind, options) else { exit(EXIT_SUCCESS) }
  _ = Unmanaged.passRetained(harness)
  try? body(harness)
  exit(EXIT_SUCCESS)
}

private func redeemTwice(_ kind: EngineKind, afterReuse: Bool) {
  orSucceed(kind) { harness in
    let (socket, peer) = try harness.connection()
    let completion = try received(harness, socket, peer, .once)
    let slice = harness.engine.takeSlice(completion)
    if afterReuse {
      // There is one large buffer: the next completion, not yet redeemed, names it as well.
      _ = consume slice
      _ = try received(harness, socket, peer, .once)
    }
    _ = harness.engine.takeSlice(completion)
  }
}

private func redeemFileBufferTwice() {
  orSucceed(.epoll) { harness in
    let engine = harness.engine
    let none = Descriptor(rawValue: 60_000)
    engine.read(
      none, into: FileBuffer(capacity: 8), count: 8, offset: 0, Token(rawValue: 1))
    let completion = try completion(engine)
    _ = engine.takeFileBuffer(completion)
    _ = engine.takeFileBuffer(completion)
  }
}

private func closeInFlight(_ kind: EngineKind) {
  orSucceed(kind) { harness in
    let (socket, _) = try harness.connection()
    harness.engine.receive(socket, .stream, Token(rawValue: 1))
    harness.turn()
    harness.engine.close(socket)
  }
}

private func sendTwice(_ kind: EngineKind) {
  orSucceed(kind) { harness in
    let (socket, _) = try harness.connection()
    harness.engine.send(
      socket, try coldFrame(harness, pattern(8 << 20)), .quiet, Token(rawValue: 1))
    harness.turn()
    harness.engine.send(socket, try harness.frame("x"), .quiet, Token(rawValue: 2))
  }
}
