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
  /// An inherited file in memory in which another process reads the metrics; nil: no process does.
  private let metricsDescriptor: Int32?
  /// Where the configuration is read again; nil: it is not.
  private let source: ConfigurationSource?
  /// The process that it replaces; nil: none.
  private let running: RunningProcess?

  public init(
    _ configuration: ProxyConfiguration, _ preflight: Preflight, logger: Logger,
    source: ConfigurationSource? = nil, metricsDescriptor: Int32? = nil,
    replacing running: RunningProcess? = nil
  ) {
    self.source = source
    self.running = running
    self.metricsDescriptor = metricsDescriptor
    self.configuration = configuration
    self.preflight = preflight
    self.logger = logger
  }

  /// Runs to the end.
  /// - Parameter afterProbe: called once the process will not fork any more.
  /// - Returns: the process's exit status.
  public func run(afterProbe: () -> Void) -> Int32 {
    let signals = SignalWaiter(blocking: [
      SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGHUP, ProcessLife.wakeSignal,
    ])
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
    warnOfUnverified(configuration)
    guard let metrics = makeMetrics(configuration, workers: count) else { return 1 }
    let maker = PlanMaker(tickets: tickets, metrics: metrics)
    let copies = configuration.upgradePath == nil ? nil : SocketCopies()
    let limit = options.descriptorLimit
    guard let contexts = makeContexts(configuration, maker) else { return 1 }
    let opened: ListenerOpening.Start?
    do throws(SystemFailure) {
      opened = try openSockets(workers: count, limit: limit, copies)
    } catch {
      logger.critical("cannot open listeners error=\"\(error)\"")
      return 1
    }
    let generation = maker.make(configuration, preflight, contexts, sockets: opened?.sockets)
    let notifier = ServiceNotifier()
    let started = configuration
    let foreignPaths = opened?.foreignPaths ?? []
    let supervisor = Supervisor(
      configuration: configuration, logger: logger, processors: processors, metrics: metrics,
      count: count, notifier: notifier,
      upgrade: HandoverSides(
        running: running, adopted: opened?.adopted ?? [], copies: copies,
        foreignPaths: foreignPaths),
      reloading: source.map { source in
        { board, users in
          ReloadParts(
            source: source, configuration: self.configuration, started: started,
            preflight: preflight, maker: maker, board: board, logger: logger,
            descriptorLimit: limit, users: users, notifier: notifier, copies: copies,
            foreignPaths: foreignPaths)
        }
      })
    let serve = { (journals: [JournalParameters], directory: AuditDirectory?) in
      supervisor.serve(generation, choice, journals, directory, tickets, signals) {
        preflight.lock?.release()
      }
    }
    do {
      guard let audit = configuration.audit else {
        // The lock of a directory that this process does not use.
        if let lock = running?.takeAuditLock() { ListeningSocket.close(lock) }
        return serve([], nil)
      }
      let lease = try lease(audit)
      let (parameters, numbers) = try recover(audit, lease, count, configuration.limits)
      // It holds the directory until here.
      let directory = AuditDirectory(consume lease, numbers: numbers)
      defer { directory.release() }
      return serve(parameters.map { $0.using(directory) }, directory)
    } catch {
      running?.fail("it cannot open the audit log")
      logger.critical(
        """
        cannot open audit log error="\(Self.words(error, audit: configuration.audit))" \
        hint="make sure that the directory is writable and that no other millrace uses it"
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
      return "another process uses \(audit?.directory ?? error.path) (it has locked \(error.path))"
    case "flock": return "cannot lock \(error.path): \(reason)"
    case "opendir", "readdir": return "cannot list the directory \(error.path): \(reason)"
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
        allowed=\(affordable) reason="RLIMIT_NOFILE is \(limit)" \
        hint="raise it (ulimit -n, LimitNOFILE=) to \(configuration.limits.connections * 3 / 2 + 128)"
        """)
      configuration.limits.connections = affordable
    }
    options.frames = FrameBudget.frames(
      connections: configuration.limits.connections,
      exchanges: configuration.limits.exchanges,
      idleUpstreams: FrameBudget.idleUpstreams(configuration))
  }

  /// - Returns: nil without memory for them, which is logged.
  private func makeMetrics(
    _ configuration: ProxyConfiguration, workers: Int
  ) -> ProxyMetrics? {
    do throws(MetricMemoryFailure) {
      let metrics = try ProxyMetrics(
        configuration, workers: workers, sharedBy: metricsDescriptor)
      // For the life of the process: a worker that is not waited for counts until its end.
      _ = Unmanaged.passRetained(metrics.board)
      return metrics
    } catch {
      logger.critical("cannot set up metrics error=\"\(error)\"")
      return nil
    }
  }

  /// Beside what the check of the file says: logs are kept, reports of a start are not.
  private func warnOfUnverified(_ configuration: ProxyConfiguration) {
    for upstream in configuration.upstreams where upstream.tls?.verify == false {
      logger.warning(
        """
        upstream certificates are not verified upstream=\(upstream.name) \
        hint="remove tls.verify: false, and set tls.ca to the CA of the servers"
        """)
    }
  }

  private func makeTicketKeys() -> TicketKeys {
    // Those of the process before, so that its clients' sessions resume here.
    if let running {
      if let keys = TicketKeys(
        copied: running.takeTicketKeys(), randomBytes: { SystemRandomness.fill($0) })
      {
        return keys
      }
      logger.warning(
        "ticket keys not taken over effect=\"clients of the process before make full handshakes\"")
    }
    return TicketKeys(
      randomBytes: { SystemRandomness.fill($0) },
      now: SystemClock.monotonicNanoseconds() / 1_000_000_000)
  }

  /// - Returns: nil where a context cannot be made, which is logged.
  private func makeContexts(
    _ configuration: ProxyConfiguration, _ maker: PlanMaker
  ) -> TLSContexts? {
    do throws(TLSFailure) {
      return try maker.makeContexts(configuration, preflight)
    } catch {
      logger.critical("cannot set up TLS error=\"\(error)\"")
      return nil
    }
  }

  /// Takes the sockets that were handed to the process, and opens the others where copies are kept.
  /// - Returns: nil where the workers open their own.
  private func openSockets(
    workers: Int, limit: Int, _ copies: SocketCopies?
  ) throws(SystemFailure) -> ListenerOpening.Start? {
    let start = try ListenerOpening.start(
      preflight, workers: workers, limit: limit, copies: copies)
    for address in start?.unused ?? [] {
      logger.warning(
        """
        inherited socket not used address=\(address) \
        hint="add a listener with this address, or remove it from the socket unit"
        """)
    }
    return start
  }

  private func lease(_ audit: AuditConfiguration) throws -> DirectoryLease {
    let lock = running?.takeAuditLock()
    // The lease has one of its own.
    defer { if let lock { ListeningSocket.close(lock) } }
    return try BlockingFiles.lease(
      directory: audit.directory, lock.map { .besides(lock: $0) } ?? .whole)
  }

  private func recover(
    _ audit: AuditConfiguration, _ lease: borrowing DirectoryLease, _ workers: Int,
    _ limits: LimitsConfiguration
  ) throws -> (parameters: [JournalParameters], numbers: [Int]) {
    var words: (UInt64, UInt64) = (0, 0)
    withUnsafeMutableBytes(of: &words) { SystemRandomness.fill($0) }
    let run = RunIdentity(high: words.0, low: words.1)
    let recovered = try Recovery(
      run: run, wallMicroseconds: SystemClock.wallMicroseconds()
    ).recover(lease, workers: workers)
    if !recovered.living.isEmpty {
      logger.info(
        """
        audit chains of another run left alone \
        chains="\(recovered.living.map(String.init).joined(separator: " "))"
        """)
    }
    for tail in recovered.tornTails {
      logger.warning(
        """
        torn audit tail moved segment=\(tail.segment) tail=\(tail.tail) bytes=\(tail.bytes) \
        reason="the previous run did not shut down cleanly"
        """)
    }
    if let (served, least) = AuditRoom.shortage(audit, exchanges: limits.exchanges) {
      logger.warning(
        """
        audit capacity limited streams=\(limits.exchanges) open_exchanges_per_worker=\(served) \
        hint="set audit.segment.size to \(least)MiB or more, or \(limits.exchangesKey) to \(served)"
        """)
    }
    let parameters = (0..<workers).map {
      JournalParameters(
        audit, worker: $0, exchanges: limits.exchanges, run: run, recovered: recovered)
    }
    return (parameters, recovered.numbers)
  }

  // MARK: Serving
}
