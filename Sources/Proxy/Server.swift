// The process: chooses the engine, starts the workers, waits for signals, ends in order. It is
// control plane: nothing here runs per request.

import AuditLog
public import Configuration
import Glibc
public import Logging
import Metrics
import MillraceEngine
import Synchronization
import TLS

/// A proxy that runs until it is told to stop.
public struct Server {
  private let configuration: ProxyConfiguration
  private let preflight: Preflight
  private let logger: Logger
  /// An inherited file in memory in which another process reads the metrics; nil: nobody does.
  private let metricsDescriptor: Int32?

  /// How often ticket keys are looked at and anchors are written while nothing happens.
  private static let housekeepingNanoseconds: Int64 = 60_000_000_000
  private static let endingPollNanoseconds: Int64 = 10_000_000

  public init(
    _ configuration: ProxyConfiguration, _ preflight: Preflight, logger: Logger,
    metricsDescriptor: Int32? = nil
  ) {
    self.metricsDescriptor = metricsDescriptor
    self.configuration = configuration
    self.preflight = preflight
    self.logger = logger
  }

  /// Runs to the end.
  /// - Parameter afterProbe: called once the process will not fork any more.
  /// - Returns: the process's exit status.
  public func run(afterProbe: () -> Void) -> Int32 {
    let signals = SignalWaiter(blocking: [SIGTERM, SIGINT, SIGQUIT, SIGUSR1])
    var configuration = configuration
    var options = EngineOptions(configuration.engineSettings)
    fitDescriptors(&configuration, &options)
    // Before any thread exists: the probe forks.
    let processors = Processors.current()
    let count: Int
    switch configuration.workers {
    case .automatic: count = processors.workerCount
    case .count(let wanted): count = wanted
    }
    guard let choice = EngineSelection(configuration.engine, options, count, logger) else {
      return 1
    }
    afterProbe()
    let tickets = makeTicketKeys()
    let contexts: [TLSContext?]
    do {
      contexts = try makeContexts(configuration, tickets)
    } catch {
      logger.critical("tls could not be set up cause=\"\(error)\"")
      return 1
    }
    let plan = Plan(
      configuration, listenerAddresses: preflight.listenerAddresses,
      serverAddresses: preflight.serverAddresses, contexts: contexts)
    do {
      guard let audit = configuration.audit else {
        return serve(plan, choice, processors, count, [], tickets, signals)
      }
      let lease = try BlockingFiles.lease(directory: audit.directory)
      let seeds = try recover(audit, lease, count, configuration.limits.connections)
      // It holds the directory until here.
      let directory = AuditDirectory(consume lease)
      defer { directory.release() }
      return serve(
        plan, choice, processors, count, seeds.map { $0.using(directory) }, tickets, signals)
    } catch {
      logger.critical(
        """
        audit log could not be opened cause="\(Self.words(error, audit: configuration.audit))" \
        cure="see that no other millrace uses the directory and that it is writable"
        """)
      return 1
    }
  }

  // MARK: Set-up

  private static func words(_ error: any Error, audit: AuditConfiguration?) -> String {
    guard let error = error as? Errno else { return "\(error)" }
    let reason = String(cString: strerror(error.code))
    switch error.operation {
    case "flock" where error.code == EWOULDBLOCK:
      return "another process uses \(audit?.directory ?? error.path) (it holds \(error.path))"
    case "flock": return "\(error.path) cannot be locked: \(reason)"
    case "opendir", "readdir": return "the directory \(error.path) cannot be listed: \(reason)"
    default: return "\(error)"
    }
  }

  /// Raises the descriptor limit; scales the connection limit down to it and says so.
  private func fitDescriptors(
    _ configuration: inout ProxyConfiguration, _ options: inout EngineOptions
  ) {
    let limit = DescriptorLimit.raise()
    options.descriptorLimit = min(limit, 1 << 20)
    // An idle connection takes one descriptor, an active one two; some go to rings, logs and
    // listeners. Two thirds: room for half of the connections to be active at once.
    let affordable = max(16, (options.descriptorLimit - 128) * 2 / 3)
    if configuration.limits.connections > affordable {
      // The default is not the operator's choice: that it does not fit is no mistake of theirs.
      logger.log(
        level: configuration.connectionsAreConfigured ? .warning : .info,
        """
        connections limited configured=\(configuration.limits.connections) \
        allowed=\(affordable) cause="RLIMIT_NOFILE is \(limit)" \
        cure="raise it (ulimit -n, LimitNOFILE=) to \(configuration.limits.connections * 3 / 2 + 128)"
        """)
      configuration.limits.connections = affordable
    }
    options.frames = FrameBudget.frames(
      connections: configuration.limits.connections,
      idleUpstreams: FrameBudget.idleUpstreams(configuration))
  }

