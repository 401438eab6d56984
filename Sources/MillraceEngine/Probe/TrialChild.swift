// Trials in a child, one after the other, with bounds on the time of each and of all.

import CLinux
import Glibc

enum TrialChild {
  /// How long one trial may take: every wait in one is bounded by less, so a longer one hangs in the kernel.
  static let silenceNanoseconds: Int64 = 500_000_000
  /// All of them. What is left after it counts as refused.
  static let totalNanoseconds: Int64 = 1_500_000_000

  /// - Parameter wanted: what the engine will use: its rings are made without the rest.
  /// - Returns: a finding for each trial.
  static func run(
    _ trials: [FeatureTrial], _ settings: TrialSettings, _ wanted: EngineFeatures
  ) -> [TrialFinding] {
    var findings = trials.map { TrialFinding($0) }
    let deadline = SystemClock.monotonicNanoseconds() + totalNanoseconds
    var next = 0
    while next < trials.count {
      let (begin, known) = (next, findings)
      let ending = ProbeProcess.run(
        silenceNanoseconds: silenceNanoseconds, deadline: deadline,
        hear: { (finding: TrialFinding) in
          findings[next].state = finding.state
          findings[next].failure = finding.failure
          findings[next].nanoseconds = finding.nanoseconds
          if finding.state != .begun { next += 1 }
        },
        work: { pipe in
          var findings = known
          var settings = settings
          for i in 0..<begin { learn(findings[i], wanted, &settings) }
          for i in begin..<trials.count {
            findings[i].state = .begun
            ProbeProcess.tell(findings[i], pipe)
            findings[i] = attempt(trials[i], findings, settings)
            learn(findings[i], wanted, &settings)
            ProbeProcess.tell(findings[i], pipe)
          }
        })
      guard next < trials.count else { break }
      // The trial that the child did not come back from; none, where there was no child.
      switch ending {
      case .signalled(let number):
        findings[next].state = .killed
        findings[next].failure.code = number
      case .hung where SystemClock.monotonicNanoseconds() < deadline:
        findings[next].state = .hung
      default:
        var code: Int32 = 0
        if case .notStarted(let error) = ending { code = error }
        for i in next..<trials.count {
          findings[i].state = .givenUp
          findings[i].failure.code = code
        }
        return findings
      }
      next += 1
    }
    return findings
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
    _ trial: FeatureTrial, _ findings: [TrialFinding], _ settings: TrialSettings
  ) -> TrialFinding {
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
      case .silence: while true { pause() }
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
