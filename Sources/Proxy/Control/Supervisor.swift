// The workers of a process: started together, told what to do, given a new plan while they run, and
// waited for. It runs on the process's own thread.

import AuditLog
import Configuration
import Glibc
import Logging
import MillraceEngine
import Synchronization
import TLS

/// Starts workers and sees them to their end.
struct Supervisor {
  /// What the process was started with.
  let configuration: ProxyConfiguration
  let logger: Logger
  let processors: Processors
  let metrics: ProxyMetrics
  /// How many workers.
  let count: Int
  /// The service manager, if there is one.
  let notifier: ServiceNotifier?
  /// The process before this one, and what is kept for the next.
  let upgrade: HandoverSides
  /// Makes what is needed to reload; nil: the configuration cannot be read again.
  let reloading: ((ControlBoard, [PlanUsers]) -> ReloadParts)?

  /// How often ticket keys are looked at and anchors are written while nothing happens.
  private static let housekeepingNanoseconds: Int64 = 60_000_000_000
  private static let endingPollNanoseconds: Int64 = 10_000_000
  /// How long the last lines of the access log may take once the workers have ended.
  private static let logEndMilliseconds = 2_000

  /// Serves until a signal ends it.
  /// - Parameters:
  ///   - journals: one per worker, or none.
  ///   - directory: of the audit log.
  ///   - whenListening: called once all workers accept connections.
  /// - Returns: the process's exit status.
  func serve(
    _ generation: PlanGeneration, _ choice: EngineSelection, _ journals: [JournalParameters],
    _ directory: AuditDirectory?, _ tickets: TicketKeys, _ signals: SignalWaiter,
    whenListening: () -> Void
  ) -> Int32 {
    let connections = UnsafeMutablePointer<Atomic<Int>>.allocate(capacity: 1)
    connections.initialize(to: Atomic(0))
    let pins = shouldPin
    let queues =
      generation.plan.placesByQueue && count > 1 ? QueueBoard(workerCount: count) : nil
    let board = ControlBoard(count: count)
    let users = (0..<count).map { _ in PlanUsers() }
    let life = ProcessLife(configuration)
    guard let accessLog = startAccessLog() else { return 1 }
    life.attach(accessLog)
    let traces: TraceExport?
    do throws(SystemFailure) {
      traces = try configuration.tracing.map { tracing throws(SystemFailure) in
        try TraceExport(workers: count, tracing, logger)
      }
    } catch {
      logger.critical("cannot set up tracing error=\"\(error)\"")
      return 1
    }
    guard let admin = startAdmin(life, board) else { return 1 }
    let successors = upgrade.copies.flatMap { copies in
      startUpgrades(
        HandoverParts(
          life: life, board: board, tickets: tickets, copies: copies, directory: directory,
          logger: logger))
    }
    defer {
      // Their names are the next process's, if there is one.
      if successors?.adopted == nil { admin.end() }
      if let path = configuration.upgradePath { successors?.removeFile(at: path) }
    }
    let opening = upgrade.running == nil ? nil : OpeningGate()
    let threads = startWorkers(choice, board) { i, options, gate in
      let cpu = pins ? processors.allowed[i % processors.allowed.count] : nil
      return WorkerParameters(
        generation: generation, index: i, workerCount: count, options: options,
        control: board.controls + i, connectionCount: connections, logger: logger,
        journal: journals.isEmpty ? nil : journals[i], cpu: cpu, board: queues, gate: gate,
        counters: metrics.counters(i), accessLog: accessLog.feed.source(i),
        traces: traces?.parameters(i), users: users[i], opening: opening,
        coalesceNanoseconds: configuration.engineSettings.coalesceNanoseconds)
    }
    guard let threads else { return 1 }
    if let opening, !takePlace(board, opening) { opening.close() }
    guard board.allReady() else {
      board.request(WorkerRequest.drain)
      for thread in threads { thread.join() }
      return 1
    }
    whenListening()
    setModes(generation.plan)
    let files = listenerFiles(generation.plan)
    let reloader = startReloader(board, users, life)
    announce(generation.plan, pins)
    if let reloader { life.attach(reloader) }
    life.enter(.serving)
    publish(admin, successors)
    // Not the process that the manager has started, if both belong to one service.
    if upgrade.running != nil { notifier?.send("MAINPID=\(getpid())") }
    notifier?.send("READY=1", "STATUS=Configuration generation \(generation.number) in force")
    let end = ProcessEnd(
      board: board, life: life, reloader: reloader, successors: successors, directory: directory)
    let status = supervise(end, tickets, signals)
    if status == 0 {
      for thread in threads { thread.join() }
      traces?.stop(milliseconds: Self.logEndMilliseconds)
      accessLog.stop(milliseconds: Self.logEndMilliseconds)
      removeFiles(reloader, files, except: successors?.adopted ?? [])
      logger.info("stopped")
    }
    return status
  }

