// Changing the plan while connections and exchanges go on. Who has nothing in progress moves to the new
// plan at once, an exchange ends on the plan that it began with, and kept connections to servers that
// stay are kept.

import Glibc
import MillraceEngine
import Synchronization
import Transport

extension Worker where E: ~Copyable {
  /// Takes the plan that the process has left for this worker.
  mutating func takePlan() {
    guard let left = control.pointee.plan.exchange(nil, ordering: .acquiring) else { return }
    install(Unmanaged<PlanGeneration>.fromOpaque(left).takeRetainedValue())
  }

  private mutating func install(_ generation: PlanGeneration) {
    let old = plan.current
    guard let before = plan.replace(with: generation) else {
      counters.plansDelayed += 1
      return
    }
    counters.plansInstalled += 1
    control.pointee.plansInstalled.store(counters.plansInstalled, ordering: .releasing)
    pools.replace(old, with: plan.current, at: plan.window)
    settleIdleUpstreams(of: before)
    for slot in 0..<downstreams.touched where isActive(slot) {
      let d = downstreams[slot]
      if d.pointee.exchange < 0 { adoptPlan(d) }
    }
    lookAtAll()
    // Moving its connections may have retired it already.
    if plan.isAlive(before) && plan.isUnused(before) { retirePlan(before) }
  }

  /// Idle connections follow their servers into the current plan; those of servers that are not in it
  /// are closed.
  private mutating func settleIdleUpstreams(of place: Int) {
    var unwanted: [Int32] = []
    for state in pools.states(place) {
      var slot = state.pointee.idleHead
      while slot >= 0 {
        let u = upstreams[UInt32(slot)]
        if state.pointee.group >= 0 {
          u.pointee.group = state.pointee.group
          u.pointee.server = state.pointee.place
        } else {
          unwanted.append(slot)
        }
        slot = u.pointee.idleNext
      }
    }
    for slot in unwanted { closeUpstream(upstreams[UInt32(slot)]) }
  }

  /// The wheel looks as often as the current plan asks for.
  private mutating func lookAtAll() {
    let now = engine.now
    for slot in 0..<downstreams.touched where isActive(slot) {
      let t = Self.transport(downstreams[slot])
      if t.pointee.closing != .joining { armAgain(t, Int(slot), now) }
    }
    for slot in 0..<upstreams.touched where upstreams.isTaken(slot) {
      let t = Self.transport(upstreams[slot])
      guard t.pointee.socket.isValid, t.pointee.closing == .open else { continue }
      armAgain(t, upstreamTimerBase + Int(slot), now)
    }
  }

  /// Moves a connection without an exchange to the current plan.
  mutating func adoptPlan(_ d: DownstreamPointer) {
    guard !plan.isCurrent(d.pointee.listener) else { return }
    let (listener, retired) = plan.adopt(d.pointee.listener)
    d.pointee.listener = listener
    if let retired { retirePlan(retired) }
  }

  /// A connection has ended.
  mutating func leavePlan(_ d: DownstreamPointer) {
    if let retired = plan.leave(d.pointee.listener) { retirePlan(retired) }
  }

  private mutating func retirePlan(_ place: Int) {
    pools.retire(place)
    if let waiting = plan.retire(place) { install(waiting) }
  }
}
