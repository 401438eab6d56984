// One reload, step by step: read, check, compare, open what is new, compile, give to the workers. Up to the last
// step nothing of the process has changed.

import Configuration
import Glibc
import Logging
import MillraceEngine
import TLS

/// What the thread that reloads keeps from one time to the next.
struct ReloadWork: ~Copyable {
  private let source: ConfigurationSource
  private let started: ProxyConfiguration
  private let maker: PlanMaker
  private let board: ControlBoard
  private let logger: Logger
  private let descriptorLimit: Int
  private let users: [PlanUsers]
  private let notifier: ServiceNotifier?
  private let life: ProcessLife?
  private let copies: SocketCopies?
  /// What is in force, as it was read.
  private var running: ProxyConfiguration
  private var preflight: Preflight
  var watch = ReloadWatch()

  /// How long the workers may take: each needs one turn.
  private static let installNanoseconds: Int64 = 10_000_000_000

  init(_ parts: ReloadParts) {
    source = parts.source
    started = parts.started
    maker = parts.maker
    board = parts.board
    logger = parts.logger
    descriptorLimit = parts.descriptorLimit
    users = parts.users
    notifier = parts.notifier
    life = parts.life
    copies = parts.copies
    running = parts.configuration
    preflight = parts.preflight
  }

  /// Watches the files of the configuration in force, if that says so.
  /// - Parameter rejected: one that was refused a moment ago.
  mutating func followFiles(alsoOf rejected: ProxyConfiguration? = nil) {
    let files =
      (source.path.map { [$0] } ?? []) + TLSContexts.namedFiles(running)
      + (rejected.map(TLSContexts.namedFiles) ?? [])
    watch.follow(
      running.reload.watch ? files : nil, looksAgain: rejected == nil,
      now: SystemClock.monotonicNanoseconds())
  }

  mutating func reload(_ reason: String, for reloader: Reloader) -> ReloadOutcome {
    // The manager compares the time with that of its signal (Type=notify-reload).
    notifier?.send(
      "RELOADING=1", "MONOTONIC_USEC=\(SystemClock.monotonicNanoseconds() / 1000)")
    var problems: [Problem] = []
    let result = reload(for: reloader, &problems)
    let outcome = ReloadOutcome(result, generation: maker.generation, problems: problems)
    log(outcome, reason)
    if case .stopped = result { return outcome }
    notifier?.send("READY=1", "STATUS=\(outcome.status)")
    return outcome
  }

  private mutating func reload(
    for reloader: Reloader, _ problems: inout [Problem]
  ) -> ReloadOutcome.Result {
    let (loaded, found) = source.load()
    problems = found
    guard let wanted = loaded, !Self.hasErrors(problems) else { return .rejected }
    // What is wrong may be in a file that only it names.
    defer { if Self.hasErrors(problems) { followFiles(alsoOf: wanted) } }
    problems += fixedSettings(wanted)
    let (checked, findings) = Preflight.run(
      wanted, binding: true, own: preflight.listenerAddresses, isServing: true)
    problems += findings
    if let problem = AuditRoom.problem(wanted) { problems.append(problem) }
    if users.contains(where: \.isFull) { problems.append(Self.tooManyGenerations) }
    guard let checked, !Self.hasErrors(problems) else { return .rejected }
    defer { checked.lock?.release() }
    do throws(TLSFailure) {
      let contexts = try maker.makeContexts(wanted, checked)
      return install(wanted, checked, contexts, for: reloader, &problems)
    } catch {
      problems.append(
        Problem(
          location: SourceLocation(file: source.path ?? ""), message: "cannot set up TLS: \(error)",
          hint: "check the files of the certificates"))
      return .rejected
    }
  }

  private mutating func install(
    _ wanted: ProxyConfiguration, _ checked: Preflight, _ contexts: TLSContexts,
    for reloader: Reloader, _ problems: inout [Problem]
  ) -> ReloadOutcome.Result {
    let changes = changes(to: wanted, checked, contexts)
    if changes.isEmpty {
      running = wanted
      return .unchanged
    }
    // Before sockets are opened, which others then have copies of.
    let access: AccessDestination?
    do {
      access = try AccessDestination(wanted.accessLog)
    } catch {
      problems.append(
        Problem(
          location: SourceLocation(file: source.path ?? "", keyPath: "access_log.syslog.address"),
          message: "cannot be resolved: \(error)", hint: "check the name, or write an IP address"))
      return .rejected
    }
    let known = Set(preflight.listenerAddresses.map(\.description))
    guard
      let sockets = ListenerOpening.open(
        wanted, checked.listenerAddresses, known: known, workers: board.count,
        limit: descriptorLimit, &problems)
    else { return .rejected }
    if let failure = keepCopies(sockets, checked.listenerAddresses) {
      problems.append(failure)
      return .rejected
    }
    let opened = ListenerSockets(sockets)
    // The drain has begun meanwhile, and has closed the copies that there were.
    if reloader.isStopping {
      copies?.closeAll()
      return .stopped
    }
    // Slots are made for as many.
    var fitted = wanted
    fitted.limits.connections = min(wanted.limits.connections, started.limits.connections)
    let generation = maker.make(
      fitted, checked, contexts, sockets: opened)
    // Before the workers close theirs.
    copies?.keepOnly(Set(checked.listenerAddresses.map(\.description)))
    board.install(generation)
    life?.accessLog?.direct(to: access)
    reloader.note(generation.number, checked.listenerAddresses)
    announce(wanted, checked, known)
    (running, preflight) = (wanted, checked)
    life?.installed(fitted, generation: generation.number)
    followFiles()
    return waitForWorkers(generation.number, reloader)
      ? .installed(changes: changes) : .pending(changes: changes)
  }

