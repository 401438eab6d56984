// Which engine the workers run on: what was asked for, what the self-tests found, and the one line of the
// log that says so once every worker has its engine.

import Configuration
import Logging
import Metrics
import MillraceEngine

/// The choice before the workers start, with what the log will say of it.
struct EngineSelection {
  let attempts: EngineAttempts
  /// Why this engine: a word, and for one that was not the first choice what happened and what to do.
  private let cause: String
  private let refusal: EngineRefusal?
  /// What an engine that works does without.
  private let uringDetails: String
  private let epollDetails: String
  /// Features that the kernel refused each engine, and why.
  private let uringRefused: [(name: String, cause: String)]
  private let epollRefused: [(name: String, cause: String)]
  /// Features that io_uring works without although nothing refused them.
  private let uringOff: Set<String>

  /// Runs the self-tests, which fork: before any thread exists.
  /// - Returns: nil where io_uring was asked for by name and cannot be used, which is logged.
  init?(_ choice: EngineChoice, _ options: EngineOptions, _ threads: Int, _ logger: Logger) {
    var options = options
    if choice == .epoll {
      let trials = FeatureTrials.run(options, for: [.epoll])
      options.apply(trials, to: .epoll)
      attempts = EngineAttempts(.epoll, options, threads: threads, orEpollWith: nil)
      cause = "configured"
      refusal = nil
      uringDetails = ""
      epollRefused = Self.refusals(trials)
      uringRefused = []
      uringOff = []
      epollDetails = Self.refused(epollRefused)
      return
    }
    var epoll = options
    let report = ProbeReport.run(reducing: &options)
    epoll.apply(report.trials, to: .epoll)
    epollRefused = Self.refusals(report.trials)
    epollDetails = Self.refused(epollRefused)
    uringRefused = report.features.filter { $0.state == .refused }.map { ($0.name, $0.cause) }
    uringOff = Set(report.features.filter { $0.state == .off }.map(\.name))
    refusal = report.refusal
    if report.usable {
      options.apply(report)
      cause = choice == .uring ? "configured" : "probed"
      uringDetails = Self.details(report, uringRefused)
      attempts = EngineAttempts(
        .uring, options, threads: threads, orEpollWith: choice == .uring ? nil : epoll)
      return
    }
    cause = report.refusal?.label ?? "unknown"
    uringDetails = ""
    attempts = EngineAttempts(.epoll, epoll, threads: threads, orEpollWith: nil)
    if choice == .uring {
      Self.logRefusal(report.refusal, logger)
      return nil
    }
  }

  // MARK: The log

  /// What came of it.
  func log(_ attempts: EngineAttempts, _ logger: Logger) {
    let reduced = attempts.options.hasReducedRings
    switch (attempts.kind, attempts.refusal ?? refusal) {
    case (.epoll, let refusal?):
      logger.notice(
        """
        engine selected engine=epoll reason=\(refusal.label) detail="\(refusal.detail)" \
        hint="\(refusal.hint)"\(epollDetails)
        """)
    case (.epoll, nil):
      logger.info("engine selected engine=epoll reason=\(cause)\(epollDetails)")
    case (_, let found) where reduced:
      let refusal = found ?? .littleMemory
      let options = attempts.options
      logger.notice(
        """
        engine selected engine=io_uring reason=\(cause)\(uringDetails) \
        rings=\(options.submissionEntries)/\(options.completionEntries) \
        detail="\(refusal.detail)" hint="\(refusal.hint)"
        """)
    default:
      logger.info("engine selected engine=io_uring reason=\(cause)\(uringDetails)")
    }
  }

  /// That there is none.
  func log(_ attempts: EngineAttempts, failed failure: EngineFailure, _ logger: Logger) {
    if let refusal = attempts.refusal { return Self.logRefusal(refusal, logger) }
    logger.critical("cannot start workers error=\"\(failure)\"")
  }

  private static func logRefusal(_ refusal: EngineRefusal?, _ logger: Logger) {
    logger.critical(
      """
      engine unavailable engine=io_uring reason=\(refusal?.label ?? "unknown") \
      detail="\(refusal?.detail ?? "")" hint="\(refusal?.hint ?? "") Or set engine: auto."
      """)
  }

  private static func details(
    _ report: ProbeReport, _ refused: [(name: String, cause: String)]
  ) -> String {
    let off = report.features.filter { $0.state == .off }.map(\.name)
    return " setup=\(report.setup) off=\"\(off.joined(separator: " "))\"" + Self.refused(refused)
  }

  private static func refusals(_ trials: FeatureTrials) -> [(name: String, cause: String)] {
    trials.results.filter { $0.engine == .epoll && $0.isRefusal }.map { ($0.name, $0.cause) }
  }

  /// What an engine must do without.
  private static func refused(_ refused: [(name: String, cause: String)]) -> String {
    if refused.isEmpty { return "" }
    let texts = refused.map { "\($0.name) (\($0.cause))" }
    return " refused=\"\(texts.joined(separator: ", "))\""
  }

  // MARK: The metrics

  /// Tells readers of the metrics what came of it: `engine`, and `refused.NAME` with the cause.
  func note(_ attempts: EngineAttempts, in metrics: MetricBoard) {
    metrics.note("engine", attempts.kind.rawValue)
    for refusal in attempts.kind == .uring ? uringRefused : epollRefused {
      metrics.note("refused.\(refusal.name)", refusal.cause)
    }
    noteFeatures(attempts, in: metrics)
  }

  /// The features of the engine in use, each with `on`, `off` or the cause of its refusal; and how many of its
  /// buffers and frames each worker has.
  private func noteFeatures(_ attempts: EngineAttempts, in metrics: MetricBoard) {
    let refused = attempts.kind == .uring ? uringRefused : epollRefused
    for (feature, name, engine) in EngineFeatures.all
    where engine == nil || engine == attempts.kind {
      let cause = refused.first { $0.name == name }?.cause
      let isOff = attempts.kind == .uring && uringOff.contains(name)
      let isOn = attempts.options.features.contains(feature) && !isOff
      metrics.note("feature.\(name)", cause ?? (isOn ? "on" : "off"))
    }
    metrics.note("limit.frames", "\(attempts.options.frames)")
    metrics.note(
      "limit.leases", "\(attempts.options.smallBuffers + attempts.options.largeBuffers)")
  }
}
