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
    for step in ProbeStep.allCases where step != .finished && step != .setup {
      list.append(feature(step, outcome, ending))
    }
    return list
  }

  private static let flags: [(UInt32, String, String)] = [
    (UInt32(CLINUX_SETUP_SUBMIT_ALL), "submit_all", "5.18"),
    (UInt32(CLINUX_SETUP_SINGLE_ISSUER), "single_issuer", "6.0"),
    (UInt32(CLINUX_SETUP_DEFER_TASKRUN), "defer_taskrun", "6.1"),
    (UInt32(CLINUX_SETUP_NO_SQARRAY), "no_sqarray", "6.6"),
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
