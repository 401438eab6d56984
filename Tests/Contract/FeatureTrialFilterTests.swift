// Refusals that are real: filters of system calls, which refuse (or kill at) one operation of
// io_uring_register(2), one ioctl(2), one call. Exactly the feature that needs it is given up, and the engines
// that are made under the same filter leave it alone.

import CLinux
import Glibc
import Testing

@testable import MillraceEngine

extension Contract {
  @Suite(.enabled(if: isWholeKernel, "this kernel has not every feature"))
  struct FeatureTrialsUnderFilters {
    /// A system call that a filter refuses, by the low half of its second argument.
    struct Refusal: Sendable, CustomTestStringConvertible {
      var call: UInt32
      var operation: UInt32
      var trial: FeatureTrial
      var kills: Bool
      var testDescription: String { "\(trial) \(kills ? "killed" : "EPERM")" }

      static let all: [Refusal] = [false, true].flatMap { kills in
        let register: [(Int, FeatureTrial)] = [
          (CLINUX_REGISTER_BUFFERS, .registeredBuffers),
          (CLINUX_REGISTER_FILES2, .directDescriptors),
          (CLINUX_REGISTER_IOWQ_AFF, .workerAffinity),
          (CLINUX_REGISTER_IOWQ_MAX_WORKERS, .workerLimits),
          (CLINUX_REGISTER_RING_FDS, .registeredRing),
          (CLINUX_REGISTER_NAPI, .ringBusyPoll),
          (CLINUX_REGISTER_RESIZE_RINGS, .ringResize),
        ]
        let others: [Refusal] = [
          // EPIOCSPARAMS, _IOW(0x8A, 1, 8 bytes).
          Refusal(
            call: ioctlCall, operation: 0x4008_8A01, trial: .epollBusyPoll, kills: kills)
        ]
        return others
          + register.map {
            Refusal(call: registerCall, operation: UInt32($0.0), trial: $0.1, kills: kills)
          }
      }
    }

    /// io_uring_register(2), on every architecture.
    static let registerCall: UInt32 = 427
    #if arch(x86_64)
      static let ioctlCall: UInt32 = 16
    #else
      static let ioctlCall: UInt32 = 29
    #endif

    /// One instruction of classic BPF, struct sock_filter.
    static func instruction(_ code: UInt64, _ yes: UInt64, _ no: UInt64, _ k: UInt64) -> UInt64 {
      code | yes << 16 | no << 24 | k << 32
    }

    /// Refuses one call: with EPERM, or by the death of the process.
    static func filter(_ refusal: Refusal) -> Int32 {
      let (load, equal, answer): (UInt64, UInt64, UInt64) = (0x20, 0x15, 0x06)
      // struct seccomp_data: the number at 0, the second argument at 24 (little endian).
      let program = [
        instruction(load, 0, 0, 0), instruction(equal, 0, 3, UInt64(refusal.call)),
        instruction(load, 0, 0, 24), instruction(equal, 0, 1, UInt64(refusal.operation)),
        instruction(answer, 0, 0, refusal.kills ? 0x8000_0000 : 0x0005_0000 | UInt64(EPERM)),
        instruction(answer, 0, 0, 0x7FFF_0000),
      ]
      return clinux_filter_calls(program, UInt16(program.count))
    }

    /// What a process under a filter tells.
    struct Testimony: BitwiseCopyable {
      var filter: Int32 = -1
      var isUsable = false
      /// Bits of trials that did not pass.
      var failed: UInt64 = 0
      /// Features that the engines, once made, report as refused; and those of `on`.
      var ringRefused: UInt64 = 0
      var ringOn: UInt64 = 0
      var epollRefused: UInt64 = 0
      var isDone = false
    }

    static func features(_ list: [ProbeFeature], _ state: ProbeFeature.State) -> UInt64 {
      list.filter { $0.state == state }.reduce(into: EngineFeatures()) {
        $0.formUnion(EngineFeatures(name: $1.name) ?? [])
      }.rawValue
    }

