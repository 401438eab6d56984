// What the process asks of a worker, and what it tells of itself. What it does not count as it goes is
// published: read where it is kept, and written to the worker's block of metrics in one go. That is when
// somebody asks (SIGUSR1), and where another process reads along (the lab does), every 10 ms while anything
// happens.

import AuditLog
import Exchange
import Glibc
import Logging
import Metrics
import MillraceEngine
import Synchronization
import Transport

extension Worker where E: ~Copyable {
  /// Does what the process has asked for, between two turns.
  mutating func obeyControl() {
    guard control.pointee.requests.load(ordering: .relaxed) != 0 else { return }
    let requests = control.pointee.requests.exchange(0, ordering: .acquiring)
    if requests & WorkerRequest.pulse != 0 {
      control.pointee.hasTurned.store(true, ordering: .releasing)
    }
    if requests & WorkerRequest.plan != 0 { takePlan() }
    if requests & WorkerRequest.drainReplaced != 0 { beginDrain(isReplaced: true) }
    if requests & WorkerRequest.drain != 0 { beginDrain() }
    if requests & WorkerRequest.report != 0 { report() }
    if requests & WorkerRequest.anchor != 0 { logAnchor() }
    if requests & WorkerRequest.servers != 0 {
      relay.upstreams.closeIdleOfMaintained(&relay.loop)
    }
    if requests & WorkerRequest.publish != 0 { publishMetrics() }
  }

  /// Says where the chain of the audit log stands, for `millrace audit verify --anchor`.
  mutating func logAnchor() {
    guard let text = relay.audit.anchor(workers: workerCount) else { return }
    relay.loop.logger.info("audit anchor \(text)")
  }

  // MARK: Metrics

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
    counters[.coalescedWaits] = e.coalescedWaits
    counters[.systemCalls] = e.systemCalls
    counters[.completions] = e.completions
    counters[.bytesCopied] = e.bytesCopied
    counters[.receivesStarved] = e.receivesStarved
    counters[.sendsShort] = e.sendsShort
    counters[.framesEvacuated] = e.framesEvacuated
    counters[.submissionQueueFull] = e.submissionQueueFull
    counters[.completionQueueOverflows] = e.completionQueueOverflows
    counters[.auditRecords] = Int(truncatingIfNeeded: log.records)
    counters[.auditCommits] = Int(truncatingIfNeeded: log.commits)
    counters[.tunnelsOpen] = relay.openTunnels
    let access = relay.access.totals
    counters[.accessLogLines] = access.lines
    counters[.accessLogDropped] = access.missing
    let traces = relay.traces.totals
    counters[.traces] = traces.exchanges
    counters[.tracesDropped] = traces.lost
    publishServers()
    counters[.publishedResponses] = counters.responses
    counters[.publishedAt] = Int(truncatingIfNeeded: relay.loop.engine.now)
    counters.block.endPublication()
  }

  /// What the servers of the current plan are doing. Two of one name share their figures.
  private func publishServers() {
    let counters = relay.loop.counters
    let states = relay.upstreams.pools.states(relay.loop.plan.window)
    for state in states {
      // Whoever reads meanwhile shall not see a part of a sum.
      var (active, idle) = (0, 0)
      for other in states where other.pointee.row == state.pointee.row {
        active += other.pointee.active
        idle += other.pointee.idleCount
      }
      counters[server: state.pointee.row, .active] = active
      counters[server: state.pointee.row, .idle] = idle
    }
  }

  // MARK: The report

  /// Writes one line with every gauge and counter, and at `debug` one for each connection.
  private mutating func report() {
    publishMetrics()
    let counters = relay.loop.counters
    var text = "counters worker=\(relay.loop.worker) engine=\(relay.loop.engine.kind.rawValue)"
    // Gauges first.
    for metric in PublishedMetric.allCases where metric.isReported && metric.family.kind == .gauge {
      text += " \(metric.family.name)=\(counters[metric])"
    }
    text += " descriptors=\(DescriptorLimit.open())"
    for metric in WorkerMetric.allCases {
      text += " \(metric.family.name)=\(counters[WorkerCounterPlace(metric: metric)])"
    }
    for metric in PublishedMetric.allCases
    where metric.isReported && metric.family.kind == .counter {
      text += " \(metric.family.name)=\(counters[metric])"
    }
    relay.loop.logger.info("\(text)")
    guard relay.loop.logger.logLevel <= .debug else { return }
    for slot in 0..<relay.downstreams.touched where relay.downstreams.isActive(slot) {
      relay.loop.logger.debug("\(describe(relay.downstreams[slot]))")
    }
  }

  /// All that a connection and its exchange are waiting for.
  private func describe(_ d: DownstreamPointer) -> String {
    var text =
      "connection worker=\(relay.loop.worker) slot=\(d.pointee.slot) phase=\(d.pointee.phase)"
      + " closing=\(d.transport.pointee.closing) \(Self.describe(d.transport))"
      + " close_after=\(d.pointee.http1.closeAfterResponse)"
      + " scanning=\(d.pointee.http1.isScanning)"
    guard let x = relay.exchange(of: d) else { return text }
    let state = x.pointee.state
    text +=
      " exchange=\(exchangeText(x.pointee.id)) stage=\(state.stage) request=\(state.request)"
      + " response=\(state.response) status=\(state.status)"
      + " request_blocked=\(state.requestFlow.isPaused)"
      + " response_blocked=\(state.responseFlow.isPaused) waiting=\(state.audit.heldBytes)"
      + " gate=\(state.audit.gate) response_bytes=\(state.responseBytes)"
    if let u = relay.upstream(of: x) {
      text += " upstream=\(u.pointee.phase) \(Self.describe(u.transport))"
    }
    return text
  }

  private static func describe(_ t: UnsafeMutablePointer<Transport>) -> String {
    "receiving=\(t.pointee.receiving) mode=\(t.pointee.mode)"
      + " stopping=\(t.pointee.receive == .stopping)"
      + " paused=\(t.pointee.paused) ended=\(t.pointee.readClosed)"
      + " sending=\(t.pointee.sending) in_flight=\(t.pointee.send.bytes)"
      + " unsent=\(t.pointee.unsent.count) unread=\(t.pointee.unread.count)"
  }
}
