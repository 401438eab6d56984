// The orderly end: listeners close without losing a connection that the kernel has accepted,
// exchanges finish, idle connections get one more request or a grace period, the audit log is
// finished; past the deadline what is left is cut.

import Glibc
import Logging
import MillraceEngine
import Transport

extension Worker where E: ~Copyable {
  /// How long an idle connection may still use what it was promised: a request that was on its
  /// way when the drain began arrives within a round trip.
  private static var graceNanoseconds: Int64 { 2_000_000_000 }
  private static var sweepNanoseconds: Int64 { 50_000_000 }
  /// How long the audit log may take to finish after the last connection.
  private static var journalNanoseconds: Int64 { 10_000_000_000 }

  mutating func beginDrain() {
    guard drain == .serving else { return }
    drain = .draining
    let now = engine.now
    drainDeadline = now + plan.drainDeadline
    grace = min(Self.graceNanoseconds, plan.drainDeadline / 2)
    nextDrainSweep = now
    listeners.stop()
    for i in 0..<listeners.count where listeners.stopAccepting(i, &engine) { emptyListener(i) }
    for slot in 0..<downstreams.touched where isActive(slot) {
      let d = downstreams[slot]
      if d.pointee.exchange >= 0 { announceClose(d) } else { grantGrace(d) }
    }
  }

  /// An idle connection may bring one more request, for a while; a head that has begun keeps its
  /// own deadline.
  mutating func grantGrace(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    guard t.pointee.closing == .open, !d.pointee.isScanning else { return }
    t.pointee.deadline = min(t.pointee.deadline, engine.now + grace)
    t.pointee.isWatched = false
    wheel.arm(Int(d.pointee.slot), at: t.pointee.deadline)
  }

  /// The response that is still to be begun says that it is the last one.
  private mutating func announceClose(_ d: DownstreamPointer) {
    let x = exchanges[UInt32(d.pointee.exchange)]
    if x.pointee.phase == .request { d.pointee.closeAfterResponse = true }
  }

  func isActive(_ slot: UInt32) -> Bool {
    slot < downstreams.touched && downstreams.isTaken(slot)
      && downstreams[slot].pointee.transport.socket.isValid
  }

  /// One step of the drain; called every turn once it has begun.
  mutating func advanceDrain() {
    let now = engine.now
    switch drain {
    case .serving, .finished: return
    case .draining:
      guard now >= nextDrainSweep else { return }
      nextDrainSweep = now + Self.sweepNanoseconds
      sweep(now)
      guard downstreams.inUse == 0, upstreams.inUse == 0, listeners.isClosed else { return }
      // Connections that other workers pass on come in messages: those that were sent are served
      // before this worker is done, and nobody sends another.
      if listeners.refuseHandOvers(&engine) { return }
      drain = .closingJournal
      drainDeadline = now + Self.journalNanoseconds
      audit.beginShutdown()
      advanceDrain()
    case .closingJournal:
      nextDrainSweep = now + Self.sweepNanoseconds
      if audit.hasShutDown() { return finish() }
      guard now >= drainDeadline else { return }
      if audit.isAbandoned { return finish() }
      audit.abandon()
      logger.error("audit log could not be finished in time worker=\(index)")
      drainDeadline = now + Self.journalNanoseconds
    }
  }

  private mutating func finish() {
    drain = .finished
    nextDrainSweep = .max
  }

  private mutating func sweep(_ now: Int64) {
    let expired = now >= drainDeadline
    for slot in 0..<downstreams.touched where isActive(slot) {
      let d = downstreams[slot]
      guard d.pointee.transport.closing == .open || expired else { continue }
      if d.pointee.exchange >= 0 {
        if expired { abortExchange(exchanges[UInt32(d.pointee.exchange)], .drainDeadline) }
      } else if expired {
        abortDownstream(d)
      }
    }
    for slot in 0..<upstreams.touched where upstreams.isTaken(slot) {
      let u = upstreams[slot]
      guard u.pointee.transport.socket.isValid else { continue }
      if u.pointee.exchange < 0 { closeUpstream(u) }
    }
  }
}