  private func startReloader(
    _ board: ControlBoard, _ users: [PlanUsers], _ life: ProcessLife
  ) -> Reloader? {
    guard let reloading else { return nil }
    var parts = reloading(board, users)
    parts.life = life
    do throws(SystemFailure) {
      return try Reloader(parts)
    } catch {
      logger.error(
        "cannot start the reload thread error=\"\(error)\" effect=\"SIGHUP is ignored\"")
      return nil
    }
  }

  /// Also without an access log: a reload may bring one. - Returns: nil if it cannot be made, which is logged.
  private func startAccessLog() -> AccessLog? {
    do {
      return try AccessLog(
        workers: count, try AccessDestination(configuration.accessLog), logger)
    } catch {
      logger.critical("cannot set up access log error=\"\(error)\" hint=\"check access_log\"")
      return nil
    }
  }

  /// Serves operators, where the configuration says so. - Returns: nil if it cannot, which is logged.
  private func startAdmin(_ life: ProcessLife, _ board: ControlBoard) -> AdminService? {
    guard let admin = try? AdminService(life, metrics, board, logger),
      admin.start(isUnpublished: upgrade.running != nil)
    else { return nil }
    return admin
  }

  /// Gives all workers a new plan. Each takes it between two turns of its loop.
  /// - Returns: the keys of what only a restart changes (`FixedSettings`); empty if the plan was given
  ///   to the workers.
  static func replacePlan(
    of running: ProxyConfiguration, with wanted: ProxyConfiguration, _ board: ControlBoard,
    _ generation: () throws -> PlanGeneration
  ) rethrows -> [String] {
    let fixed = FixedSettings.changes(from: running, to: wanted)
    if fixed.isEmpty { board.install(try generation()) }
    return fixed
  }

