// The thread of an `AsyncEngine`: it makes the engine, because an engine belongs to the thread that
// made it, turns it until the end, and says when it is gone.

import Glibc
import MillraceEngine

enum EngineThread {
  /// Starts the thread; `started` hears which engine runs, or why none does.
  static func start(
    _ kind: EngineKind?, _ core: Core,
    _ started: CheckedContinuation<EngineKind, any Error>
  ) throws(SystemFailure) {
    _ = try WorkerThread.start(name: "millrace-async", cpu: nil) {
      // Nobody joins it: `shutdown` hears of the engine's end, and the rest is a return.
      pthread_detach(pthread_self())
      run(kind, core, started)
    }
  }

  private static func run(
    _ kind: EngineKind?, _ core: Core, _ started: CheckedContinuation<EngineKind, any Error>
  ) {
    let options = options(core.limits)
    do throws(EngineFailure) {
      switch kind {
      case .uring:
        turn(try Uring(options), core, started)
      case .epoll:
        turn(try Epoll(options), core, started)
      case .simulated:
        core.ended()
        started.resume(
          throwing: SystemFailure(
            code: EOPNOTSUPP, operation: "a thread for the simulated engine"))
      case nil:
        guard let engine = uring(options) else {
          return turn(try Epoll(options), core, started)
        }
        turn(engine, core, started)
      }
    } catch {
      core.ended()
      started.resume(throwing: error)
    }
  }

  private static func uring(_ options: EngineOptions) -> Uring? { try? Uring(options) }

  private static func turn<E: Engine & ~Copyable>(
    _ engine: consuming E, _ core: Core, _ started: CheckedContinuation<EngineKind, any Error>
  ) {
    core.started(engine.waker)
    started.resume(returning: engine.kind)
    var loop = Loop(engine, core)
    loop.run()
    _ = consume loop
    core.ended()
  }

  /// An engine for convenience is smaller than one for throughput: its memory is reserved by its
  /// sizes, and its tasks copy what they receive at once.
  private static func options(_ limits: AsyncLimits) -> EngineOptions {
    var options = EngineOptions()
    options.smallBuffers = 64
    options.largeBuffers = 64
    // One send is under way per connection.
    options.frames = limits.connections + 16
    options.fileOperations = limits.fileOperations
    return options
  }
}
