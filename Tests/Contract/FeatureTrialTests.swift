// Each optional feature's own self-test: that all pass on a kernel that has them, that each notices an answer
// that is out by one, and that one that is killed or silent costs exactly its feature.

import CLinux
import Glibc
import Testing

@testable import MillraceEngine

extension Contract {
  /// Growth came last, with Linux 6.13, and bundles are trusted from 6.16 on: what is refused is then refused by
  /// the test.
  static let isWholeKernel =
    ringFailure == nil && KernelRelease.current.map { ($0.major, $0.minor) >= (6, 16) } == true

  @Suite(.enabled(if: isWholeKernel, "this kernel has not every feature"))
  struct FeatureTrialing {
    static let everything = EngineFeatures.all.reduce(into: EngineFeatures()) {
      $0.formUnion($1.feature)
    }
    /// Those of a feature each.
    static let trials = FeatureTrial.allCases.filter { $0 != .ring }

    /// Everything that can be used at once: bundles are not with incremental buffers.
    static var options: EngineOptions {
      var options = EngineOptions()
      options.features = everything.subtracting([.submissionThread, .receiveBundles])
      options.registeredBuffers = 2
      return options
    }

    /// A trial, and those that build on it.
    static func fallen(_ trial: FeatureTrial) -> [FeatureTrial] {
      FeatureTrial.allCases.filter { $0 == trial || $0.needs.contains(trial) }
    }

    static func failed(_ trials: FeatureTrials) -> [FeatureTrial] {
      trials.findings.filter { $0.state != .passed }.compactMap { FeatureTrial(rawValue: $0.trial) }
    }

    @Test func withNothingRefusedTheEngineUsesEverything() throws {
      let report = ProbeReport.run(Self.options)
      #expect(report.usable, "\(report)")
      var options = Self.options
      options.apply(report)
      #expect(options.refusals.isEmpty, "\(report)")
      let engine = try Uring(options)
      let idle = engine.features.filter { $0.state != .on }.map(\.name)
      #expect(idle == ["sqpoll", "receive_bundles"])
    }

    @Test(arguments: [
      (EngineFeatures.receiveBundles, EngineFeatures.incrementalBuffers),
      (.submissionThread, .ringResize),
    ])
    func whatExcludesAnotherIsUsedWithoutIt(_ used: EngineFeatures, _ without: EngineFeatures)
      throws
    {
      var options = Self.options
      options.features.insert(used)
      options.features.remove(without)
      let report = ProbeReport.run(options)
      options.apply(report)
      #expect(options.refusals.isEmpty, "\(report)")
      let name = EngineFeatures.all.first { $0.feature == used }?.name
      let line = try Uring(options).features.first { $0.name == name }
      #expect(line?.state == .on, "\(report)")
    }

    /// The kernel's thread may sleep before its first entry has come: no rung may be lost by that.
    @Test func theBestRungWithASubmissionThreadIsProvedEveryTime() {
      var options = EngineOptions()
      options.features.insert(.submissionThread)
      for _ in 0..<6 {
        let setup = ProbeReport.run(options).setup
        #expect(setup == "single_issuer+submit_all+no_sqarray+sqpoll")
      }
    }

    @Test func aFeatureThatAnotherOptionExcludesIsNotBlamedOnTheKernel() throws {
      var options = Self.options
      options.features.remove(.noSQArray)
      let report = ProbeReport.run(options)
      #expect(report.trials.finding(.ringResize, .uring)?.state == .passed)
      options.apply(report)
      let line = try Uring(options).features.first { $0.name == "ring_resize" }
      #expect(line == ProbeFeature(name: "ring_resize", state: .off, cause: "needs no_sqarray"))
    }

    @Test(.tags(.failure), arguments: trials)
    func anAnswerThatIsOutByOneIsNoticedAndNamed(_ trial: FeatureTrial) {
      let fault = TrialFault(trial: trial, kind: .lies)
      let found = FeatureTrials.run(Self.options, also: Self.everything, fault: fault)
      #expect(Self.failed(found) == Self.fallen(trial), "\(found.results.filter { !$0.works })")
      let finding = found.finding(trial.feature, trial.engine)
      #expect(finding?.state == .failed)
      #expect(finding?.cause.hasPrefix("tried \(trial.attempt): ") == true)
    }

    @Test(.tags(.failure), arguments: trials)
    func aTrialThatEndsItsProcessCostsItsFeatureOnly(_ trial: FeatureTrial) {
      let fault = TrialFault(trial: trial, kind: .death(SIGSYS))
      let found = FeatureTrials.run(Self.options, also: Self.everything, fault: fault)
      #expect(Self.failed(found) == Self.fallen(trial), "\(found.results.filter { !$0.works })")
      let cause = found.finding(trial.feature, trial.engine)?.cause
      #expect(cause == "tried \(trial.attempt): a seccomp filter killed the process (SIGSYS)")
    }

