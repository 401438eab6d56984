// An open file as tasks see it. Reads and writes name their offset, so that any number of tasks can
// use one file at once.

/// An open file. Closed by `close`, or when nobody holds it any more.
///
/// A file operation that has started is not cancelled, because it ends soon by itself and half a
/// write helps nobody; one that waits for its turn is.
public final class AsyncFile: Sendable {
  let engine: AsyncEngine
  let id: UInt64
  /// As it was opened.
  public let path: String

  init(engine: AsyncEngine, id: UInt64, path: String) {
    self.engine = engine
    self.id = id
    self.path = path
  }

  deinit { engine.core.abandon(.file, id) }

  /// Reads `count` bytes at an offset, fewer only where the file ends; empty at or behind its end.
  /// - Throws: `SystemFailure` (EIO, EISDIR, …), `AsyncEngineFailure`, `CancellationError`.
  public func read(_ count: Int, at offset: Int64) async throws -> [UInt8] {
    precondition(count >= 0 && offset >= 0)
    let reply = try await perform(.read(count, offset))
    guard case .bytes(let bytes?) = reply else { Core.mismatch() }
    return bytes
  }

  /// Writes all of the bytes at an offset.
  /// - Parameter durable: returns when they are on stable storage (RWF_DSYNC, pwritev2(2)).
  /// - Throws: `SystemFailure` (ENOSPC, EIO, …), `AsyncEngineFailure`, `CancellationError`. After
  ///   an error some of the bytes may have been written.
  public func write(_ bytes: [UInt8], at offset: Int64, durable: Bool = false) async throws {
    precondition(offset >= 0)
    _ = try await perform(.write(bytes, offset, durable: durable))
  }

  /// Makes what was written durable: fsync(2), or fdatasync(2) with `dataOnly`.
  public func synchronize(dataOnly: Bool = false) async throws {
    _ = try await perform(.synchronize(dataOnly: dataOnly))
  }

  /// Sets the length in bytes, ftruncate(2).
  public func truncate(to length: Int64) async throws {
    precondition(length >= 0)
    _ = try await perform(.truncate(length))
  }

  /// Closes, after operations that have started; those that wait for their turn end with
  /// `AsyncEngineFailure.closed`. Closing twice is harmless.
  public func close() async {
    await engine.core.close(.file, id)
  }

  private func perform(_ work: FileWork) async throws -> Reply {
    try await engine.core.perform { [id] in .file($0, id, work) }
  }
}