  private func makeTicketKeys() -> TicketKeys {
    TicketKeys(
      randomBytes: { SystemRandomness.fill($0) },
      now: SystemClock.monotonicNanoseconds() / 1_000_000_000)
  }

  private func makeContexts(
    _ configuration: ProxyConfiguration, _ tickets: TicketKeys
  ) throws(TLSFailure) -> [TLSContext?] {
    var contexts: [TLSContext?] = []
    for (i, listener) in configuration.listeners.enumerated() {
      guard let tls = listener.tls else {
        contexts.append(nil)
        continue
      }
      contexts.append(
        try TLSContext(
          certificates: preflight.certificates[i],
          minimumVersion: tls.minimumVersion == .tls13 ? .tls13 : .tls12,
          // By preference: a client that offers HTTP/1.0 alone (`curl --http1.0`) is served too.
          alpn: ["http/1.1", "http/1.0"], tickets: tickets))
    }
    return contexts
  }

  private func recover(
    _ audit: AuditConfiguration, _ lease: borrowing DirectoryLease, _ workers: Int,
    _ connections: Int
  ) throws -> [JournalSeed] {
    var words: (UInt64, UInt64) = (0, 0)
    withUnsafeMutableBytes(of: &words) { SystemRandomness.fill($0) }
    let run = RunIdentity(high: words.0, low: words.1)
    let recovered = try Recovery(
      run: run, wallMicroseconds: SystemClock.wallMicroseconds()
    ).recover(lease)
    for tail in recovered.tornTails {
      logger.warning(
        """
        audit tail set aside segment=\(tail.segment) tail=\(tail.tail) bytes=\(tail.bytes) \
        cause="the last run did not end in order"
        """)
    }
    if let (served, least) = AuditRoom.shortage(audit, connections: connections) {
      logger.warning(
        """
        audit room limited connections=\(connections) open_exchanges_per_worker=\(served) \
        hint="set audit.segment.size to \(least)MiB or more, or limits.connections to \(served)"
        """)
    }
    return (0..<workers).map {
      JournalSeed(
        audit, worker: $0, connections: connections, run: run, recovered: recovered)
    }
  }

  // MARK: Serving

  private func serve(
    _ plan: Plan, _ choice: EngineSelection, _ processors: Processors,
    _ count: Int, _ journals: [JournalSeed], _ tickets: TicketKeys, _ signals: SignalWaiter
  ) -> Int32 {
    let connections = UnsafeMutablePointer<Atomic<Int>>.allocate(capacity: 1)
    connections.initialize(to: Atomic(0))
    let pins = shouldPin(processors, count)
    let board = plan.placesByQueue && count > 1 ? QueueBoard(workerCount: count) : nil
    let controls = UnsafeMutablePointer<WorkerControl>.allocate(capacity: count)
    for i in 0..<count { (controls + i).initialize(to: WorkerControl()) }
    let controlBoard = ControlBoard(
      controls: controls, count: count, wakers: WakerBoard(count: count))
    guard let metrics = makeMetrics(plan, count) else { return 1 }
    // For the life of the process: a worker that is not waited for counts until its end.
    _ = Unmanaged.passRetained(metrics)
    let rows = MetricRows(plan, metrics)
    let threads = startWorkers(choice, controlBoard, metrics) { i, options, gate in
      let cpu = pins ? processors.allowed[i % processors.allowed.count] : nil
      return WorkerSeed(
        plan: plan, index: i, workerCount: count, options: options, control: controls + i,
        connectionCount: connections, logger: logger,
        journal: journals.isEmpty ? nil : journals[i], cpu: cpu, board: board, gate: gate,
        counters: WorkerCounters(metrics.block(i), rows, isWatched: metricsDescriptor != nil))
    }
    guard let threads else { return 1 }
    guard controlBoard.allReady() else {
      controlBoard.request(WorkerRequest.drain)
      for thread in threads { thread.join() }
      return 1
    }
    preflight.lock?.release()
    let files = plan.listeners.compactMap { $0.address.unixPath.flatMap(UnixSocketFile.init) }
    announce(plan, count, pins)
    let status = supervise(controlBoard, tickets, signals)
    if status == 0 {
      for thread in threads { thread.join() }
      for file in files { file.remove() }
      logger.info("stopped")
    }
    return status
  }

  /// - Returns: nil without memory for them, which is logged.
  private func makeMetrics(_ plan: Plan, _ count: Int) -> MetricBoard? {
    let layout = MetricGroups.layout(of: plan, workers: count)
    do throws(MetricMemoryFailure) {
      let memory =
        if let metricsDescriptor {
          try MetricMemory.shared(metricsDescriptor, layout.size)
        } else {
          try MetricMemory.own(layout.size)
        }
      return MetricBoard(layout, in: memory)
    } catch {
      logger.critical("metrics could not be set up cause=\"\(error)\"")
      return nil
    }
  }

