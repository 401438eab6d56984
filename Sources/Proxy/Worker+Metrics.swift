// What a worker does not count itself is published: read where it is kept, and written to the
// worker's block in one go. When somebody asks (SIGUSR1), and where another process reads along (the
// lab does), every 10 ms while anything happens.

import AuditLog
import Metrics
import MillraceEngine
import Transport

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
    let log = audit.totals()
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
    counters[.records] = Int(truncatingIfNeeded: audit.exchangesRecorded)
    counters[.queues] = listeners.queueCount
    counters[.plans] = plan.alive
    counters[.heldResponses] = audit.heldResponses
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
    counters[.publishedAt] = Int(truncatingIfNeeded: engine.now)
    counters.block.endPublication()
  }
}

// MARK: Exchanges

extension Worker where E: ~Copyable {
  /// A request whose exchange goes on.
  @inline(__always)
  func countRequest(_ x: ExchangePointer) {
    let row = plan.row(ofListener: x.pointee.listener)
    counters[WorkerCounterPlace(metric: .requests)] += 1
    counters[listener: row, .requests] += 1
  }

  /// The end of an exchange, however it came.
  @inline(__always)
  func countEnd(_ x: ExchangePointer) {
    counters.countResponse(
      listener: plan.row(ofListener: x.pointee.listener),
      // Without a first byte of a server the answer was the proxy's own.
      server: x.pointee.firstByte == 0 ? -1 : pools.row(x.pointee.group, x.pointee.server),
      status: x.pointee.status, requestBytes: x.pointee.requestBytes,
      responseBytes: x.pointee.responseBytes)
  }

  /// An exchange that cannot go on, if its server is why.
  func countFailure(_ x: ExchangePointer, _ ending: Ending) {
    guard ending.isOfServer, x.pointee.group >= 0, x.pointee.server >= 0 else { return }
    counters[server: pools.row(x.pointee.group, x.pointee.server), .failures] += 1
  }
}

extension Ending {
  fileprivate var isOfServer: Bool {
    switch self {
    case .connectRefused, .connectUnreachable, .connectTimeout, .connectFailed, .upstreamReset,
      .upstreamClosedEarly, .upstreamTruncated, .upstreamMalformed, .upstreamUpgrade,
      .responseTimeout:
      true
    default: false
    }
  }
}