  /// Starts the workers' threads. They go on once each of them has its engine; where one fails, all
  /// try with less, and then with epoll.
  private func startWorkers(
    _ choice: EngineSelection, _ board: ControlBoard,
    _ makeParameters: (Int, EngineOptions, EngineGate) -> WorkerParameters
  ) -> [WorkerThread]? {
    var attempts = choice.attempts
    let wakers = board.wakers
    while true {
      let gate = EngineGate(count: board.count)
      let kind = attempts.kind
      var threads: [WorkerThread] = []
      for i in 0..<board.count {
        let parameters = makeParameters(i, attempts.options, gate)
        do throws(SystemFailure) {
          threads.append(
            try WorkerThread.start(name: "millrace-\(i)", cpu: parameters.cpu) {
              startWorker(kind, parameters, wakers)
            })
        } catch {
          gate.fail(kind, error)
        }
      }
      guard let failure = gate.result() else {
        choice.log(attempts, logger)
        choice.note(attempts, in: metrics.board)
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

  private var shouldPin: Bool {
    switch configuration.pin {
    case .on: true
    case .off: false
    case .automatic: processors.mayPin(workers: count)
    }
  }

  private func announce(_ plan: Plan, _ pins: Bool) {
    for (i, listener) in configuration.listeners.enumerated() {
      logger.info(
        """
        listening name=\(listener.name) address=\(plan.listeners[i].address) \
        tls=\(listener.tls != nil)
        """)
    }
    logger.info("ready workers=\(count) pinned=\(pins)")
  }

  /// Tells the service manager that all is well, once each worker has turned.
  private func feed(_ watchdog: inout WatchdogFeed, _ board: ControlBoard, now: Int64) {
    let silent = board.silent
    switch watchdog.look(now: now, haveAnswered: silent.isEmpty) {
    case .feed:
      notifier?.send("WATCHDOG=1")
      board.callWorkers()
    case .call: board.callWorkers()
    case .wait:
      logger.warning(
        """
        watchdog not fed workers="\(silent.map(String.init).joined(separator: " "))" \
        reason="they have not completed a turn of their loop since they were called"
        """)
    }
  }

  private func beginDrain(_ end: ProcessEnd, _ request: DrainRequest) {
    end.reloader?.stop()
    end.life.enter(.draining)
    // Before the workers close theirs, which then are the last ones.
    upgrade.copies?.closeAll()
    guard case .upgrade(let process) = request else {
      notifier?.send("STOPPING=1", "STATUS=Draining")
      return end.board.request(WorkerRequest.drain)
    }
    // Not STOPPING=1: where old and new are one service, it goes on.
    notifier?.send("STATUS=Process \(process) has taken over; draining")
    end.directory?.leaveToSuccessor()
    // Of listeners that the other process does not have.
    end.reloader?.removeFiles(except: end.successors?.adopted ?? [])
    end.board.request(WorkerRequest.drainReplaced)
  }

  /// Waits for signals. SIGHUP reloads; it and SIGUSR1 open the access log's file anew. The first SIGTERM, SIGINT or SIGQUIT drains, a second one exits immediately.
  private func supervise(
    _ end: ProcessEnd, _ tickets: TicketKeys, _ signals: SignalWaiter
  ) -> Int32 {
    let board = end.board
    var draining = false
    var isStopping = false
    var nextHousekeeping = SystemClock.monotonicNanoseconds() + Self.housekeepingNanoseconds
    var watchdog = WatchdogFeed(
      limit: notifier == nil ? nil : ServiceNotifier.watchdogNanoseconds,
      now: SystemClock.monotonicNanoseconds())
    while true {
      let now = SystemClock.monotonicNanoseconds()
      if now >= watchdog.nextLook { feed(&watchdog, board, now: now) }
      if !draining && now >= nextHousekeeping {
        nextHousekeeping = now + Self.housekeepingNanoseconds
        _ = tickets.rotate(now: now / 1_000_000_000)
        board.request(WorkerRequest.anchor)
      }
      let patience =
        draining
        ? Self.endingPollNanoseconds : max(1, min(nextHousekeeping, watchdog.nextLook) - now)
      switch signals.wait(nanoseconds: patience) {
      case SIGUSR1:
        end.life.accessLog?.reopen()
        end.board.request(WorkerRequest.report)
      case SIGHUP:
        end.life.accessLog?.reopen()
        end.reloader?.request(reason: "SIGHUP")
      case let signal? where [SIGTERM, SIGINT, SIGQUIT].contains(signal):
        let name = signal == SIGTERM ? "SIGTERM" : signal == SIGINT ? "SIGINT" : "SIGQUIT"
        if isStopping {
          logger.warning("forced exit reason=\(name)")
          return 130
        }
        logger.info("draining reason=\(name)")
        isStopping = true
        // One that another process has replaced drains already: its tunnels have no longer than the rest.
        if draining { board.request(WorkerRequest.drain) } else { beginDrain(end, .admin) }
        draining = true
      case ProcessLife.wakeSignal:
        guard !draining, let request = end.life.takeDrainRequest() else { continue }
        logger.info("draining reason=\(request == .admin ? "admin" : "upgrade")")
        draining = true
        isStopping = request == .admin
        beginDrain(end, request)
      default:
        if draining && board.allFinished { return 0 }
      }
    }
  }
}
