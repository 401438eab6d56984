// What every component of a worker needs in order to act: the engine, the timer wheel, the plans, and
// what is counted. A worker has one, and lends it to its components for a call; a component keeps
// nothing of it.

import Glibc
import Logging
import MillraceEngine
import Transport

struct Loop<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  var plan: LivePlan
  var wheel: TimerWheel
  var counters: WorkerCounters
  let logger: Logger
  let worker: Int
  var coalescing: Coalescing
  /// False once the worker drains: no connection is kept for a request to come.
  var isServing = true
  /// How long an idle connection that is to end may still bring a request, in nanoseconds.
  var grace: Int64 = 2_000_000_000
  /// Places of plans that have lost their last connection; the worker retires them between two turns.
  var unusedPlans: [Int] = []

  /// - Parameter timers: nodes of the wheel: one for each connection that there may be.
  init(
    _ engine: consuming E, _ plan: consuming LivePlan, timers: Int, counters: WorkerCounters,
    logger: Logger, worker: Int, coalescing: Coalescing
  ) {
    self.counters = counters
    wheel = TimerWheel(capacity: timers, now: engine.now)
    self.engine = engine
    self.plan = plan
    self.logger = logger
    self.worker = worker
    self.coalescing = coalescing
  }

  // MARK: Transports

  /// Makes sure that a buffer has a frame to be filled; false when the engine has none left.
  @inline(__always)
  mutating func prepare(_ buffer: inout SendBuffer) -> Bool {
    if buffer.prepare(&engine) { return true }
    counters.framesExhausted += 1
    return false
  }

  /// Sends what waits, if nothing is in flight. - Parameter node: of the connection in the wheel.
  @inline(__always)
  mutating func flush(
    _ transport: UnsafeMutablePointer<Transport>, _ urgency: SendUrgency, _ token: Token,
    node: Int
  ) {
    if transport.pointee.flush(urgency, token, &engine) { watch(transport, node) }
    if transport.pointee.sending && !transport.pointee.unsent.isEmpty { coalescing.hurry() }
  }

  // MARK: Plans

  /// Moves what has nothing in progress to the current plan.
  @inline(__always)
  mutating func adoptPlan(_ use: inout PlanUse) {
    if !plan.isCurrent(use) { plan.adopt(&use, unused: &unusedPlans) }
  }

  /// A connection has ended.
  mutating func leavePlan(_ use: PlanUse) { plan.leave(use, unused: &unusedPlans) }

  /// Whether no connection of a listener is kept for a request to come: the worker drains, or the listener is
  /// gone from the current plan.
  @inline(__always)
  func isEnding(_ use: PlanUse) -> Bool { plan.listeners[Int(use.listener)].isEnding }
}