  /// - Returns: why not all could be copied; they are closed then.
  private func keepCopies(_ sockets: [[Int32]], _ addresses: [SocketAddress]) -> Problem? {
    guard let copies else { return nil }
    do throws(SystemFailure) {
      for (address, numbers) in zip(addresses, sockets) {
        for number in numbers { try copies.keep(address, number) }
      }
      return nil
    } catch {
      copies.keepOnly(Set(preflight.listenerAddresses.map(\.description)))
      _ = ListenerSockets(sockets)
      return Problem(
        location: SourceLocation(keyPath: "listeners"), message: "cannot be opened: \(error)",
        hint: "raise the limit of descriptors (ulimit -n, LimitNOFILE=)")
    }
  }

  // MARK: Checks

  private func fixedSettings(_ wanted: ProxyConfiguration) -> [Problem] {
    var base = running
    base.limits.connections = max(
      started.limits.connections, base.limits.connections)
    return FixedSettings.changes(from: base, to: wanted).map { key in
      Problem(
        location: SourceLocation(file: source.path ?? "", keyPath: key),
        message: "cannot change while millrace runs",
        hint: "restart or upgrade millrace to change it, or write the value that is in force")
    }
  }

  private static var tooManyGenerations: Problem {
    Problem(
      location: SourceLocation(keyPath: "reload"),
      message: "connections are still using \(LivePlan.windows) configurations, which is the limit",
      hint: "wait until tunnels and long requests that began under earlier ones have ended")
  }

  private static func hasErrors(_ problems: [Problem]) -> Bool {
    problems.contains { $0.severity == .error }
  }

  private func changes(
    to wanted: ProxyConfiguration, _ checked: Preflight, _ contexts: TLSContexts
  ) -> [String] {
    var changes = ReloadChanges.list(from: running, to: wanted)
    if !contexts.renewed.isEmpty {
      changes.append("certificates: \(contexts.renewed.joined(separator: ", "))")
    }
    let before = preflight.addressesByName(running)
    let moved = checked.addressesByName(wanted).filter { name, addresses in
      before[name].map { $0 != addresses } ?? false
    }
    if !moved.isEmpty {
      changes.append("addresses: \(moved.keys.sorted().joined(separator: ", "))")
    }
    return changes
  }

  // MARK: Afterwards

  /// - Returns: false if some have not taken it.
  private func waitForWorkers(_ generation: Int, _ reloader: Reloader) -> Bool {
    let deadline = SystemClock.monotonicNanoseconds() + Self.installNanoseconds
    while !board.haveInstalled(generation) {
      if reloader.isStopping || SystemClock.monotonicNanoseconds() > deadline { return false }
      Pause.microseconds(500)
    }
    return true
  }

  private func announce(
    _ wanted: ProxyConfiguration, _ checked: Preflight, _ known: Set<String>
  ) {
    for (listener, address) in zip(wanted.listeners, checked.listenerAddresses)
    where !known.contains(address.description) {
      logger.info(
        "listening name=\(listener.name) address=\(address) tls=\(listener.tls != nil)")
    }
    let kept = Set(checked.listenerAddresses.map(\.description))
    for (listener, address) in zip(running.listeners, preflight.listenerAddresses)
    where !kept.contains(address.description) {
      logger.info("listener closed name=\(listener.name) address=\(address)")
    }
  }

  private func log(_ outcome: ReloadOutcome, _ reason: String) {
    for problem in outcome.problems {
      logger.log(
        level: problem.severity == .error ? .error : .warning, "configuration \(problem)")
    }
    switch outcome.result {
    case .installed(let changes):
      logger.notice(
        """
        configuration reloaded generation=\(outcome.generation) reason=\(reason) \
        changes="\(changes.joined(separator: "; "))"
        """)
    case .pending(let changes):
      logger.warning(
        """
        configuration reload not finished generation=\(outcome.generation) reason=\(reason) \
        changes="\(changes.joined(separator: "; "))" \
        detail="a worker has not taken it yet"
        """)
    case .unchanged:
      logger.info("configuration unchanged generation=\(outcome.generation) reason=\(reason)")
    case .rejected:
      let errors = outcome.problems.count { $0.severity == .error }
      logger.error(
        """
        configuration rejected generation=\(outcome.generation) reason=\(reason) \
        errors=\(errors) effect="the configuration in force stays"
        """)
    case .stopped: break
    }
  }
}

extension Preflight {
  /// The addresses of each server, whatever the order in which the resolver gave them.
  fileprivate func addressesByName(_ configuration: ProxyConfiguration) -> [String: [String]] {
    var found: [String: [String]] = [:]
    for (upstream, servers) in zip(configuration.upstreams, serverAddresses) {
      for (server, addresses) in zip(upstream.servers, servers) {
        found["\(server.address)"] = addresses.map(\.description).sorted()
      }
    }
    return found
  }
}
