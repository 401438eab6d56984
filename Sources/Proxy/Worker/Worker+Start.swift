// Making a worker: everything that it will ever need is allocated here, sized by the configured
// limits. Memory is reserved, and touched only as connections come.

import AuditLog
import Configuration
import Glibc
import HTTP1
import Logging
import MillraceEngine
import Synchronization
import TLS
import Transport

/// What a worker is made from; crosses to its thread.
struct WorkerParameters: @unchecked Sendable {
  // Sendable: plain values, and pointers to memory that is made for sharing.
  let generation: PlanGeneration
  let index: Int
  let workerCount: Int
  let options: EngineOptions
  let control: UnsafeMutablePointer<WorkerControl>
  let connectionCount: UnsafeMutablePointer<Atomic<Int>>
  let logger: Logger
  let journal: JournalParameters?
  /// The CPU that the worker is pinned to, or nil.
  let cpu: Int?
  /// With `placement: queue`.
  var board: QueueBoard?
  /// Where the workers wait until each has its engine.
  let gate: EngineGate
  let counters: WorkerCounters
  /// Bytes in a second from which on a direction of a tunnel is left to the kernel.
  var passingFrom = BulkFlow.standardThreshold
  /// Where lines of the access log go; nil: nowhere.
  var accessLog: LineSource?
  /// Where spans go; nil: there is no tracing.
  var traces: TraceParameters?
  /// Where it counts the connections of each plan.
  var users = PlanUsers()
  /// Where it waits, prepared, until it may listen; nil: it need not.
  var opening: OpeningGate?
  /// How long it waits for more than the first event, at the most.
  var coalesceNanoseconds = EngineSettings().coalesceNanoseconds
}

/// A worker that could not start.
struct WorkerFailure: Error, CustomStringConvertible {
  let description: String
}

extension Worker where E: ~Copyable {
  init(_ parameters: WorkerParameters, engine: consuming E) {
    let plan = parameters.generation.plan
    let connections = plan.limits.connections
    let streams = plan.limits.exchanges
    let upstreams = Upstreams(plan, exchanges: streams, timerBase: connections)
    let loop = Loop(
      engine, LivePlan(parameters.generation, users: parameters.users),
      timers: connections + upstreams.capacity,
      counters: parameters.counters, logger: parameters.logger, worker: parameters.index,
      coalescing: Coalescing(longest: parameters.coalesceNanoseconds))
    relay = Relay(
      loop, downstreams: Downstreams(plan.limits, connectionCount: parameters.connectionCount),
      upstreams: upstreams,
      audit: AuditDriver(
        parameters.journal, plan.audit, exchanges: streams, worker: parameters.index,
        tokenKind: TokenKind.journal.rawValue, logger: parameters.logger),
      access: AccessDriver(parameters.accessLog, exchanges: streams),
      traces: TraceDriver(parameters.traces), streams: streams,
      passingFrom: parameters.passingFrom)
    listeners = Listeners(worker: parameters.index, board: parameters.board)
    workerCount = parameters.workerCount
    control = parameters.control
    cpu = parameters.cpu
  }

  /// Opens the listeners of this worker.
  mutating func listen(_ sockets: ListenerSockets?) throws(WorkerFailure) {
    for place in relay.loop.plan.current.listeners.indices {
      do throws(SystemFailure) {
        try openListener(place, sockets)
      } catch {
        throw WorkerFailure(description: "\(error)")
      }
    }
  }

  /// Runs the audit log until it can take a first exchange, so that a proxy that says it is ready
  /// does not turn its first requests away.
  mutating func prepareAudit() {
    guard relay.audit.isOn else { return }
    relay.loop.engine.refreshClocks()
    let deadline = relay.loop.engine.now + AuditDriver.startNanoseconds
    while relay.audit.isPreparing(requestPart: Exchanges.requestPartBytes),
      relay.loop.engine.now < deadline
    {
      relay.driveAudit()
      let now = relay.loop.engine.now
      relay.loop.engine.wait(until: min(deadline, relay.audit.nextDeadline(now: now)))
      while let completion = relay.loop.engine.next() { dispatch(completion) }
    }
  }

  /// Frees what the plans hold. After `run`.
  consuming func end() {
    relay.upstreams.pools.deallocate()
    relay.loop.plan.end()
  }
}

/// Runs one worker on the current thread, from its making to its end.
private func runWorker<E: Engine & ~Copyable>(_ parameters: WorkerParameters, _ engine: consuming E)
{
  parameters.board?.set(parameters.index, engine.mailbox)
  var worker = Worker<E>(parameters, engine: engine)
  worker.prepareAudit()
  do {
    if let opening = parameters.opening {
      guard worker.relay.audit.canBegin(requestPart: Exchanges.requestPartBytes) else {
        throw WorkerFailure(description: "the audit log cannot take a record: is the disk full?")
      }
      parameters.control.pointee.state.store(WorkerControl.prepared, ordering: .releasing)
      guard opening.pass() else {
        throw WorkerFailure(description: "the process that runs goes on serving")
      }
    }
    try worker.listen(parameters.generation.sockets)
  } catch {
    parameters.logger.critical("cannot start worker worker=\(parameters.index) error=\"\(error)\"")
    parameters.control.pointee.state.store(WorkerControl.failed, ordering: .releasing)
    worker.beginDrain()
    worker.run()
    worker.end()
    return
  }
  parameters.control.pointee.state.store(WorkerControl.ready, ordering: .releasing)
  worker.run()
  worker.logAnchor()
  worker.publishMetrics()
  worker.end()
  parameters.control.pointee.finished.store(true, ordering: .releasing)
}

/// The one place where the engine's type is chosen: below it everything is specialised.
func startWorker(_ kind: EngineKind, _ parameters: WorkerParameters, _ wakers: WakerBoard) {
  defer { wakers.set(parameters.index, nil) }
  let gate = parameters.gate
  do throws(EngineFailure) {
    switch kind {
    case .uring:
      let engine = try Uring(parameters.options)
      guard gate.pass(parameters.index) else { return }
      wakers.set(parameters.index, engine.waker)
      runWorker(parameters, engine)
    case .epoll:
      let engine = try Epoll(parameters.options)
      guard gate.pass(parameters.index) else { return }
      wakers.set(parameters.index, engine.waker)
      runWorker(parameters, engine)
    case .simulated:
      // TRAP: the configuration cannot name this engine.
      preconditionFailure("a simulated worker runs in a SimulatedWorld, not on a thread")
    }
  } catch {
    gate.fail(error)
  }
}
