// Exchanges that wait for the audit log: requests for room in it, responses for their record to be
// durable or for their end. And the log's own file operations.

import AuditLog
import Exchange
import Glibc
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  // MARK: Requests that wait for room

  /// Tries the requests again that wait for room.
  mutating func retryWaiting() {
    guard audit.beginRetries() else { return }
    while let slot = audit.takeWaiting() {
      guard exchanges.isActive(slot) else { continue }
      let x = exchanges[slot]
      let d = downstream(of: x)
      guard d.transport.pointee.closing == .open, x.pointee.state.stage == .waiting,
        x.pointee.record.isQueued
      else { continue }
      x.pointee.record.isQueued = false
      guard
        audit.mayHaveRoom(
          recordBytes(x), waitingSince: x.pointee.record.waitingSince, now: loop.engine.now)
      else {
        enqueueWaiting(x)
        continue
      }
      resumeWaiting(x, d)
    }
  }

  // MARK: Responses that wait for a record

  /// Lets the responses leave whose records are durable, in the order of the records.
  mutating func releaseAudited() {
    while let settled = audit.takeSettled() {
      guard exchanges.generation(settled.slot) == settled.generation else { continue }
      let x = exchanges[settled.slot]
      let gate = x.pointee.state.audit.gate
      guard gate != .none else { continue }
      let d = downstream(of: x)
      if settled.isLost {
        // A record is lost, be it only the first of two: the response must not be seen.
        _ = perform(x, x.pointee.state.recordFailed())
      } else if x.pointee.record.gateSequence == settled.sequence {
        if perform(x, x.pointee.state.recordDurable(gate)) { flush(d) }
      }
    }
  }

  // MARK: Responses that wait for their end

  /// Lets the responses begin that have been held for as long as they may be.
  mutating func expireHolds() {
    let now = loop.engine.now
    while let slot = audit.takeExpiredHold(now: now) {
      loop.counters.holdsExpired += 1
      let x = exchanges[slot]
      let d = downstream(of: x)
      if perform(x, x.pointee.state.holdExpired(bulk: isReadInBulk(x))) { flush(d) }
    }
  }

  // MARK: The log's file operations

  /// Submits what the log wants done; asked once per turn, before waiting.
  mutating func driveAudit() {
    guard audit.isOn else { return }
    if audit.commit(&loop.engine) { releaseAudited() }
    audit.maintain(&loop.engine)
  }

  mutating func auditCompleted(_ lane: UInt32, _ completion: Completion) {
    if audit.completed(lane, completion, &loop.engine) { releaseAudited() }
    if let time = audit.takeCommitTime() { loop.counters.countCommit(time) }
  }
}
