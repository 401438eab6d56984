// The orderly end: listeners close without losing a connection that the kernel has accepted,
// exchanges finish, idle connections get one more request or a grace period, the audit log is
// finished; past the deadline what is left is cut.

import Exchange
import Glibc
import Logging
import MillraceEngine
import Synchronization
import Transport

extension Worker where E: ~Copyable {
  /// - Parameter isReplaced: another process serves from now on, and tunnels have a time of their own.
  mutating func beginDrain(isReplaced: Bool = false) {
    let (now, time) = (relay.loop.engine.now, relay.loop.plan.drainDeadline)
    guard drain.isServing else {
      if !isReplaced { drain.limitTunnels(now: now, time: time) }
      return
    }
    relay.loop.isServing = false
    relay.loop.plan.endListeners()
    relay.loop.grace = drain.begin(
      now: now, time: time, tunnelTime: isReplaced ? relay.loop.plan.tunnelDeadline : time)
    listeners.stop()
    for i in 0..<listeners.count where listeners.stopAccepting(i, &relay.loop.engine) {
      emptyListener(i)
    }
    for slot in 0..<relay.downstreams.touched where relay.downstreams.isActive(slot) {
      relay.drainBegan(relay.downstreams[slot])
    }
  }

  /// One step of the drain; called every turn once it has begun.
  mutating func advanceDrain() {
    let now = relay.loop.engine.now
    if listeners.isClosed { control.pointee.hasStoppedAccepting.store(true, ordering: .releasing) }
    guard drain.isDue(now: now) else { return }
    switch drain.step {
    case .serving, .finished: break
    case .draining:
      sweep(isOverdue: drain.isOverdue(now: now), sparesTunnels: drain.sparesTunnels(now: now))
      guard relay.downstreams.inUse == 0, relay.upstreams.inUse == 0, listeners.isClosed
      else { return }
      // Connections that other workers pass on come in messages: those that were sent are served
      // before this worker is done, and nobody sends another.
      if listeners.refuseHandOvers(&relay.loop.engine) { return }
      relay.audit.beginShutdown()
      drain.closeLog(now: now)
      if relay.audit.hasShutDown() { drain.finish() }
    case .closingLog:
      if relay.audit.hasShutDown() { return drain.finish() }
      guard drain.isOverdue(now: now) else { return }
      if relay.audit.isAbandoned { return drain.finish() }
      relay.audit.abandon()
      relay.loop.logger.error(
        "audit log shutdown timed out worker=\(relay.loop.worker)")
      drain.closeLog(now: now)
    }
  }

  private mutating func sweep(isOverdue: Bool, sparesTunnels: Bool) {
    if isOverdue {
      for slot in 0..<relay.downstreams.touched where relay.downstreams.isActive(slot) {
        relay.drainEnded(relay.downstreams[slot], sparesTunnels: sparesTunnels)
      }
    }
    for slot in 0..<relay.upstreams.touched where relay.upstreams.isActive(slot) {
      let u = relay.upstreams[slot]
      guard u.pointee.exchange < 0 else { continue }
      if u.pointee.kind == .http2 {
        relay.upstreams.drainShared(u, &relay.loop)
        if !isOverdue || sparesTunnels && relay.upstreams.hasStreams(u) { continue }
      }
      relay.upstreams.close(u, &relay.loop)
      // Without its goodbye.
      if isOverdue { relay.upstreams.join(u, &relay.loop) }
    }
  }
}
