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
    let old = relay.loop.plan.current
    guard let before = relay.loop.plan.replace(with: generation) else {
      relay.loop.counters.plansDelayed += 1
      return
    }
    relay.loop.counters.plansInstalled += 1
    control.pointee.plansInstalled.store(
      relay.loop.counters.plansInstalled, ordering: .releasing)
    relay.upstreams.pools.replace(
      old, with: relay.loop.plan.current, at: relay.loop.plan.window)
    relay.upstreams.adoptIdle(of: before, &relay.loop)
    relay.upstreams.adoptShared(of: before, &relay.loop)
    for slot in 0..<relay.downstreams.touched where relay.downstreams.isActive(slot) {
      let d = relay.downstreams[slot]
      if !relay.hasExchange(d) { relay.loop.adoptPlan(&d.pointee.listener) }
    }
    lookAtAll()
    // Nobody may have been on it.
    if relay.loop.plan.isUnused(before) { relay.loop.unusedPlans.append(before) }
  }

  /// The wheel looks as often as the current plan asks for.
  private mutating func lookAtAll() {
    for slot in 0..<relay.downstreams.touched where relay.downstreams.isActive(slot) {
      let t = relay.downstreams[slot].transport
      if t.pointee.closing != .joining { relay.loop.rearmTimer(t, Int(slot)) }
    }
    for slot in 0..<relay.upstreams.touched where relay.upstreams.isActive(slot) {
      let u = relay.upstreams[slot]
      guard u.transport.pointee.closing == .open else { continue }
      relay.loop.rearmTimer(u.transport, relay.upstreams.node(u))
    }
  }

  /// Lets go of plans that have lost their last connection; one that waited may take the place.
  mutating func retirePlans() {
    while let place = relay.loop.unusedPlans.popLast() {
      // The last of its connections may have been noticed twice.
      guard relay.loop.plan.isAlive(place), place != relay.loop.plan.window else { continue }
      relay.upstreams.pools.retire(place)
      if let waiting = relay.loop.plan.retire(place) { install(waiting) }
    }
  }
}
