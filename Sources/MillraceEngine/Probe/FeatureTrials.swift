// Every optional feature of the kernel, each tried on its own in a forked child: used once as an engine would
// use it, and judged by what came of it. A trial that kills or hangs its child costs that feature only: another
// child goes on behind it. The engine's choice, the log and `doctor` read what is found here.

import CLinux
import Glibc

/// What the self-tests of single features found.
public struct FeatureTrials: Sendable {
  /// One self-test.
  public struct Result: Sendable, Equatable {
    /// The feature's name, as operators switch it.
    public let name: String
    /// The engine that it was tried for.
    public let engine: EngineKind
    /// True if it does what an engine relies on.
    public let works: Bool
    /// True if the kernel, or who filters its calls, is why it does not; false if it could not be tried.
    public let isRefusal: Bool
    /// Why not: what was tried, what came of it; or why it was not tried. Empty if it works.
    public let cause: String
    /// How long the self-test took.
    public let nanoseconds: Int64
  }

  /// In the order in which they were tried. Features that nobody asked about are not in it.
  public let results: [Result]
  let findings: [TrialFinding]

  /// Tries the features that `options` asks for, and those of `also`, each some 0.1 ms (`sqpoll`: 10 ms,
  /// for the kernel's thread must fall asleep in it).
  ///
  /// Call it before the process has any thread but the caller's, fork(2).
  /// - Parameters:
  ///   - options: those that the engine will get.
  ///   - kinds: the engines whose features are tried.
  ///   - also: features to try although they will not be used: what a report of the machine shows.
  public static func run(
    _ options: EngineOptions, for kinds: [EngineKind] = EngineKind.allCases,
    also: EngineFeatures = []
  ) -> FeatureTrials {
    run(options, for: kinds, also: also, fault: nil)
  }

  static func run(
    _ options: EngineOptions, for kinds: [EngineKind] = EngineKind.allCases,
    also: EngineFeatures = [], fault: TrialFault?
  ) -> FeatureTrials {
    let wanted = options.features.union(also)
    let trials = FeatureTrial.allCases.filter {
      guard kinds.contains($0.engine) else { return false }
      return $0 == .ring || wanted.contains($0.feature)
    }
    var settings = TrialSettings(options)
    settings.fault = fault
    return FeatureTrials(TrialChild.run(trials, settings, options.features))
  }

  init(_ findings: [TrialFinding]) {
    self.findings = findings
    results = findings.compactMap { finding in
      guard let trial = FeatureTrial(rawValue: finding.trial), trial != .ring else { return nil }
      return Result(
        name: trial.name, engine: trial.engine, works: finding.state == .passed,
        isRefusal: finding.isRefusal, cause: finding.cause, nanoseconds: finding.nanoseconds)
    }
  }

  /// What became of a feature of an engine; nil if it was not tried.
  func finding(_ feature: EngineFeatures, _ kind: EngineKind) -> TrialFinding? {
    findings.first {
      let trial = FeatureTrial(rawValue: $0.trial)
      return trial?.feature == feature && trial?.engine == kind && !feature.isEmpty
    }
  }

  /// The features that an engine must not use, and why.
  func refusals(_ kind: EngineKind) -> [FeatureRefusal] {
    findings.compactMap { finding in
      guard let trial = FeatureTrial(rawValue: finding.trial), trial.engine == kind,
        trial != .ring, finding.state != .passed
      else { return nil }
      return FeatureRefusal(
        feature: trial.feature, isOfTheKernel: finding.isRefusal, cause: finding.cause)
    }
  }
}

extension EngineOptions {
  /// Features that must not be used, because a self-test did not get through them.
  var refusedFeatures: EngineFeatures {
    refusals.reduce(into: []) { $0.formUnion($1.feature) }
  }

  /// Has an engine of this kind leave alone what its self-test did not get through. `Engine.features` then
  /// says why.
  public mutating func apply(_ trials: FeatureTrials, to kind: EngineKind) {
    refusals = trials.refusals(kind)
  }
}
