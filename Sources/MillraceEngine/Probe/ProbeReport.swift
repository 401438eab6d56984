// What the probe says: may this process use io_uring here, on which rung of the ladder, what of it
// works, and if not, why and what to change. The engine's choice, the log and `doctor` all read it.

import CLinux
import Glibc

/// The answer of the functional self-tests.
public struct ProbeReport: Sendable {
  /// True when the io_uring engine can run here.
  public let usable: Bool
  /// The rung that was proved: for `EngineOptions.setupFlags`. 0 if not usable.
  public let setupFlags: UInt32
  /// The flags by name, as in "single_issuer+defer_taskrun+submit_all"; empty if not usable.
  public let setup: String
  /// Every feature, in the order in which they were tried.
  public let features: [ProbeFeature]
  /// The features of io_uring that work here, of those that were asked for: what
  /// `EngineOptions.features` may keep. Empty if not usable.
  public let provenFeatures: EngineFeatures
  /// Why not; nil if usable.
  public let refusal: EngineRefusal?

  /// What each feature's own self-test found, of both engines.
  public let trials: FeatureTrials

  /// Tries each feature by itself, then the io_uring engine with those that work, in forked children: some
  /// 7 ms (with `sqpoll` 15), a few seconds at most.
  ///
  /// Call it before the process has any thread but the caller's, fork(2).
  /// - Parameters:
  ///   - options: those that the engine will get; the rings are made in these sizes.
  ///   - also: features to try although they will not be used: what a report of the machine shows.
  public static func run(_ options: EngineOptions, also: EngineFeatures = []) -> ProbeReport {
    run(options, FeatureTrials.run(options, also: also))
  }

  static func run(_ options: EngineOptions, _ trials: FeatureTrials) -> ProbeReport {
    var options = options
    options.apply(trials, to: .uring)
    let (outcome, ending) = ProbeChild.run(options)
    return ProbeReport(outcome, ending, ProbeSurroundings.current(), trials)
  }

  init(
    _ outcome: ProbeOutcome, _ ending: ProbeProcess.Ending, _ here: ProbeSurroundings,
    _ trials: FeatureTrials = FeatureTrials([])
  ) {
    self.trials = trials
    refusal = ProbeDiagnosis.refusal(outcome, ending, here)
    usable = refusal == nil
    setupFlags = usable ? outcome.setupFlags : 0
    setup = usable ? Ring.describe(outcome.setupFlags) : ""
    provenFeatures = usable ? EngineFeatures(rawValue: outcome.active) : []
    features = Self.features(outcome, ending, trials)
  }

  private static func features(
    _ outcome: ProbeOutcome, _ ending: ProbeProcess.Ending, _ trials: FeatureTrials
  ) -> [ProbeFeature] {
    let reached = outcome[.setup] == 0
    var list = flags.map { bit, name, version in
      ProbeFeature(
        name: name, state: reached && outcome.setupFlags & bit != 0 ? .on : .off,
        cause: !reached
          ? "not tried: no ring"
          : outcome.setupFlags & bit != 0
            ? "" : "not part of the setup that works here; requires Linux \(version)")
    }
    let isWhole = outcome.isUsable && ending.isExit
    for (feature, name, engine) in EngineFeatures.all where engine != .epoll {
      list.append(optional(feature, name, isWhole, outcome, trials.finding(feature, .uring)))
    }
    for step in ProbeStep.allCases where step != .finished && step != .setup {
      list.append(feature(step, outcome, ending))
    }
    return list
  }

  /// What became of a feature that the engine can do without.
  private static func optional(
    _ feature: EngineFeatures, _ name: String, _ isWhole: Bool, _ outcome: ProbeOutcome,
    _ finding: TrialFinding?
  ) -> ProbeFeature {
    func holds(_ set: UInt64) -> Bool { EngineFeatures(rawValue: set).contains(feature) }
    if let finding, finding.state != .passed {
      return ProbeFeature(
        name: name, state: finding.isRefusal ? .refused : .off, cause: finding.cause)
    }
    if !isWhole {
      return ProbeFeature(name: name, state: .off, cause: "the self-test failed")
    }
    if holds(outcome.active) { return ProbeFeature(name: name, state: .on, cause: "") }
    if holds(outcome.given) {
      let step = ProbeStep(rawValue: outcome.givenStep) ?? .setup
      let what =
        outcome.givenResult == 0
        ? "the child process did not return from it"
        : ProbeDiagnosis.words(step, outcome.givenResult, outcome)
      return ProbeFeature(name: name, state: .refused, cause: "tried \(step.attempt): \(what)")
    }
    if holds(outcome.refused) {
      return ProbeFeature(
        name: name, state: .refused,
        cause:
          "not supported by this kernel; requires Linux \(EngineFeatures.firstVersion(feature))")
    }
    return ProbeFeature(
      name: name, state: .off,
      cause: finding == nil
        ? "not requested" : "available; off by default, or in conflict with another feature")
  }