    @Test(.tags(.failure)) func aTrialThatHangsIsCutShortAndCostsItsFeatureOnly() {
      let fault = TrialFault(trial: .ringMessages, kind: .silence)
      let start = SystemClock.monotonicNanoseconds()
      let found = FeatureTrials.run(Self.options, also: Self.everything, fault: fault)
      let took = SystemClock.monotonicNanoseconds() - start
      #expect(Self.failed(found) == [.ringMessages])
      #expect(found.finding(.ringMessages, .uring)?.state == .hung)
      #expect(took < 2 * TrialChild.totalNanoseconds + 1_000_000_000)
    }

    /// A process under a quota, or on a crowded machine, is not scheduled for a while.
    @Test(
      .tags(.failure),
      arguments: [FeatureTrial.deferTaskrun, .noSQArray, .ringMessages, .preciseWait])
    func aTrialThatTimesOutOnceIsMadeAgain(_ trial: FeatureTrial) {
      let fault = TrialFault(trial: trial, kind: .silenceOnce)
      let found = FeatureTrials.run(Self.options, also: Self.everything, fault: fault)
      #expect(Self.failed(found) == [], "\(found.results.filter { !$0.works })")
    }

    @Test(.tags(.failure)) func whatCannotBeTriedIsOffAndNotRefused() throws {
      var finding = TrialFinding(.zeroCopySend)
      finding.state = .failed
      // A machine whose loopback interface is down.
      finding.failure = TrialFailure(code: -EADDRNOTAVAIL, place: .socket)
      var options = Self.options
      let report = ProbeReport.run(options, FeatureTrials([finding]))
      options.apply(report)
      let engine = try Uring(options)
      for features in [report.features, engine.features] {
        let line = try #require(features.first { $0.name == "zero_copy_send" })
        #expect(line.state == .off)
        #expect(line.cause.hasPrefix("not tried: a socket to try it with: "), "\(line)")
      }
    }

    @Test(.tags(.failure)) func withoutARingEveryFeatureOfItIsOffAndThoseOfEpollAreTried() {
      let fault = TrialFault(trial: .ring, kind: .death(SIGKILL))
      let found = FeatureTrials.run(Self.options, fault: fault)
      for result in found.results {
        #expect(result.works == (result.engine == .epoll))
        #expect(result.works || result.cause == "not tried: no ring")
      }
    }

    /// The comparison that every test here makes does fail: for the wrong feature, and for none.
    @Test(.tags(.failure)) func aWrongExpectationIsSeen() {
      let fault = TrialFault(trial: .minWait, kind: .lies)
      let found = FeatureTrials.run(Self.options, fault: fault)
      withKnownIssue { #expect(Self.failed(found) == [.ringMessages]) }
      withKnownIssue { #expect(Self.failed(found) == []) }
    }

    @Test(.tags(.failure)) func theReportHasALinePerFeatureWithItsCause() {
      let fault = TrialFault(trial: .ringMessages, kind: .lies)
      let trials = FeatureTrials.run(Self.options, fault: fault)
      let report = ProbeReport.run(Self.options, trials)
      let lines = "\(report)".split(separator: "\n")
      for (_, name, engine) in EngineFeatures.all where engine != .epoll {
        let line = lines.first { $0.hasPrefix("  \(name) ") }
        #expect(line != nil, "\(name)")
        let isWanted = EngineFeatures(name: name).map(Self.options.features.contains) == true
        let state = name == "ring_messages" ? " refused: tried " : isWanted ? " on" : " off: "
        #expect(line?.contains(state) == true, "\(line ?? "")")
      }
      #expect(lines.contains { $0.hasPrefix("  precise_wait") && $0.hasSuffix(" on") })
      var options = Self.options
      options.apply(report)
      #expect(options.refusedFeatures == .ringMessages)
    }
  }
}

extension Contract.Probing {
  private typealias FeatureTrialing = Contract.FeatureTrialing

  @Test(.enabled(if: Contract.ringFailure == nil, "io_uring is refused"))
  func everyFeatureThatThisKernelBringsWorks() throws {
    let release = try #require(KernelRelease.current)
    let found = FeatureTrials.run(EngineOptions(), also: FeatureTrialing.everything)
    #expect(found.results.count == FeatureTrialing.trials.count)
    for (trial, result) in zip(FeatureTrialing.trials, found.results) {
      let first = try #require(KernelRelease(EngineFeatures.firstVersion(trial.feature)))
      guard (release.major, release.minor) >= (first.major, first.minor) else { continue }
      #expect(result.works, "\(result.name): \(result.cause)")
      #expect(result.cause.isEmpty && result.nanoseconds > 0)
    }
  }

  @Test func whatNobodyAskedForIsNotTried() {
    var options = EngineOptions()
    options.features = [.quietSends]
    let names = FeatureTrials.run(options, also: .minWait).results.map(\.name)
    #expect(names == ["quiet_sends", "min_wait"])
    #expect(
      FeatureTrials.run(EngineOptions(), for: [.epoll]).results.map(\.name) == ["precise_wait"])
  }
}
