// Trials in a child, one after the other, with bounds on the time of each and of all.

import CLinux
import Glibc

enum TrialChild {
  /// How long one trial may take: every wait in one is bounded by less, so a longer one hangs in the kernel.
  static let silenceNanoseconds: Int64 = 500_000_000
  /// All of them, and once more where time ran out. What is left after it counts as refused.
  static let totalNanoseconds: Int64 = 1_500_000_000

  /// - Parameter wanted: what the engine will use: its rings are made without the rest.
  /// - Returns: a finding for each trial.
  static func run(
    _ trials: [FeatureTrial], _ settings: TrialSettings, _ wanted: EngineFeatures
  ) -> [TrialFinding] {
    var findings = trials.map { TrialFinding($0) }
    pass(over: Array(trials.indices), &findings, settings, wanted)
    // A process that is not scheduled for a while, under a quota or on a crowded machine, looks like a
    // kernel that does not answer. Twice in a row is rare.
    let again = timedOut(trials, findings)
    guard !again.isEmpty else { return findings }
    for i in again { findings[i] = TrialFinding(trials[i]) }
    var settings = settings
    if settings.fault?.kind.isOfFirstPass == true { settings.fault = nil }
    pass(over: again, &findings, settings, wanted)
    return findings
  }

  /// The trials that timed out, those that were not tried because of them, and those that were made on
  /// other rings than they would have been.
  private static func timedOut(_ trials: [FeatureTrial], _ findings: [TrialFinding]) -> [Int] {
    var found: [Int] = []
    var hasOtherRings = false
    for (i, finding) in findings.enumerated() {
      let needs = finding.state == .pointless ? findings.firstIndex(where: finding.needs) : nil
      let isOnOtherRing = hasOtherRings && trials[i].engine == .uring
      guard finding.timedOut || isOnOtherRing || needs.map(found.contains) == true else { continue }
      found.append(i)
      if trials[i] == .deferTaskrun || trials[i] == .noSQArray { hasOtherRings = true }
    }
    return found
  }

  /// Tries some of them in one child, and where that ends early in another.
  private static func pass(
    over order: [Int], _ findings: inout [TrialFinding], _ settings: TrialSettings,
    _ wanted: EngineFeatures
  ) {
    let deadline = SystemClock.monotonicNanoseconds() + totalNanoseconds
    var next = 0
    while next < order.count {
      let (begin, known) = (next, findings)
      let ending = ProbeProcess.run(
        silenceNanoseconds: silenceNanoseconds, deadline: deadline,
        hear: { (finding: TrialFinding) in
          findings[order[next]] = finding
          if finding.state != .begun { next += 1 }
        },
        work: { pipe in
          var findings = known
          var settings = settings
          for finding in findings { learn(finding, wanted, &settings) }
          for i in order[begin...] {
            findings[i].state = .begun
            ProbeProcess.tell(findings[i], pipe)
            findings[i] = attempt(findings[i], findings, settings)
            learn(findings[i], wanted, &settings)
            ProbeProcess.tell(findings[i], pipe)
          }
        })
      guard next < order.count else { break }
      // The trial that the child did not come back from; none, where there was no child.
      switch ending {
      case .signalled(let number):
        findings[order[next]].state = .killed
        findings[order[next]].failure.code = number
      case .hung where SystemClock.monotonicNanoseconds() < deadline:
        findings[order[next]].state = .hung
      default:
        var code: Int32 = 0
        if case .notStarted(let error) = ending { code = error }
        for i in order[next...] {
          findings[i].state = .givenUp
          findings[i].failure.code = code
        }
        return
      }
      next += 1
    }
  }

  /// What a finding means for the rings of the trials after it: they are made as the engine's will be.
  private static func learn(
    _ finding: TrialFinding, _ wanted: EngineFeatures, _ settings: inout TrialSettings
  ) {
    guard let trial = FeatureTrial(rawValue: finding.trial) else { return }
    let isUsed = finding.state == .passed && wanted.contains(trial.feature)
    switch trial {
    case .ring where finding.state == .passed:
      break
    case .deferTaskrun where isUsed:
      settings.ringFlags |= UInt32(CLINUX_SETUP_SINGLE_ISSUER | CLINUX_SETUP_DEFER_TASKRUN)
    case .noSQArray where isUsed: settings.ringFlags |= UInt32(CLINUX_SETUP_NO_SQARRAY)
    default: break
    }
  }

  /// Runs in the child.
  private static func attempt(
    _ begun: TrialFinding, _ findings: [TrialFinding], _ settings: TrialSettings
  ) -> TrialFinding {
    guard let trial = FeatureTrial(rawValue: begun.trial) else { return begun }
    var finding = TrialFinding(trial)
    for need in trial.needs {
      let state = findings.first { $0.trial == need.rawValue }?.state ?? .passed
      if state != .passed {
        finding.state = .pointless
        finding.failure.code = Int32(need.rawValue)
        return finding
      }
    }
    var lies = false
    if let fault = settings.fault, fault.trial == trial {
      switch fault.kind {
      case .lies: lies = true
      case .death(let signal): raise(signal)
      case .silence, .silenceOnce: while true { pause() }
      }
    }
    guard let bench = TrialBench(settings, lies: lies) else {
      finding.state = .failed
      finding.failure.code = -ENOMEM
      return finding
    }
    let start = SystemClock.monotonicNanoseconds()
    do throws(TrialFailure) {
      try bench.run(trial)
      finding.state = .passed
    } catch {
      finding.state = .failed
      finding.failure = error
    }
    finding.nanoseconds = SystemClock.monotonicNanoseconds() - start
    munmap(bench.memory, TrialBench.memoryBytes)
    return finding
  }
}

extension TrialBench {
  func run(_ trial: FeatureTrial) throws(TrialFailure) {
    switch trial {
    case .ring: try anyRing()
    case .deferTaskrun: try deferTaskrun()
    case .noSQArray: try noSQArray()
    case .workerAffinity: try workerAffinity()
    case .workerLimits: try workerLimits()
    case .registeredRing: try registeredRing()
    case .multishotAccept: try multishotAccept()
    case .multishotReceive: try multishotReceive()
    case .quietSends: try quietSends()
    case .directDescriptors: try directDescriptors()
    case .registeredBuffers: try registeredBuffers()
    case .linkedChains: try linkedChains()
    case .zeroCopySend: try zeroCopySend()
    case .ringMessages: try ringMessages()
    case .minWait: try minWait()
    case .receiveBundles: try receiveBundles()
    case .incrementalBuffers: try incrementalBuffers()
    case .ringResize: try ringResize()
    case .ringBusyPoll: try ringBusyPoll()
    case .submissionThread: try submissionThread()
    case .preciseWait: try preciseWait()
    case .epollBusyPoll: try epollBusyPoll()
    }
  }
}
