// What a worker does not count itself is published: read where it is kept, and written to the worker's
// block in one go. When somebody asks (SIGUSR1), and where another process reads along (the lab does),
// every 10 ms while anything happens.

import AuditLog
import Metrics
import MillraceEngine
import Transport

extension Worker where E: ~Copyable {
  /// After a turn. What happened is published a moment later, together with what follows it.
  mutating func publishWhenDue() {
    let now = relay.loop.engine.now
    if relay.loop.counters.publishAt == .max {
      relay.loop.counters.publishAt = now + WorkerCounters.publishInterval
    } else if now >= relay.loop.counters.publishAt {
      // Not set again: a worker to which nothing happens is not woken.
      relay.loop.counters.publishAt = .max
      publishMetrics()
    }
  }

  mutating func publishMetrics() {
    let log = relay.audit.totals()
    let counters = relay.loop.counters
    let e = relay.loop.engine.counters
    counters.block.beginPublication()
    counters[.connections] = relay.downstreams.inUse
    counters[.exchanges] = relay.exchanges.inUse
    counters[.upstreamConnections] = relay.upstreams.inUse
    counters[.upstreamIdle] = relay.upstreams.pools.idleTotal
    counters[.leases] = e.leasedBuffers
    counters[.frames] = e.framesInUse
    counters[.operations] = e.operationsInFlight
    counters[.timers] = relay.loop.wheel.armed
    counters[.coldBytes] = e.coldBytes
    counters[.records] = Int(truncatingIfNeeded: relay.audit.exchangesRecorded)
    counters[.queues] = listeners.queueCount
    counters[.plans] = relay.loop.plan.alive
    counters[.heldResponses] = relay.audit.heldResponses
    counters[.turns] = e.turns
    counters[.systemCalls] = e.systemCalls
    counters[.completions] = e.completions
    counters[.receivesStarved] = e.receivesStarved
    counters[.sendsShort] = e.sendsShort
    counters[.framesEvacuated] = e.framesEvacuated
    counters[.submissionQueueFull] = e.submissionQueueFull
    counters[.completionQueueOverflows] = e.completionQueueOverflows
    counters[.auditRecords] = Int(truncatingIfNeeded: log.records)
    counters[.auditCommits] = Int(truncatingIfNeeded: log.commits)
    counters[.publishedResponses] = counters.responses
    counters[.publishedAt] = Int(truncatingIfNeeded: relay.loop.engine.now)
    counters.block.endPublication()
  }
}
