// What every test of the façade needs: an engine that is checked to be at rest and then ended, a pair
// of connections, bytes that differ from place to place.

import Foundation
import MillraceAsync
import MillraceEngine
import Testing

let engines: [EngineKind] = [.uring, .epoll]

/// Runs a test with an engine, and checks afterwards that it gave back all that it had.
func withEngine<Outcome: Sendable>(
  _ kind: EngineKind, _ limits: AsyncLimits = AsyncLimits(),
  _ body: (AsyncEngine) async throws -> Outcome
) async throws -> Outcome {
  let engine = try await AsyncEngine(kind, limits: limits)
  #expect(engine.kind == kind)
  do {
    let outcome = try await body(engine)
    let rest = try await engine.counters()
    #expect(rest.leasedBuffers == 0 && rest.framesInUse == 0 && rest.coldBytes == 0)
    await engine.shutdown()
    return outcome
  } catch {
    await engine.shutdown()
    throw error
  }
}

let anyPort = try! SocketAddress.resolve(host: "127.0.0.1", port: 0)[0]

/// Two ends of one connection over loopback, and the listener between them.
func pair(
  _ engine: AsyncEngine
) async throws -> (near: AsyncConnection, far: AsyncConnection, listener: AsyncListener) {
  let listener = try await engine.listen(on: anyPort)
  let near = try await engine.connect(to: try #require(listener.address))
  let far = try #require(try await listener.accept())
  return (near, far, listener)
}

/// Bytes in which no two pages are alike.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var state = seed &* 0x9E37_79B9_7F4A_7C15
  return (0..<count).map { _ in
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return UInt8(truncatingIfNeeded: state >> 56)
  }
}

/// Receives until so many bytes have come, or the stream ends.
func receive(_ count: Int, from connection: AsyncConnection) async throws -> [UInt8] {
  var bytes: [UInt8] = []
  while bytes.count < count, let more = try await connection.receive() { bytes += more }
  return bytes
}

/// Echoes until the peer ends its side, then ends this one.
func echo(_ connection: AsyncConnection) async {
  do {
    while let bytes = try await connection.receive() { try await connection.send(bytes) }
    try await connection.finishSending()
  } catch {}
  await connection.close()
}

/// Lets a task come to the point where it waits. The tests hold without it: it only makes the
/// interesting order the usual one.
func settle(_ engine: AsyncEngine) async throws {
  try await engine.sleep(for: .milliseconds(20))
}

func withTemporaryFile(_ body: (String) async throws -> Void) async throws {
  let path = NSTemporaryDirectory() + "/millrace-async-\(UUID().uuidString)"
  defer { try? FileManager.default.removeItem(atPath: path) }
  try await body(path)
}
