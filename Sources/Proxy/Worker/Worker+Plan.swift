// Changing the plan while connections and exchanges go on. Who has nothing in progress moves to the new
// plan at once, an exchange ends on the plan that it began with, and kept connections to servers that
// stay are kept.

import Glibc
import Logging
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
    // Nothing begins any more that could be on it.
    guard drain.isServing else { return }
    let old = relay.loop.plan.current
    guard let before = relay.loop.plan.replace(with: generation) else {
      relay.loop.counters.plansDelayed += 1
      return
    }
    relay.loop.counters.plansInstalled += 1
    relay.upstreams.pools.replace(
      old, with: relay.loop.plan.current, at: relay.loop.plan.window)
    relay.upstreams.adoptIdle(of: before, &relay.loop)
    relay.upstreams.adoptShared(of: before, &relay.loop)
    followConnections()
    followListeners(generation.sockets)
    lookAtAll()
    // Nobody may have been on it.
    if relay.loop.plan.isUnused(before) { relay.loop.unusedPlans.append(before) }
    control.pointee.plansInstalled.store(
      relay.loop.counters.plansInstalled, ordering: .releasing)
    control.pointee.generation.store(generation.number, ordering: .releasing)
  }

  /// Opens the listeners that are new, and ends those that are gone.
  private mutating func followListeners(_ sockets: ListenerSockets?) {
    let (missing, gone) = listeners.follow(relay.loop.plan)
    for place in missing {
      do throws(SystemFailure) {
        try openListener(place, sockets)
      } catch {
        relay.loop.logger.error(
          "cannot open listener worker=\(relay.loop.worker) error=\"\(error)\"")
      }
    }
    for slot in gone {
      let index = listeners.index(slot)
      relay.loop.plan.endListener(index)
      listeners.beginEnd(slot, holding: relay.loop.plan.join(index))
      if listeners.stopAccepting(slot, &relay.loop.engine) { emptyListener(slot) }
    }
    leaveEndedListeners()
  }

  /// Opens a listener of the current plan, or takes its socket from among those that came with the plan.
  mutating func openListener(
    _ place: Int, _ sockets: ListenerSockets?
  ) throws(SystemFailure) {
    let plan = relay.loop.plan.current
    let listener = plan.listeners[place]
    var inherited = sockets?.take(place, worker: relay.loop.worker)
    // A UNIX socket has one queue: one worker serves it.
    if listener.address.isUnix && relay.loop.worker > 0 && inherited == nil { return }
    // A socket that all share has no CPU of its own.
    let isShared = inherited != nil && sockets?.isShared(place) == true
    let placedBy = plan.placesByCPU && !listener.address.isUnix && !isShared ? cpu : nil
    repeat {
      let code = try listeners.open(
        relay.loop.plan.listener(place), listener.identity, listener.address, inherited: inherited,
        cpu: placedBy, &relay.loop.engine)
      if code < 0 { logUnplaced(listener, code) }
      // A process before this one may have had more workers: connections wait in the sockets of all.
      inherited = inherited == nil ? nil : sockets?.take(place, worker: relay.loop.worker)
    } while inherited != nil
  }

  private func logUnplaced(_ listener: ListenerPlan, _ code: Int32) {
    relay.loop.logger.warning(
      """
      cannot set connection placement worker=\(relay.loop.worker) address=\(listener.address) \
      error="SO_INCOMING_CPU: \(String(cString: strerror(-code)))"
      """)
  }

  /// Moves the connections to the new plan. Those whose listener is gone from that end as in a drain, but for
  /// the deadline: an exchange has its timeouts, and a tunnel all the time that it wants.
  private mutating func followConnections() {
    var leaving: [UInt32] = []
    for slot in 0..<relay.downstreams.touched where relay.downstreams.isActive(slot) {
      let d = relay.downstreams[slot]
      if relay.loop.plan.successor(of: d.pointee.listener) == nil,
        !relay.loop.isEnding(d.pointee.use)
      {
        leaving.append(slot)
      }
      if !relay.hasExchange(d) {
        relay.loop.adoptPlan(&d.pointee.use)
      } else if d.pointee.isHTTP2 {
        relay.loop.plan.follow(&d.pointee.use)
      }
    }
    for slot in leaving {
      relay.loop.plan.endListener(relay.downstreams[slot].pointee.listener)
    }
    for slot in leaving where relay.downstreams.isActive(slot) {
      relay.drainBegan(relay.downstreams[slot])
    }
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
      // The last of its connections may have been noticed twice, or a listener that ends holds it since.
      guard relay.loop.plan.isAlive(place), place != relay.loop.plan.window,
        relay.loop.plan.isUnused(place)
      else { continue }
      relay.upstreams.pools.retire(place)
      if let waiting = relay.loop.plan.retire(place) { install(waiting) }
    }
  }
}
