// Waits that a signal interrupts: every wait of a comparison goes through here, so that Ctrl-C ends it, and
// every process that it started, within milliseconds.

import Glibc
import MillraceEngine

struct InterruptibleWait {
  private let signals: SignalWaiter

  /// Blocks the terminating signals and SIGCHLD. Must be created before any thread.
  init() { signals = SignalWaiter(blocking: [SIGINT, SIGTERM, SIGHUP, SIGCHLD]) }

  /// Waits; returns early when a child process exits.
  /// - Throws: `CompareFailure` with status 130 on SIGINT, SIGTERM or SIGHUP.
  func wait(milliseconds: Int64) throws(CompareFailure) {
    guard let signal = signals.wait(nanoseconds: milliseconds * 1_000_000), signal != SIGCHLD else {
      return
    }
    throw CompareFailure("interrupted", hint: "", status: 130)
  }

  /// Waits until `isSo`, at most `seconds`. - Returns: whether the condition became true.
  func wait(
    seconds: Double, until isSo: () -> Bool
  ) throws(CompareFailure) -> Bool {
    let end = SystemClock.monotonicNanoseconds() + Int64(seconds * 1e9)
    while !isSo() {
      if SystemClock.monotonicNanoseconds() >= end { return false }
      try wait(milliseconds: 5)
    }
    return true
  }
}
