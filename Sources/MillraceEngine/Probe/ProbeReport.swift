// What the probe says: may this process use io_uring here, on which rung of the ladder, what of it
// works, and if not, why and what to change. The engine's choice, the log and `doctor` all read it.

import CLinux
import Glibc

/// The answer of a functional self-test of io_uring.
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

  /// Tries io_uring in a forked child, some 5 ms; never more than two seconds.
  ///
  /// Call it before the process has any thread but the caller's, fork(2).
  /// - Parameter options: those that the engine will get; the rings are made in these sizes.
  public static func run(_ options: EngineOptions) -> ProbeReport {
    let (outcome, ending) = ProbeChild.run(options)
    return ProbeReport(outcome, ending, ProbeSurroundings.current())
  }

  init(_ outcome: ProbeOutcome, _ ending: ProbeChild.Ending, _ here: ProbeSurroundings) {
    refusal = ProbeDiagnosis.refusal(outcome, ending, here)
    usable = refusal == nil
    setupFlags = usable ? outcome.setupFlags : 0
    setup = usable ? Ring.describe(outcome.setupFlags) : ""
    provenFeatures = usable ? EngineFeatures(rawValue: outcome.active) : []
    features = Self.features(outcome, ending)
  }

  private static func features(
    _ outcome: ProbeOutcome, _ ending: ProbeChild.Ending
  ) -> [ProbeFeature] {
    let reached = outcome[.setup] == 0
    var list = flags.map { bit, name, version in
      ProbeFeature(
        name: name, state: reached && outcome.setupFlags & bit != 0 ? .on : .off,
        cause: !reached
          ? "not tried: there is no ring"
          : outcome.setupFlags & bit != 0
            ? "" : "not on the rung that works here; Linux \(version) brings it")
    }
    let isWhole = outcome.isUsable && ending.isExit
    for (feature, name, engine) in EngineFeatures.all where engine != .epoll {
      list.append(optional(feature, name, isWhole, outcome))
    }
    for step in ProbeStep.allCases where step != .finished && step != .setup {
      list.append(feature(step, outcome, ending))
    }
    return list
  }

  /// What became of a feature that the engine can do without.
  private static func optional(
    _ feature: EngineFeatures, _ name: String, _ isWhole: Bool, _ outcome: ProbeOutcome
  ) -> ProbeFeature {
    func holds(_ set: UInt64) -> Bool { EngineFeatures(rawValue: set).contains(feature) }
    if !isWhole {
      return ProbeFeature(name: name, state: .off, cause: "the self-test did not get through")
    }
    if holds(outcome.active) { return ProbeFeature(name: name, state: .on, cause: "") }
    if holds(outcome.given) {
      let step = ProbeStep(rawValue: outcome.givenStep) ?? .setup
      let what =
        outcome.givenResult == 0
        ? "a child did not come back from it"
        : ProbeDiagnosis.words(step, outcome.givenResult, outcome)
      return ProbeFeature(name: name, state: .refused, cause: "tried \(step.attempt): \(what)")
    }
    if holds(outcome.refused) {
      return ProbeFeature(
        name: name, state: .refused,
        cause: "not here; Linux \(EngineFeatures.firstVersion(feature)) brings it")
    }
    return ProbeFeature(name: name, state: .off, cause: "not asked for, or excluded by another")
  }

  private static let flags: [(UInt32, String, String)] = [
    (UInt32(CLINUX_SETUP_SUBMIT_ALL), "submit_all", "5.18"),
    (UInt32(CLINUX_SETUP_SINGLE_ISSUER), "single_issuer", "6.0"),
  ]

  private static func feature(
    _ step: ProbeStep, _ outcome: ProbeOutcome, _ ending: ProbeChild.Ending
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
