// The process: chooses the engine, starts the workers, waits for signals, ends in order. It is
// control plane: nothing here runs per request.

import AuditLog
public import Configuration
import Glibc
public import Logging
import MillraceEngine
import Synchronization
import TLS

/// A proxy that runs until it is told to stop.
public struct Server {
  private let configuration: ProxyConfiguration
  private let preflight: Preflight
  private let logger: Logger

  /// How often ticket keys are looked at and anchors are written while nothing happens.
  private static let housekeepingNanoseconds: Int64 = 60_000_000_000
  private static let endingPollNanoseconds: Int64 = 10_000_000

  public init(_ configuration: ProxyConfiguration, _ preflight: Preflight, logger: Logger) {
    self.configuration = configuration
    self.preflight = preflight
    self.logger = logger
  }

  /// Runs to the end.
  /// - Parameter afterProbe: called once the process will not fork any more.
  /// - Returns: the process's exit status.
  public func run(afterProbe: () -> Void) -> Int32 {
    let signals = SignalWaiter(blocking: [SIGTERM, SIGINT, SIGUSR1])
    var configuration = configuration
    var options = EngineOptions(configuration.engineSettings)
    fitDescriptors(&configuration, &options)
    // Before any thread exists: the probe forks.
    guard let kind = chooseEngine(configuration.engine, &options) else { return 1 }
    afterProbe()
    let processors = Processors.current()
    let count: Int
    switch configuration.workers {
    case .automatic: count = processors.workerCount
    case .count(let wanted): count = wanted
    }
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
        return serve(plan, kind, options, processors, count, [], tickets, signals)
      }
      let lease = try BlockingFiles.lease(directory: audit.directory)
      let seeds = try recover(audit, lease, count, configuration.limits.connections)
      // It holds the directory until here.
      let directory = AuditDirectory(consume lease)
      defer { directory.release() }
      return serve(
        plan, kind, options, processors, count, seeds.map { $0.using(directory) }, tickets, signals)
    } catch {
      logger.critical(
        """
        audit log could not be opened cause="\(error)" \
        cure="see that no other millrace uses the directory and that it is writable"
        """)
      return 1
    }
  }

  // MARK: Set-up

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
      logger.warning(
        """
        connections limited configured=\(configuration.limits.connections) \
        allowed=\(affordable) cause="RLIMIT_NOFILE is \(limit)" \
        cure="raise it (ulimit -n, LimitNOFILE=) to \(configuration.limits.connections * 3 / 2 + 128)"
        """)
      configuration.limits.connections = affordable
    }
    options.frames = configuration.limits.connections * 4 + 1024
  }

  private func chooseEngine(
    _ choice: EngineChoice, _ options: inout EngineOptions
  ) -> EngineKind? {
    if choice == .epoll {
      let trials = FeatureTrials.run(options, for: [.epoll])
      options.apply(trials, to: .epoll)
      logger.info("engine selected engine=epoll cause=configured\(refusals(trials, .epoll))")
      return .epoll
    }
    let report = ProbeReport.run(options)
    if report.usable {
      options.apply(report)
      let off = report.features.filter { $0.state == .off }.map(\.name)
      let refused = report.features.filter { $0.state == .refused }
        .map { "\($0.name) (\($0.cause))" }
      let refusals = refused.isEmpty ? "" : " refused=\"\(refused.joined(separator: ", "))\""
      logger.info(
        """
        engine selected engine=io_uring cause=\(choice == .uring ? "configured" : "probed") \
        setup=\(report.setup) off="\(off.joined(separator: " "))"\(refusals)
        """)
      return .uring
    }
    options.apply(report.trials, to: .epoll)
    let refusal = report.refusal
    let label = refusal?.label ?? "unknown"
    let detail = refusal?.detail ?? ""
    let cure = refusal?.cure ?? ""
    if choice == .uring {
      logger.critical(
        """
        engine refused engine=io_uring cause=\(label) detail="\(detail)" cure="\(cure) \
        Or set engine: auto."
        """)
      return nil
    }
    logger.notice(
      """
      engine selected engine=epoll cause=\(label) detail="\(detail)" \
      cure="\(cure)"\(refusals(report.trials, .epoll))
      """)
    return .epoll
  }

  /// What an engine must do without, for its line of the log.
  private func refusals(_ trials: FeatureTrials, _ kind: EngineKind) -> String {
    let refused = trials.results.filter { $0.engine == kind && $0.isRefusal }
      .map { "\($0.name) (\($0.cause))" }
    return refused.isEmpty ? "" : " refused=\"\(refused.joined(separator: ", "))\""
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
          alpn: ["http/1.1"], tickets: tickets))
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
    _ plan: Plan, _ kind: EngineKind, _ options: EngineOptions, _ processors: Processors,
    _ count: Int, _ journals: [JournalSeed], _ tickets: TicketKeys, _ signals: SignalWaiter
  ) -> Int32 {
    let controls = UnsafeMutablePointer<WorkerControl>.allocate(capacity: count)
    let wakers = WakerBoard(count: count)
    let connections = UnsafeMutablePointer<Atomic<Int>>.allocate(capacity: 1)
    connections.initialize(to: Atomic(0))
    let pins = shouldPin(processors, count)
    let board = plan.placesByQueue && count > 1 ? QueueBoard(workerCount: count) : nil
    var threads: [WorkerThread] = []
    for i in 0..<count {
      (controls + i).initialize(to: WorkerControl())
      let cpu = pins ? processors.allowed[i % processors.allowed.count] : nil
      let seed = WorkerSeed(
        plan: plan, index: i, workerCount: count, options: options, control: controls + i,
        connectionCount: connections, logger: logger,
        journal: journals.isEmpty ? nil : journals[i], cpu: cpu, board: board)
      do {
        threads.append(
          try WorkerThread.start(name: "millrace-\(i)", cpu: cpu) {
            startWorker(kind, seed, wakers)
          })
      } catch {
        logger.critical("worker could not start worker=\(i) cause=\"\(error)\"")
        controls[i].state.store(WorkerControl.failed, ordering: .releasing)
        controls[i].finished.store(true, ordering: .releasing)
      }
    }
    let controlBoard = ControlBoard(controls: controls, count: count, wakers: wakers)
    guard controlBoard.allReady() else {
      controlBoard.request(WorkerRequest.drain)
      for thread in threads { thread.join() }
      return 1
    }
    announce(plan, count, pins)
    let status = supervise(controlBoard, tickets, signals)
    if status == 0 {
      for thread in threads { thread.join() }
      logger.info("stopped")
    }
    return status
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

  /// Waits for signals. The first SIGTERM or SIGINT drains, a second one ends at once.
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
      case let signal? where signal == SIGTERM || signal == SIGINT:
        let name = signal == SIGTERM ? "SIGTERM" : "SIGINT"
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
