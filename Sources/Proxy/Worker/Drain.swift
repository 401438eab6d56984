// How far the orderly end of a worker has got, and when it is to be looked at again.

import Glibc

enum DrainStep: UInt8 {
  case serving
  /// Listeners are closed; exchanges finish, idle connections have their grace.
  case draining
  /// No connection is left; the audit log is being finished.
  case closingLog
  case finished
}

/// The steps of a drain, each with its deadline. Times are monotonic nanoseconds.
struct Drain {
  private(set) var step = DrainStep.serving
  private var deadline = Int64.max
  /// When the worker has to look; Int64.max: not at all.
  private(set) var nextLook = Int64.max

  /// How long an idle connection may still use what it was promised: a request that was on its
  /// way when the drain began arrives within a round trip.
  private static let graceNanoseconds: Int64 = 2_000_000_000
  private static let lookNanoseconds: Int64 = 50_000_000
  /// How long the audit log may take to finish after the last connection.
  private static let logNanoseconds: Int64 = 10_000_000_000

  var isServing: Bool { step == .serving }
  var isFinished: Bool { step == .finished }

  /// - Parameter time: that all connections together have, in nanoseconds.
  /// - Returns: how long an idle connection may still bring a request.
  mutating func begin(now: Int64, time: Int64) -> Int64 {
    step = .draining
    deadline = now + time
    nextLook = now
    return min(Self.graceNanoseconds, time / 2)
  }

  /// Whether it is time to look; the next time is then a while later.
  mutating func isDue(now: Int64) -> Bool {
    guard now >= nextLook else { return false }
    nextLook = now + Self.lookNanoseconds
    return true
  }

  func isOverdue(now: Int64) -> Bool { now >= deadline }

  /// A connection was closed: it may have been the last one.
  mutating func lookSoon(now: Int64) {
    if step != .serving { nextLook = now }
  }

  /// The log is to be finished, or given up.
  mutating func closeLog(now: Int64) {
    step = .closingLog
    deadline = now + Self.logNanoseconds
    nextLook = now
  }

  mutating func finish() {
    step = .finished
    nextLook = .max
  }
}
