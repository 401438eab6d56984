// Signals, taken synchronously by one thread: no handler, nothing that must be async-signal-safe.

import CLinux
import Glibc

/// The signals that a process waits for instead of being interrupted by.
public struct SignalWaiter: Sendable {
  private let signals: [Int32]

  /// Blocks the signals for this thread and all that it starts, and ignores SIGPIPE.
  ///
  /// To be called before any other thread exists.
  public init(blocking signals: [Int32]) {
    self.signals = signals
    var set = Self.set(signals)
    sigprocmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
  }

  /// Waits for the next of the signals, at most `nanoseconds`. - Returns: its number, or nil.
  public func wait(nanoseconds: Int64) -> Int32? {
    var set = Self.set(signals)
    var time = timespec(
      tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
    let got = sigtimedwait(&set, nil, &time)
    return got > 0 ? got : nil
  }

  private static func set(_ signals: [Int32]) -> sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    for signal in signals { sigaddset(&set, signal) }
    return set
  }
}
