// A worker of the whole proxy in a simulated world: the entry of the simulator, which is a package of
// tests and no part of the product. It makes the same worker as Server does, runs the same turns, and
// tells what the worker holds and has counted.

package import AuditLog
package import Configuration
import Glibc
package import Logging
package import MillraceEngine
import Synchronization
package import TLS
import Transport

/// What a worker holds at one moment, and what it has counted since its start.
package struct WorkerAccount: Sendable {
  package var connections = 0
  package var exchanges = 0
  package var tunnels = 0
  package var upstreamConnections = 0
  package var upstreamIdle = 0
  package var timers = 0
  /// Connections that count against the process's limit.
  package var counted = 0
  /// Plans in use.
  package var plans = 0
  /// Exchanges that the servers' states say are being served.
  package var active = 0
  /// True while an exchange waits for its record.
  package var isGated = false
  package var exchangesRecorded: UInt64 = 0
  package var counters = WorkerCounts()
  package var engine: EngineCounters
  /// Empty counters without an audit log.
  package var journal = JournalCounters()
  /// The audit log could not be finished when the worker ended.
  package var hasAbandonedJournal = false
  package var anchor: String?

  fileprivate init(_ engine: EngineCounters) { self.engine = engine }
}

/// What a simulated worker is made from.
package struct SimulatedWorkerParts {
  package var configuration: ProxyConfiguration
  package var listeners: [SocketAddress]
  /// By upstream and server: the addresses of each, at least one.
  package var servers: [[[SocketAddress]]]
  /// By listener; nil: plain.
  package var contexts: [TLSContext?]
  /// By upstream; nil, or none: plain.
  package var clientContexts: [TLSClientContext?] = []
  package var options: EngineOptions
  package var logger: Logger
  package var run: RunIdentity
  /// Where the chains of the audit log stand.
  package var recovered: RecoveredLog
  /// Changes what a configuration file cannot say: sizes that make rare things common.
  package var adjustJournal: (inout JournalConfiguration) -> Void = { _ in }
  /// Called once, when connections are accepted.
  package var whenReady: () -> Void = {}
  /// Bytes in a second from which on a direction of a tunnel is left to the kernel; nil: as in production.
  package var passingFrom: Int?

  package init(
    configuration: ProxyConfiguration, listeners: [SocketAddress], servers: [[[SocketAddress]]],
    contexts: [TLSContext?], options: EngineOptions, logger: Logger, run: RunIdentity,
    recovered: RecoveredLog
  ) {
    self.configuration = configuration
    self.listeners = listeners
    self.servers = servers
    self.contexts = contexts
    self.options = options
    self.logger = logger
    self.run = run
    self.recovered = recovered
  }
}

/// The hand on a simulated worker while it runs: what a signal is to a process.
package final class SimulatedWorkerRemote {
  fileprivate let control: UnsafeMutablePointer<WorkerControl>
  fileprivate var waker: Waker?
  /// The metrics of the worker that runs, or has run.
  fileprivate(set) var metrics: ProxyMetrics?
  fileprivate var asked: [(WorkerAccount) -> Void] = []

  package init() {
    control = .allocate(capacity: 1)
    control.initialize(to: WorkerControl())
  }

  deinit {
    control.pointee.dropPlan()
    control.deinitialize(count: 1)
    control.deallocate()
  }

  /// As SIGTERM does.
  package func drain() { request(WorkerRequest.drain) }

  /// As the housekeeping of the process does.
  package func anchor() { request(WorkerRequest.anchor) }

  /// Replaces the plan, as a reload does.
  package func replacePlan(_ parts: SimulatedWorkerParts) {
    guard let metrics else { return assertionFailure("no worker runs that could take a plan") }
    let generation = PlanGeneration(
      parts.configuration, listenerAddresses: parts.listeners, serverAddresses: parts.servers,
      contexts: parts.contexts, clientContexts: parts.clientContexts, metrics: metrics)
    control.pointee.leave(generation)
    request(WorkerRequest.plan)
  }

  private func request(_ bits: UInt32) {
    control.pointee.requests.bitwiseOr(bits, ordering: .releasing)
    waker?.wake()
  }

  /// Tells what the worker holds, after the turn that it is in.
  package func ask(_ answer: @escaping (WorkerAccount) -> Void) {
    asked.append(answer)
    waker?.wake()
  }
}

