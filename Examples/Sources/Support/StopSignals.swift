// SIGINT and SIGTERM for a loop that waits in an engine: a thread takes the signal and wakes the engine,
// whose loop then looks whether it is to stop.

import Glibc
public import MillraceEngine
import Synchronization

/// The wish to stop, as signals bring it.
public final class StopSignals: Sendable {
  private let signals: SignalWaiter
  private let requested = Atomic<Bool>(false)

  /// Blocks SIGINT and SIGTERM. To be called before there is any other thread.
  public init() { signals = SignalWaiter(blocking: [SIGINT, SIGTERM]) }

  /// True once a signal has come.
  public var isRequested: Bool { requested.load(ordering: .acquiring) }

  /// Starts to wait for signals: the first one runs `stop`, the second one ends the process.
  public func start(_ stop: @escaping @Sendable () -> Void) {
    do {
      _ = try WorkerThread.start(name: "signals", cpu: nil) { [self] in
        // An hour at a time: sigtimedwait(2) wants an end.
        func next() -> Int32 {
          while true {
            if let signal = signals.wait(nanoseconds: 3_600_000_000_000) { return signal }
          }
        }
        _ = next()
        requested.store(true, ordering: .releasing)
        stop()
        _exit(128 + next())
      }
    } catch {
      giveUp(error)
    }
  }

  /// Starts to wait for signals; the first one makes `isRequested` true and ends the `wait` of an
  /// engine.
  public func start(waking waker: Waker) { start { waker.wake() } }
}
