// When the service manager's watchdog is fed: after each worker has answered a call, which it does between
// two turns of its loop. One that does not turn any more starves it, and the manager restarts the process.

/// Times are monotonic nanoseconds.
struct WatchdogFeed {
  enum Step: Equatable {
    /// All workers have turned: the manager is told, and they are called again.
    case feed
    /// Nothing has been asked yet: they are called.
    case call
    /// Some have not answered.
    case wait
  }

  /// A quarter of what the manager allows: it asks for half at most (sd_watchdog_enabled(3)), and an answer is seen
  /// one look later.
  let interval: Int64
  /// When to look again; Int64.max: there is no watchdog.
  private(set) var nextLook: Int64
  private var hasCalled = false

  /// - Parameter limit: how long the manager waits; nil: it does not.
  init(limit: Int64?, now: Int64) {
    interval = limit.map { max(1, $0 / 4) } ?? .max
    nextLook = limit == nil ? .max : now
  }

  /// It is time to look. - Parameter haveAnswered: all workers, the last call.
  mutating func look(now: Int64, haveAnswered: Bool) -> Step {
    nextLook = now + interval
    guard hasCalled else {
      hasCalled = true
      return .call
    }
    return haveAnswered ? .feed : .wait
  }
}