package enum SimulatedWorker {
  /// Runs one worker in a world, from its making to the end of its drain.
  /// - Returns: what it held at its very end; nil if it could not listen.
  package static func run(
    _ parts: SimulatedWorkerParts, _ world: SimulatedWorld, _ remote: SimulatedWorkerRemote
  ) -> WorkerAccount? {
    guard let metrics = try? ProxyMetrics(parts.configuration, workers: 1) else { return nil }
    remote.metrics = metrics
    let generation = PlanGeneration(
      parts.configuration, listenerAddresses: parts.listeners, serverAddresses: parts.servers,
      contexts: parts.contexts, clientContexts: parts.clientContexts, metrics: metrics)
    let connections = UnsafeMutablePointer<Atomic<Int>>.allocate(capacity: 1)
    connections.initialize(to: Atomic(0))
    defer { connections.deallocate() }
    var journal: JournalParameters?
    if let audit = parts.configuration.audit {
      var parameters = JournalParameters(
        audit, worker: 0, exchanges: parts.configuration.limits.exchanges, run: parts.run,
        recovered: parts.recovered)
      parts.adjustJournal(&parameters.configuration)
      journal = parameters
    }
    var parameters = WorkerParameters(
      generation: generation, index: 0, workerCount: 1, options: parts.options,
      control: remote.control, connectionCount: connections, logger: parts.logger,
      journal: journal, cpu: nil, gate: EngineGate(count: 1), counters: metrics.counters(0))
    parameters.passingFrom = parts.passingFrom ?? parameters.passingFrom
    parameters.coalesceNanoseconds = parts.configuration.engineSettings.coalesceNanoseconds
    // Alive for as long as the worker counts in it.
    defer { withExtendedLifetime(metrics) {} }
    var worker = Worker<Simulated>(parameters, engine: Simulated(parts.options, world: world))
    remote.waker = worker.relay.loop.engine.waker
    defer { remote.waker = nil }
    worker.prepareAudit()
    do {
      try worker.listen(nil)
    } catch {
      worker.beginDrain()
      worker.run()
      worker.end()
      return nil
    }
    parts.whenReady()
    while !worker.drain.isFinished {
      worker.turn()
      if !remote.asked.isEmpty {
        let account = worker.account()
        let asked = remote.asked
        remote.asked = []
        for answer in asked { answer(account) }
      }
    }
    let account = worker.account()
    worker.end()
    return account
  }
}

extension Worker where E: ~Copyable {
  fileprivate mutating func account() -> WorkerAccount {
    var account = WorkerAccount(relay.loop.engine.counters)
    account.connections = relay.downstreams.inUse
    account.exchanges = relay.exchanges.inUse
    account.tunnels = relay.openTunnels
    account.upstreamConnections = relay.upstreams.inUse
    account.upstreamIdle = relay.upstreams.pools.idleTotal
    account.active = relay.upstreams.pools.activeTotal
    account.plans = relay.loop.plan.alive
    account.timers = relay.loop.wheel.armed
    account.counted = relay.downstreams.countOfProcess
    account.isGated = relay.audit.hasGated
    account.exchangesRecorded = relay.audit.exchangesRecorded
    account.counters = relay.loop.counters.snapshot
    account.hasAbandonedJournal = relay.audit.isAbandoned
    account.journal = relay.audit.totals()
    account.anchor = relay.audit.anchor(workers: workerCount)
    return account
  }
}
