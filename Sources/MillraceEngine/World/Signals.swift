// Signals, taken synchronously by one thread: no handler, nothing that must be async-signal-safe.

import CLinux
import Glibc

/// The signals that a process waits for instead of being interrupted by.
public struct SignalWaiter: Sendable {
  private let signals: [Int32]
  /// signalfd(2), or negative. The signals stay blocked while they are waited for. sigtimedwait(2)
  /// lifts them out of the mask that /proc shows, by which Swift's runtime chooses the signal to stop
  /// a thread with after a crash; it would take the runtime's signal for one of ours, and the runtime
  /// waited 33 seconds for the thread to stop.
  private let descriptor: Int32

  /// Blocks the signals for this thread and all that it starts, and ignores SIGPIPE.
  ///
  /// To be called before any other thread exists.
  public init(blocking signals: [Int32]) {
    self.signals = signals
    var set = Self.set(signals)
    sigprocmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
    descriptor = clinux_signalfd(signals.reduce(0) { $0 | 1 << UInt64($1) })
  }

  /// Whether one of these has come that was blocked and has not been waited for, sigpending(2).
  public static func isPending(_ signals: [Int32]) -> Bool {
    var pending = sigset_t()
    guard sigpending(&pending) == 0 else { return false }
    return signals.contains { sigismember(&pending, $0) == 1 }
  }

  /// Waits for the next of the signals, at most `nanoseconds`. - Returns: its number, or nil.
  public func wait(nanoseconds: Int64) -> Int32? {
    guard descriptor >= 0 else { return waitWithoutDescriptor(nanoseconds) }
    let deadline = SystemClock.monotonicNanoseconds() + nanoseconds
    while true {
      let got = clinux_read_signal(descriptor)
      if got > 0 { return got }
      let left = deadline - SystemClock.monotonicNanoseconds()
      guard left > 0 else { return nil }
      var readable = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      // Rounded up, so that the last millisecond is not spent in turns of this loop.
      _ = poll(&readable, 1, Int32(clamping: (left + 999_999) / 1_000_000))
    }
  }

  /// Where no descriptor was left.
  private func waitWithoutDescriptor(_ nanoseconds: Int64) -> Int32? {
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
