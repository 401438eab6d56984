// Ends a long command early and in order: the first SIGINT or SIGTERM asks, a second one is obeyed at
// once.

import Glibc
import MillraceEngine
import Synchronization

final class Interruption: Sendable {
  private let count = Atomic<Int>(0)

  /// Blocks the signals for threads that are started from here on. To be made before them, and after
  /// whatever forks.
  /// - Parameter stop: called on a thread of its own.
  init(_ stop: @escaping @Sendable () -> Void) {
    let signals = SignalWaiter(blocking: [SIGINT, SIGTERM])
    // Without the thread a signal would have no effect at all.
    guard
      (try? WorkerThread.start(
        name: "signals", cpu: nil,
        { [self] in
          while true {
            guard signals.wait(nanoseconds: 3_600_000_000_000) != nil else { continue }
            if count.wrappingAdd(1, ordering: .relaxed).oldValue > 0 { _exit(130) }
            stop()
          }
        })) != nil
    else {
      Reporting.print("millrace: cannot start the signal thread")
      _exit(1)
    }
  }

  var hasCome: Bool { count.load(ordering: .relaxed) > 0 }
}
