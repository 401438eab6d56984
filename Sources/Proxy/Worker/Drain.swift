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
  private var tunnelDeadline = Int64.max
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

  /// - Parameters:
  ///   - time: that all connections together have, in nanoseconds.
  ///   - tunnelTime: that tunnels have; Int64.max: as long as they like.
  /// - Returns: how long an idle connection may still bring a request.
  mutating func begin(now: Int64, time: Int64, tunnelTime: Int64) -> Int64 {
    step = .draining
    deadline = now + time
    tunnelDeadline = Self.sum(now, tunnelTime)
    nextLook = now
    return min(Self.graceNanoseconds, time / 2)
  }

  /// Whether it is time to look; the next time is then a while later.
  mutating func isDue(now: Int64) -> Bool {
    guard now >= nextLook else { return false }
    nextLook = now + Self.lookNanoseconds
    return true
  }

  /// The process is to end while tunnels have more time: they have this much from now on.
  mutating func limitTunnels(now: Int64, time: Int64) {
    tunnelDeadline = min(tunnelDeadline, Self.sum(now, time))
  }

  private static func sum(_ now: Int64, _ time: Int64) -> Int64 {
    time > .max - now ? .max : now + time
  }

  func isOverdue(now: Int64) -> Bool { now >= deadline }
  /// Whether tunnels go on though other connections have no time left.
  func sparesTunnels(now: Int64) -> Bool { now < tunnelDeadline }

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
