// Waiting, with an ear for the person who interrupts: every wait of a comparison goes through here, so
// that Ctrl-C ends it within milliseconds and everything that it started ends with it.

import Glibc
import MillraceEngine

struct Attention {
  private let signals: SignalWaiter

  /// Blocks what ends a program and the word that a child ended; to be made before any thread.
  init() { signals = SignalWaiter(blocking: [SIGINT, SIGTERM, SIGHUP, SIGCHLD]) }

  /// Waits, less if a child ended.
  /// - Throws: `CompareFailure` with status 130 if somebody wants an end.
  func wait(milliseconds: Int64) throws(CompareFailure) {
    guard let signal = signals.wait(nanoseconds: milliseconds * 1_000_000), signal != SIGCHLD else {
      return
    }
    throw CompareFailure("interrupted", hint: "", status: 130)
  }

  /// Waits until `isSo`, at most `seconds`. - Returns: whether it came to be so.
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
