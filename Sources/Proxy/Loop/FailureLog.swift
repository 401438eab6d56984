// Reasons of failed exchanges for the operator's log: all of them while they are few, a sample and
// a count when they are many. A log line costs more than the failure; it must not become a way to
// slow a worker down.

import Glibc
import Logging

/// An exchange's id as its record has it: sixteen hexadecimal digits.
func exchangeText(_ id: UInt64) -> String {
  let digits = String(id, radix: 16)
  return String(repeating: "0", count: 16 - digits.count) + digits
}

/// A limit of lines per second, with a count of what it kept back.
struct FailureLog {
  /// Lines per second and worker.
  private static let linesPerSecond = 20

  private var second: Int64 = -1
  private var lines = 0
  private var suppressed = 0

  /// True if a line may be written now; `withheld` is how many were not since the last.
  mutating func admit(now: Int64) -> (admitted: Bool, withheld: Int) {
    let current = now / 1_000_000_000
    if current != second {
      second = current
      lines = 0
    }
    guard lines < Self.linesPerSecond else {
      suppressed += 1
      return (false, 0)
    }
    lines += 1
    let withheld = suppressed
    suppressed = 0
    return (true, withheld)
  }
}
