// A connected stream socket as tasks see it: receive, send, close. The socket itself lives on the
// engine's thread; here is only its name.

public import MillraceEngine

/// A connected stream socket. Closed by `close`, or when nobody holds it any more.
public final class AsyncConnection: Sendable {
  let engine: AsyncEngine
  let id: UInt64
  /// The other side; nil where it has no address, as the client of a UNIX socket.
  public let peer: SocketAddress?

  init(engine: AsyncEngine, id: UInt64, peer: SocketAddress?) {
    self.engine = engine
    self.id = id
    self.peer = peer
  }

  deinit { engine.core.abandon(.connection, id) }

  /// The next bytes, as many as have arrived and at most one large buffer of the engine (128 KiB);
  /// nil when the peer has ended its side.
  ///
  /// One receive at a time: a second one throws `AsyncEngineFailure.receiving`. Nothing is read
  /// ahead, so a peer that sends faster than this is called is held back by TCP.
  /// - Throws: `SystemFailure` (ECONNRESET, …), `CancellationError`, `AsyncEngineFailure`.
  public func receive() async throws -> [UInt8]? {
    let reply = try await engine.core.perform { [id] in .receive($0, id) }
    guard case .bytes(let bytes) = reply else { Core.mismatch() }
    return bytes
  }

  /// Sends all of the bytes and returns when the kernel has taken the last of them: a peer that does
  /// not read holds its sender back. Sends of several tasks leave one after another, whole.
  ///
  /// Cancellation removes a send that has not begun. One that has begun cannot be taken back: its
  /// connection is shut down, because what follows would be read as a part of it.
  /// - Throws: `SystemFailure` (EPIPE, ECONNRESET, …), `CancellationError`, `AsyncEngineFailure`.
  public func send(_ bytes: [UInt8]) async throws {
    _ = try await engine.core.perform { [id] in .send($0, id, bytes, finishes: false) }
  }

  /// Ends this side after the sends that wait, shutdown(2): the peer's `receive` returns nil. Bytes
  /// may still be received.
  public func finishSending() async throws {
    _ = try await engine.core.perform { [id] in .send($0, id, [], finishes: true) }
  }

  /// Closes. Operations under way end with `AsyncEngineFailure.closed`, and have ended when this
  /// returns. Closing twice is harmless.
  public func close() async {
    await engine.core.close(.connection, id)
  }
}
