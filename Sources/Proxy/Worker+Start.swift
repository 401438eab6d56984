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

/// What a worker is made from; crosses to its thread.
struct WorkerSeed: @unchecked Sendable {
  // Sendable: plain values, and pointers to memory that is made for sharing.
  let plan: Plan
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

struct JournalSeed: Sendable {
  var configuration: JournalConfiguration
  let recovered: ChainState
  /// nil: no other process can reach the directory.
  var directory: AuditDirectory?

  /// - Parameter connections: `limits.connections`; each may have an exchange at any worker.
  init(
    _ audit: AuditConfiguration, worker: Int, connections: Int, run: RunIdentity,
    recovered: RecoveredLog
  ) {
    configuration = JournalConfiguration(directory: audit.directory, worker: worker, run: run)
    switch audit.durability {
    case .beforeResponse: configuration.durability = .beforeResponse
    case .interval: configuration.durability = .interval
    case .none: configuration.durability = .none
    }
    configuration.intervalNanoseconds = audit.intervalNanoseconds
    configuration.segmentSize = audit.segmentSize
    configuration.firstSegmentSize = min(configuration.firstSegmentSize, audit.segmentSize)
    configuration.segmentAgeNanoseconds = audit.segmentAgeNanoseconds
    configuration.fit(exchanges: connections)
    self.recovered = recovered.chain(worker: worker)
  }
}

/// A worker that could not start.
struct WorkerFailure: Error, CustomStringConvertible {
  let description: String
}

extension Worker where E: ~Copyable {
  init(_ seed: WorkerSeed, engine made: consuming E) {
    let connections = seed.plan.limits.connections
    let now = made.now
    engine = made
    plan = seed.plan
    index = seed.index
    workerCount = seed.workerCount
    control = seed.control
    connectionCount = seed.connectionCount
    logger = seed.logger
    cpu = seed.cpu
    board = seed.board
    downstreams = Slab(capacity: connections)
    upstreams = Slab(capacity: connections + Self.idleTotal(seed.plan))
    exchanges = Slab(capacity: connections)
    scratch = .allocate(byteCount: connections * ExchangeScratch.bytes, alignment: 64)
    clientText = .allocate(byteCount: connections * 64, alignment: 64)
    tlsScratch = .allocate(byteCount: 32_768, alignment: 64)
    wheel = TimerWheel(capacity: downstreams.capacity + upstreams.capacity, now: now)
    let limits = seed.plan.limits
    headLimits = HeadLimits(
      headBytes: limits.requestHead, targetBytes: limits.requestTarget,
      fields: limits.requestFields)
    // A server's head is bounded like a request's; its fields by what a head can hold.
    responseLimits = HeadLimits(
      headBytes: limits.requestHead, targetBytes: 0, fields: max(limits.requestFields, 256))
    requestHead = RequestHead(fieldCapacity: limits.requestFields)
    responseHead = ResponseHead(fieldCapacity: max(limits.requestFields, 256))
    listeners = .allocate(capacity: seed.plan.listeners.count)
    listeners.initialize(
      repeating: ListenerState(socket: .none, accepting: false, retryAt: .max))
    pools = ServerPools(seed.plan)
    counters = seed.counters
    if let journalSeed = seed.journal {
      journal = Journal(
        configuration: journalSeed.configuration, recovered: journalSeed.recovered)
      audits = true
      auditDirectory = journalSeed.directory
      waitsForAudit = seed.plan.audit?.durability == .beforeResponse
    } else {
      journal = nil
      audits = false
      waitsForAudit = false
    }
    gated = GateQueue(capacity: connections)
    holdNanoseconds = waitsForAudit ? seed.plan.audit?.holdNanoseconds ?? 0 : 0
    holds = HoldQueue(capacity: connections, byteLimit: ResponseHold.workerBytes)
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
    for (i, listener) in plan.listeners.enumerated() {
      // A UNIX socket has one queue: one worker serves it.
      if listener.address.isUnix && index > 0 { continue }
      do {
        listeners[i].socket = try engine.listen(
          listener.address, backlog: 4096, reusePort: true)
        if plan.placesByCPU, let cpu, !listener.address.isUnix {
          preferCPU(listeners[i].socket, cpu, listener)
        }
      } catch {
        throw WorkerFailure(description: "\(error)")
      }
      startAccepting(i)
    }
  }

  /// SO_INCOMING_CPU rather than a program for the group (SO_ATTACH_REUSEPORT_CBPF): a program
  /// names listeners by the order in which they were bound, which is whichever worker was faster.
  private mutating func preferCPU(_ socket: Descriptor, _ cpu: Int, _ listener: ListenerPlan) {
    let code = engine.preferCPU(socket, cpu: cpu)
    guard code < 0 else { return }
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
    tlsScratch.deallocate()
    listeners.deallocate()
    pools.deallocate()
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
