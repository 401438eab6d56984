// The handle of the façade: an engine on a thread of its own, for code that may wait with `await`.
// It owns the thread's life, from start to a drained end. It is not for the hot path: each operation
// costs an allocation, two passages between threads and a task's resumption, some microseconds in all.

public import MillraceEngine

/// An engine for code off the hot path: every operation is an `async` function.
///
/// The engine runs on a thread of its own. Tasks may use it, and everything that it made, from any
/// thread. It ends with `shutdown`, or when nobody holds it nor anything that it made.
///
///     let engine = try await AsyncEngine()
///     let connection = try await engine.connect(to: address)
///     try await connection.send(Array("hello\n".utf8))
///     while let bytes = try await connection.receive() { … }
///     await engine.shutdown()
///
/// **Errors.** `SystemFailure` where the kernel said no, `AsyncEngineFailure` where the façade did,
/// `CancellationError` where the task was cancelled first.
///
/// **Cancellation.** A cancelled task's operation ends in the kernel before its function returns: bytes
/// that were faster are returned, not lost. Exceptions are documented with the operation.
public final class AsyncEngine: Sendable {
  let core: Core
  /// Which engine runs.
  public let kind: EngineKind

  /// Starts an engine on a thread of its own.
  ///
  /// - Parameters:
  ///   - kind: which engine; nil for io_uring where its set-up succeeds, else epoll. The forked
  ///     self-test of `ProbeReport.run` is not made, because this process has threads: who wants
  ///     it runs it first thing in `main` and passes its verdict here.
  ///   - limits: bounds of every queue.
  /// - Throws: `EngineFailure` with the call that failed. The simulated engine has no thread of its
  ///   own and is refused: `SystemFailure` with EOPNOTSUPP.
  public init(_ kind: EngineKind? = nil, limits: AsyncLimits = AsyncLimits()) async throws {
    let core = Core(limits: limits)
    self.kind = try await withCheckedThrowingContinuation { started in
      do {
        try EngineThread.start(kind, core, started)
      } catch {
        started.resume(throwing: error)
      }
    }
    self.core = core
  }

  deinit { core.requestEnd() }

  /// Ends every operation in flight, closes what is open, and returns when the thread has let go of
  /// the engine. Operations end with `AsyncEngineFailure.ended`, sequences of connections with
  /// nil. Not cut short by cancellation; a second call waits for the same end.
  public func shutdown() async {
    await withCheckedContinuation { core.requestEnd($0) }
  }

  // MARK: Sockets

  /// A listening socket.
  /// - Parameters:
  ///   - address: IP or UNIX; port 0 lets the kernel choose, see `AsyncListener.address`.
  ///   - backlog: connections that the kernel holds for the engine, listen(2).
  ///   - reusePort: SO_REUSEPORT, for several listeners on one address.
  public func listen(
    on address: SocketAddress, backlog: Int32 = 511, reusePort: Bool = false
  ) async throws -> AsyncListener {
    let reply = try await core.perform { .listen($0, address, backlog, reusePort) }
    guard case .socket(let id, let bound) = reply else { Core.mismatch() }
    return AsyncListener(engine: self, id: id, address: bound)
  }

  /// Connects. Cancellation ends the attempt.
  /// - Throws: `SystemFailure` (ECONNREFUSED, ETIMEDOUT after the kernel's patience, …).
  public func connect(to address: SocketAddress) async throws -> AsyncConnection {
    let reply = try await core.perform { .connect($0, address) }
    guard case .socket(let id, let peer) = reply else { Core.mismatch() }
    return AsyncConnection(engine: self, id: id, peer: peer)
  }

  // MARK: Files

  /// Opens a file.
  /// - Parameters:
  ///   - path: relative to the working directory of the process.
  ///   - flags: O_RDONLY and the rest of open(2); O_CLOEXEC is added.
  ///   - mode: permissions of a file that is made, before the umask.
  public func open(_ path: String, flags: Int32, mode: UInt32 = 0o644) async throws -> AsyncFile {
    let reply = try await core.perform { .open($0, path, flags, mode) }
    guard case .file(let id) = reply else { Core.mismatch() }
    return AsyncFile(engine: self, id: id, path: path)
  }

  // MARK: Time

  /// Returns at a point of the monotonic clock, not before.
  /// - Parameter deadline: nanoseconds, as `SystemClock.monotonicNanoseconds()` counts them.
  /// - Throws: `CancellationError`, at once when the task is cancelled.
  public func sleep(until deadline: Int64) async throws {
    _ = try await core.perform { .sleep($0, deadline) }
  }

  /// Returns after some time, not before.
  public func sleep(for duration: Duration) async throws {
    let (seconds, attoseconds) = duration.components
    let (whole, overflows) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let length = overflows ? Int64.max / 2 : min(whole, Int64.max / 2) + attoseconds / 1_000_000_000
    try await sleep(until: SystemClock.monotonicNanoseconds() + length)
  }

  // MARK: The operator's view

  /// The gauges and counters of the engine, as of now.
  public func counters() async throws -> EngineCounters {
    let reply = try await core.perform { .counters($0) }
    guard case .counters(let counters) = reply else { Core.mismatch() }
    return counters
  }
}