  /// The names of all lines that a report can have, of both engines.
  public static let names: [String] =
    flags.map { $0.1 } + EngineFeatures.all.map { $0.name }
    + ProbeStep.allCases.filter { $0 != .finished && $0 != .setup }.map(\.name)

  private static let flags: [(UInt32, String, String)] = [
    (UInt32(CLINUX_SETUP_SUBMIT_ALL), "submit_all", "5.18"),
    (UInt32(CLINUX_SETUP_SINGLE_ISSUER), "single_issuer", "6.0"),
  ]

  private static func feature(
    _ step: ProbeStep, _ outcome: ProbeOutcome, _ ending: ProbeProcess.Ending
  ) -> ProbeFeature {
    let result = outcome[step]
    switch result {
    case 0:
      return ProbeFeature(name: step.name, state: .on, cause: "")
    case ProbeOutcome.notTried:
      // The step that a child did not come back from is to blame for it.
      if step.rawValue == outcome.step && !ending.isExit {
        return ProbeFeature(
          name: step.name, state: .refused, cause: ProbeDiagnosis.words(ending))
      }
      return ProbeFeature(name: step.name, state: .off, cause: "not tried")
    default:
      let blameless = step.isOfFiles || (step == .connect && ProbeOutcome.isOfTheNetwork(result))
      return ProbeFeature(
        name: step.name, state: blameless ? .off : .refused,
        cause: ProbeDiagnosis.words(step, result, outcome))
    }
  }
}

extension EngineOptions {
  /// Has the io_uring engine start where the self-test has been, and leave alone what it did not get
  /// through. `Engine.features` then says why.
  public mutating func apply(_ report: ProbeReport) {
    setupFlags = report.setupFlags
    refusals = EngineFeatures.all.compactMap { feature, name, engine in
      guard engine != .epoll, let line = report.features.first(where: { $0.name == name })
      else { return nil }
      let finding = report.trials.finding(feature, .uring)
      guard line.state == .refused || (finding != nil && finding?.state != .passed)
      else { return nil }
      return FeatureRefusal(
        feature: feature, isOfTheKernel: line.state == .refused, cause: line.cause)
    }
  }
}

extension ProbeReport: CustomStringConvertible {
  /// What a person reads: the answer, and a line for each thing that was tried.
  public var description: String { text(steps: true) }

  /// What a person reads.
  /// - Parameter steps: whether the steps of the self-test have lines of their own; those that failed
  ///   have one in any case.
  public func text(steps: Bool) -> String {
    var lines = [refusal.map { "io_uring: refused (\($0.label)). \($0)" } ?? "io_uring: \(setup)"]
    func add(_ name: String, _ state: String, _ cause: String) {
      let pad = String(repeating: " ", count: max(1, 24 - name.count))
      lines.append("  \(name)\(pad)\(state)\(cause.isEmpty ? "" : ": \(cause)")")
    }
    let inner = Set(ProbeStep.allCases.map(\.name))
    for line in features where steps || line.state == .refused || !inner.contains(line.name) {
      add(line.name, line.state.rawValue, line.cause)
    }
    lines.append("epoll:")
    for result in trials.results where result.engine == .epoll {
      let isUsed = EngineFeatures.all.contains { feature, name, engine in
        name == result.name && engine != .uring && EngineFeatures.standard.contains(feature)
      }
      switch (result.works, isUsed) {
      case (true, true): add(result.name, "on", "")
      case (true, false): add(result.name, "off", "available; off by default")
      case (false, _): add(result.name, result.isRefusal ? "refused" : "off", result.cause)
      }
    }
    return lines.joined(separator: "\n")
  }
}
