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
struct WorkerSeed: @unchecked Sendable {
  // Sendable: plain values, and pointers to memory that is made for sharing.
  let generation: PlanGeneration
  let index: Int
  let workerCount: Int
  let options: EngineOptions
  let control: UnsafeMutablePointer<WorkerControl>
  let connectionCount: UnsafeMutablePointer<Atomic<Int>>
  let logger: Logger
  let journal: JournalSeed?
  /// The CPU that the worker is pinned to, or nil.
  let cpu: Int?
  /// With `placement: queue`.
  var board: QueueBoard?
  /// Where the workers wait until each has its engine.
  let gate: EngineGate
  let counters: WorkerCounters
}

/// A worker that could not start.
struct WorkerFailure: Error, CustomStringConvertible {
  let description: String
}

extension Worker where E: ~Copyable {
  init(_ seed: WorkerSeed, engine made: consuming E) {
    let plan = seed.generation.plan
    let connections = plan.limits.connections
    let streams = plan.limits.exchanges
    let now = made.now
    engine = made
    self.plan = LivePlan(seed.generation)
    index = seed.index
    workerCount = seed.workerCount
    control = seed.control
    connectionCount = seed.connectionCount
    logger = seed.logger
    cpu = seed.cpu
    downstreams = Slab(capacity: connections)
    upstreams = Slab(capacity: streams + Self.idleTotal(plan))
    exchanges = Slab(capacity: streams)
    scratch = .allocate(byteCount: streams * ExchangeScratch.bytes, alignment: 64)
    clientText = .allocate(byteCount: connections * 64, alignment: 64)
    channels = TLSChannels(capacity: connections)
    wheel = TimerWheel(capacity: downstreams.capacity + upstreams.capacity, now: now)
    let limits = plan.limits
    headLimits = HeadLimits(
      headBytes: limits.requestHead, targetBytes: limits.requestTarget,
      fields: limits.requestFields)
    // A server's head is bounded like a request's; its fields by what a head can hold.
    responseLimits = HeadLimits(
      headBytes: limits.requestHead, targetBytes: 0, fields: max(limits.requestFields, 256))
    requestHead = RequestHead(fieldCapacity: limits.requestFields)
    responseHead = ResponseHead(fieldCapacity: max(limits.requestFields, 256))
    listeners = Listeners(count: plan.listeners.count, worker: seed.index, board: seed.board)
    pools = ServerPools(plan)
    counters = seed.counters
    audit = AuditDriver(
      seed.journal, plan.audit, exchanges: streams, worker: seed.index,
      tokenKind: TokenKind.journal.rawValue, logger: seed.logger)
    // Unique within a run: the worker in the high bits, a count in the low ones.
    nextExchangeID = UInt64(seed.index) << 48
  }

  private static func idleTotal(_ plan: Plan) -> Int {
    var sum = 0
    for upstream in plan.upstreams { sum += upstream.servers.count * (upstream.idleLimit + 1) }
    return sum
  }

  /// Opens the listeners of this worker.
  mutating func listen() throws(WorkerFailure) {
    for (i, listener) in plan.current.listeners.enumerated() {
      // A UNIX socket has one queue: one worker serves it.
      if listener.address.isUnix && index > 0 { continue }
      let placedBy = plan.current.placesByCPU && !listener.address.isUnix ? cpu : nil
      do {
        let code = try listeners.open(i, listener.address, cpu: placedBy, &engine)
        if code < 0 { logUnplaced(listener, code) }
      } catch {
        throw WorkerFailure(description: "\(error)")
      }
    }
  }

  private func logUnplaced(_ listener: ListenerPlan, _ code: Int32) {
    logger.warning(
      """
      connections are not placed worker=\(index) address=\(listener.address) \
      cause="SO_INCOMING_CPU: \(String(cString: strerror(-code)))"
      """)
  }

  /// Frees what `init` allocated apart from slabs. After `run`.
  consuming func end() {
    scratch.deallocate()
    clientText.deallocate()
    pools.deallocate()
    plan.end()
  }
}

/// Runs one worker on the current thread, from its making to its end.
private func runWorker<E: Engine & ~Copyable>(_ seed: WorkerSeed, _ engine: consuming E) {
  seed.board?.set(seed.index, engine.mailbox)
  var worker = Worker<E>(seed, engine: engine)
  worker.prepareJournal()
  do {
    try worker.listen()
  } catch {
    seed.logger.critical("worker could not start worker=\(seed.index) cause=\"\(error)\"")
    seed.control.pointee.state.store(WorkerControl.failed, ordering: .releasing)
    worker.beginDrain()
    worker.run()
    worker.end()
    return
  }
  seed.control.pointee.state.store(WorkerControl.ready, ordering: .releasing)
  worker.run()
  worker.logAnchor()
  worker.publishMetrics()
  worker.end()
  seed.control.pointee.finished.store(true, ordering: .releasing)
}

/// The one place where the engine's type is chosen: below it everything is specialised.
func startWorker(_ kind: EngineKind, _ seed: WorkerSeed, _ wakers: WakerBoard) {
  defer { wakers.set(seed.index, nil) }
  let gate = seed.gate
  do throws(EngineFailure) {
    switch kind {
    case .uring:
      let engine = try Uring(seed.options)
      guard gate.pass(seed.index) else { return }
      wakers.set(seed.index, engine.waker)
      runWorker(seed, engine)
    case .epoll:
      let engine = try Epoll(seed.options)
      guard gate.pass(seed.index) else { return }
      wakers.set(seed.index, engine.waker)
      runWorker(seed, engine)
    case .simulated:
      // TRAP: the configuration cannot name this engine.
      preconditionFailure("a simulated worker runs in a world, not on a thread")
    }
  } catch {
    gate.fail(error)
  }
}