    /// Probes, and makes both engines, in a process of its own under a filter.
    static func testify(_ refusal: Refusal) -> (Testimony, ProbeProcess.Ending) {
      var heard = Testimony()
      let limit: Int64 = 2_500_000_000
      let ending = ProbeProcess.run(
        silenceNanoseconds: limit, deadline: SystemClock.monotonicNanoseconds() + limit,
        hear: { heard = $0 },
        work: { pipe in
          var said = Testimony()
          said.filter = filter(refusal)
          ProbeProcess.tell(said, pipe)
          let report = ProbeReport.run(FeatureTrialing.options, also: .receiveBundles)
          said.isUsable = report.usable
          for trial in FeatureTrialing.failed(report.trials) {
            said.failed |= 1 << UInt64(trial.rawValue)
          }
          ProbeProcess.tell(said, pipe)
          var forRing = FeatureTrialing.options
          forRing.apply(report)
          if let engine = try? Uring(forRing) {
            said.ringRefused = features(engine.features, .refused)
            said.ringOn = features(engine.features, .on)
          }
          var forEpoll = FeatureTrialing.options
          forEpoll.apply(report.trials, to: .epoll)
          if let engine = try? Epoll(forEpoll) {
            said.epollRefused = features(engine.features, .refused)
          }
          said.isDone = true
          ProbeProcess.tell(said, pipe)
        })
      return (heard, ending)
    }

    static func bits(_ trials: [FeatureTrial]) -> UInt64 {
      trials.reduce(0) { $0 | 1 << UInt64($1.rawValue) }
    }

    @Test(.tags(.failure), arguments: Refusal.all)
    func aRefusedCallCostsExactlyWhatNeedsItAndTheEngineLeavesItAlone(_ refusal: Refusal) {
      let (said, ending) = Self.testify(refusal)
      #expect(said.filter == 0)
      // Had the engine made the call again, the filter would have killed it.
      #expect(ending.isExit && said.isDone, "\(ending)")
      #expect(said.isUsable)
      let fallen = FeatureTrialing.fallen(refusal.trial)
      #expect(said.failed == Self.bits(fallen))
      let isOfRing = refusal.trial.engine == .uring
      let refused = refusal.trial.feature
      #expect(said.ringRefused == (isOfRing ? refused.rawValue : 0))
      #expect(said.epollRefused == (isOfRing ? 0 : refused.rawValue))
      var expected = FeatureTrialing.options.features.subtracting([
        .preciseWait, .speculativeReceive,
      ])
      if isOfRing { expected.subtract(fallen.reduce(into: []) { $0.formUnion($1.feature) }) }
      #expect(said.ringOn == expected.rawValue)
    }

    @Test(.tags(.failure), arguments: [false, true])
    func withoutPreciseWaitsEpollTakesTheOlderCall(_ kills: Bool) {
      // epoll_pwait2(2), on every architecture.
      let epollWait: UInt32 = 441
      var heard = Testimony()
      let ending = ProbeProcess.run(
        silenceNanoseconds: 2_500_000_000,
        deadline: SystemClock.monotonicNanoseconds() + 2_500_000_000, hear: { heard = $0 },
        work: { pipe in
          var said = Testimony()
          said.filter = Self.filter(epollWait, kills: kills)
          let trials = FeatureTrials.run(FeatureTrialing.options, for: [.epoll])
          for trial in FeatureTrialing.failed(trials) { said.failed |= 1 << UInt64(trial.rawValue) }
          var options = FeatureTrialing.options
          options.apply(trials, to: .epoll)
          guard var engine = try? Epoll(options) else { return }
          engine.refreshClocks()
          engine.wait(until: engine.now + 1_000_000)
          said.epollRefused = Self.features(engine.features, .refused)
          said.isDone = true
          ProbeProcess.tell(said, pipe)
        })
      #expect(heard.filter == 0 && heard.isDone && ending.isExit, "\(ending)")
      #expect(heard.failed == Self.bits([.preciseWait]))
      #expect(heard.epollRefused == EngineFeatures.preciseWait.rawValue)
    }

    /// Refuses a call whatever its arguments are.
    static func filter(_ call: UInt32, kills: Bool) -> Int32 {
      let program = [
        instruction(0x20, 0, 0, 0), instruction(0x15, 0, 1, UInt64(call)),
        instruction(0x06, 0, 0, kills ? 0x8000_0000 : 0x0005_0000 | UInt64(EPERM)),
        instruction(0x06, 0, 0, 0x7FFF_0000),
      ]
      return clinux_filter_calls(program, UInt16(program.count))
    }

    @Test(.tags(.failure), arguments: [false, true])
    func withoutBufferRingsThereIsNoEngineAndTheirTrialsSayWhy(_ kills: Bool) {
      let refusal = Refusal(
        call: Self.registerCall, operation: UInt32(CLINUX_REGISTER_PBUF_RING),
        trial: .multishotReceive,
        kills: kills)
      let (said, ending) = Self.testify(refusal)
      #expect(said.filter == 0 && !said.isUsable)
      let fallen: [FeatureTrial] = [.multishotReceive, .receiveBundles, .incrementalBuffers]
      #expect(said.failed == Self.bits(fallen))
      // The engine was made all the same in this test, and the filter is real.
      #expect(ending.isExit != kills && said.isDone != kills)
    }
  }
}
