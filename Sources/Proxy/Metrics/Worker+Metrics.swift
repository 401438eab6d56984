// What a worker does not count itself is published: read where it is kept, and written to the
// worker's block in one go. When somebody asks (SIGUSR1), and where another process reads along (the
// lab does), every 10 ms while anything happens.

import AuditLog
import Metrics
import MillraceEngine

extension Worker where E: ~Copyable {
  /// After a turn. What happened is published a moment later, together with what follows it.
  mutating func publishWhenDue() {
    let now = engine.now
    if counters.publishAt == .max {
      counters.publishAt = now + WorkerCounters.publishInterval
    } else if now >= counters.publishAt {
      // Not set again: a worker to which nothing happens is not woken.
      counters.publishAt = .max
      publishMetrics()
    }
  }

  mutating func publishMetrics() {
    let e = engine.counters
    let audit = auditTotals
    let idle = pools.idleTotal
    counters.block.beginPublication()
    counters[.connections] = downstreams.inUse
    counters[.exchanges] = exchanges.inUse
    counters[.upstreamConnections] = upstreams.inUse
    counters[.upstreamIdle] = idle
    counters[.leases] = e.leasedBuffers
    counters[.frames] = e.framesInUse
    counters[.operations] = e.operationsInFlight
    counters[.timers] = wheel.armed
    counters[.coldBytes] = e.coldBytes
    counters[.records] = Int(truncatingIfNeeded: exchangesRecorded)
    counters[.queues] = queuesSeen.count
    counters[.heldResponses] = holds.count
    counters[.turns] = e.turns
    counters[.systemCalls] = e.systemCalls
    counters[.completions] = e.completions
    counters[.receivesStarved] = e.receivesStarved
    counters[.sendsShort] = e.sendsShort
    counters[.framesEvacuated] = e.framesEvacuated
    counters[.submissionQueueFull] = e.submissionQueueFull
    counters[.completionQueueOverflows] = e.completionQueueOverflows
    counters[.auditRecords] = Int(truncatingIfNeeded: audit.records)
    counters[.auditCommits] = Int(truncatingIfNeeded: audit.commits)
    counters[.publishedResponses] = counters.responses
    counters[.publishedAt] = Int(truncatingIfNeeded: engine.now)
    counters.block.endPublication()
  }
}

extension WorkerCounters {
  /// A published figure; its group follows that of the worker's own ones.
  subscript(_ metric: PublishedMetric) -> Int {
    get { block[Self.publishedCell + metric.rawValue] }
    nonmutating set { block[Self.publishedCell + metric.rawValue] = newValue }
  }

  private static var publishedCell: Int {
    MetricLayout.blockHead + WorkerMetric.allCases.count
  }
}
