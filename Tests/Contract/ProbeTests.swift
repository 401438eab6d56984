// The probe: what it says of this machine, and that each way of being refused has its own word.

import CLinux
import Glibc
import Testing

@testable import MillraceEngine

extension Contract {
  @Suite struct Probing {
    @Test func theProbeAgreesWithTheEngine() throws {
      let report = ProbeReport.run(Harness.options)
      #expect(report.usable == (ringFailure == nil), "\(report)")
      #expect((report.refusal == nil) == report.usable)
      #expect((report.setupFlags != 0) == report.usable)
      #expect(report.setup.isEmpty == !report.usable)
      for feature in report.features { #expect((feature.state == .on) == feature.cause.isEmpty) }
      let wanted = Harness.features.intersection(report.provenFeatures)
      #expect(wanted == report.provenFeatures, "nothing is proven that was not asked for")
      for (feature, name, engine) in EngineFeatures.all where engine != .epoll {
        let line = try #require(report.features.first { $0.name == name }, "\(name)")
        #expect((line.state == .on) == report.provenFeatures.contains(feature), "\(line)")
      }
      guard report.usable else { return }
      var options = Harness.options
      options.setupFlags = report.setupFlags
      let engine = try Uring(options)
      #expect(engine.setupDescription == report.setup)
    }

    @Test func theProbeLeavesNothingBehind() {
      let before = openDescriptors()
      for _ in 0..<10 { _ = ProbeReport.run(EngineOptions()) }
      #expect(openDescriptors() == before)
      var status: Int32 = 0
      #expect(waitpid(-1, &status, WNOHANG) <= 0, "a child was not reaped")
    }

    @Test(.tags(.failure)) func aRefusedSetUpIsToldApartByWhatSurroundsIt() {
      var here = ProbeSurroundings()
      here.release = "6.12.0"
      func label(_ code: Int32) -> String? {
        var outcome = ProbeOutcome()
        outcome.setupFlags = 1
        outcome[.setup] = -code
        let refusal = ProbeDiagnosis.refusal(outcome, .exited, here)
        #expect(refusal.map { !$0.detail.isEmpty && !$0.hint.isEmpty } == true)
        return refusal?.label
      }
      #expect(label(EPERM) == "EPERM")
      here.isFiltered = true
      #expect(label(EPERM) == "EPERM_seccomp")
      here.disabled = 0
      #expect(label(EPERM) == "EPERM_seccomp")
      here.disabled = 1
      #expect(label(EPERM) == "EPERM_sysctl")
      here.isPrivileged = true
      #expect(label(EPERM) == "EPERM_seccomp")
      here.disabled = 2
      #expect(label(EPERM) == "EPERM_sysctl")
      #expect(label(ENOSYS) == "ENOSYS")
      #expect(label(EACCES) == "EACCES")
      #expect(label(ENOMEM) == "ENOMEM")
      #expect(label(EINVAL) == "missing_operation")
      #expect(label(EMFILE) == "EMFILE")
    }

    @Test(.tags(.failure)) func eachEndOfTheChildHasItsWord() {
      func label(_ ending: ProbeProcess.Ending, _ step: ProbeStep) -> String? {
        var outcome = ProbeOutcome()
        outcome.step = step.rawValue
        return ProbeDiagnosis.refusal(outcome, ending, ProbeSurroundings())?.label
      }
      #expect(label(.signalled(SIGSYS), .setup) == "killed")
      #expect(label(.signalled(SIGSEGV), .receive) == "broken_operation")
      #expect(label(.hung, .accept) == "hung")
      #expect(label(.notStarted(EAGAIN), .setup) == "EAGAIN")
      #expect(label(.exited, .receive) == "broken_operation", "an exit half-way is no success")
    }

    @Test(
      .tags(.failure),
      arguments: [
        (ProbeProcess.Ending.hung, ProbeOutcome.notTried, true),
        (.exited, -ETIME, true), (.exited, -EINVAL, false), (.signalled(SIGSYS), -ETIME, false),
      ])
    func aProbeThatTimesOutIsMadeAgain(
      _ ending: ProbeProcess.Ending, _ result: Int32, _ isTriedAgain: Bool
    ) {
      var passed = ProbeOutcome()
      passed.setupFlags = Ring.ladder[0]
      for step in ProbeStep.allCases where step != .finished { passed[step] = 0 }
      passed.step = ProbeStep.finished.rawValue
      var failed = passed
      failed[.timedWait] = result
      failed.timedOut = result == -ETIME
      failed.step = ProbeStep.timedWait.rawValue
      var runs = 0
      let (outcome, _) = ProbeChild.run(EngineOptions()) { _ in
        runs += 1
        return runs == 1 ? (failed, ending) : (passed, .exited)
      }
      #expect(runs == (isTriedAgain ? 2 : 1))
      #expect(outcome.isUsable == isTriedAgain)
    }

    @Test(.tags(.failure)) func aStepThatFailsRefusesTheEngineUnlessItIsOfFilesOrOfTheNetwork() {
      func refusal(_ step: ProbeStep, _ result: Int32) -> EngineRefusal? {
        var outcome = ProbeOutcome()
        outcome.setupFlags = Ring.ladder[0]
        for other in ProbeStep.allCases where other != .finished { outcome[other] = 0 }
        outcome.step = ProbeStep.finished.rawValue
        outcome[step] = result
        return ProbeDiagnosis.refusal(outcome, .exited, ProbeSurroundings())
      }
      for step in ProbeStep.allCases where step != .finished {
        #expect(refusal(step, 0) == nil)
        let failed = refusal(step, -EINVAL)
        let wrong = refusal(step, ProbeOutcome.wrong)
        #expect((failed == nil) == step.isOfFiles, "\(step)")
        #expect((wrong == nil) == step.isOfFiles, "\(step)")
      }
      #expect(refusal(.connect, -ENETUNREACH) == nil)
      #expect(refusal(.connect, -ECONNREFUSED)?.label == "broken_operation")
      #expect(refusal(.receive, -EOPNOTSUPP)?.label == "broken_operation")
      #expect(refusal(.operations, ProbeOutcome.wrong)?.label == "missing_operation")
      #expect(refusal(.enter, -EPERM)?.label == "EPERM")
    }

    @Test func theReportNamesTheRungAndWhatWasGivenUp() {
      var outcome = ProbeOutcome()
      outcome.setupFlags = Ring.ladder[2]
      for step in ProbeStep.allCases { outcome[step] = 0 }
      outcome.step = ProbeStep.finished.rawValue
      outcome[.fileOpen] = -EROFS
      outcome[.fileWrite] = ProbeOutcome.notTried
      let report = ProbeReport(outcome, .exited, ProbeSurroundings())
      #expect(report.usable && report.setup == "single_issuer+coop_taskrun+submit_all")
      func feature(_ name: String) -> ProbeFeature? { report.features.first { $0.name == name } }
      #expect(feature("single_issuer")?.state == .on)
      #expect(feature("defer_taskrun")?.state == .off)
      #expect(feature("file_open")?.state == .off)
      #expect(feature("file_open")?.cause == "Read-only file system (EROFS)")
      #expect(feature("file_write_durable")?.cause == "not tried")
    }

    @Test func theSeccompFieldIsReadWhole() {
      let status = "Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t2\nSeccomp_filters:\t1\n"
      #expect(ProbeSurroundings.field("Seccomp", of: status) == "2")
      #expect(ProbeSurroundings.field("CapEff", of: status) == "000001ffffffffff")
      #expect(ProbeSurroundings.field("Cap", of: status) == nil)
    }
  }
}