  /// Starts the workers' threads. They go on once each of them has its engine; where one fails, all
  /// try with less, and then with epoll.
  private func startWorkers(
    _ choice: EngineSelection, _ board: ControlBoard, _ metrics: MetricBoard,
    _ makeSeed: (Int, EngineOptions, EngineGate) -> WorkerSeed
  ) -> [WorkerThread]? {
    var attempts = choice.attempts
    let wakers = board.wakers
    while true {
      let gate = EngineGate(count: board.count)
      let kind = attempts.kind
      var threads: [WorkerThread] = []
      for i in 0..<board.count {
        let seed = makeSeed(i, attempts.options, gate)
        do throws(SystemFailure) {
          threads.append(
            try WorkerThread.start(name: "millrace-\(i)", cpu: seed.cpu) {
              startWorker(kind, seed, wakers)
            })
        } catch {
          gate.fail(kind, error)
        }
      }
      guard let failure = gate.result() else {
        choice.log(attempts, logger)
        choice.note(attempts, in: metrics)
        gate.open()
        return threads
      }
      gate.close()
      for thread in threads { thread.join() }
      guard attempts.next(after: failure) else {
        choice.log(attempts, failed: failure, logger)
        return nil
      }
    }
  }

  private func shouldPin(_ processors: Processors, _ count: Int) -> Bool {
    switch configuration.pin {
    case .on: true
    case .off: false
    case .automatic: processors.mayPin(workers: count)
    }
  }

  private func announce(_ plan: Plan, _ count: Int, _ pins: Bool) {
    for (i, listener) in configuration.listeners.enumerated() {
      logger.info(
        """
        listening name=\(listener.name) address=\(plan.listeners[i].address) \
        tls=\(listener.tls != nil)
        """)
    }
    logger.info("ready workers=\(count) pinned=\(pins)")
  }

  /// Waits for signals. The first SIGTERM, SIGINT or SIGQUIT drains, a second one ends at once.
  private func supervise(
    _ board: ControlBoard, _ tickets: TicketKeys, _ signals: SignalWaiter
  ) -> Int32 {
    var draining = false
    var nextHousekeeping = SystemClock.monotonicNanoseconds() + Self.housekeepingNanoseconds
    while true {
      let now = SystemClock.monotonicNanoseconds()
      if !draining && now >= nextHousekeeping {
        nextHousekeeping = now + Self.housekeepingNanoseconds
        _ = tickets.rotate(now: now / 1_000_000_000)
        board.request(WorkerRequest.anchor)
      }
      let patience = draining ? Self.endingPollNanoseconds : max(1, nextHousekeeping - now)
      switch signals.wait(nanoseconds: patience) {
      case SIGUSR1: board.request(WorkerRequest.report)
      case let signal? where [SIGTERM, SIGINT, SIGQUIT].contains(signal):
        let name = signal == SIGTERM ? "SIGTERM" : signal == SIGINT ? "SIGINT" : "SIGQUIT"
        if draining {
          logger.warning("stopped at once reason=\(name)")
          return 130
        }
        logger.info("draining reason=\(name)")
        draining = true
        board.request(WorkerRequest.drain)
      default:
        if draining && board.allFinished { return 0 }
      }
    }
  }
}

/// The wakers of all workers: each fills its own in as it starts, and takes it out as it ends.
final class WakerBoard: Sendable {
  private let wakers: Mutex<[Waker?]>

  init(count: Int) { wakers = Mutex(Array(repeating: nil, count: count)) }

  func set(_ index: Int, _ waker: Waker?) { wakers.withLock { $0[index] = waker } }
  func wakeAll() { wakers.withLock { for waker in $0 { waker?.wake() } } }
}

/// The process's side of the workers' control blocks.
struct ControlBoard {
  let controls: UnsafeMutablePointer<WorkerControl>
  let count: Int
  let wakers: WakerBoard

  func request(_ bits: UInt32) {
    for i in 0..<count {
      controls[i].requests.bitwiseOr(bits, ordering: .releasing)
    }
    wakers.wakeAll()
  }

  var allFinished: Bool {
    (0..<count).allSatisfy { controls[$0].finished.load(ordering: .acquiring) }
  }

  /// Waits until each worker is ready or has failed. - Returns: true if all are ready.
  func allReady() -> Bool {
    for i in 0..<count {
      while controls[i].state.load(ordering: .acquiring) == WorkerControl.starting {
        Pause.microseconds(200)
      }
    }
    return (0..<count).allSatisfy {
      controls[$0].state.load(ordering: .acquiring) == WorkerControl.ready
    }
  }
}
