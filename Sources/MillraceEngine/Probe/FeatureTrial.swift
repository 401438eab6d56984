// The trials of single features: which there are, in which order, and what a child reports of one. A trial
// uses its feature as the engine would, with the bare calls of the kernel, and judges by what came of it.

import Glibc

/// One feature's self-test.
enum FeatureTrial: UInt8, CaseIterable {
  /// Any ring at all: without it no other trial of io_uring is made.
  case ring
  // These two decide about the rings that the others use.
  case deferTaskrun, noSQArray
  // Before anything else makes the kernel start worker threads.
  case workerAffinity, workerLimits
  case registeredRing, multishotAccept, multishotReceive, quietSends, directDescriptors
  case registeredBuffers, linkedChains, zeroCopySend, ringMessages, minWait, receiveBundles
  case incrementalBuffers, ringResize, ringBusyPoll, submissionThread
  case preciseWait, epollBusyPoll

  var engine: EngineKind { self == .preciseWait || self == .epollBusyPoll ? .epoll : .uring }

  /// What it is the trial of; empty for `ring`.
  var feature: EngineFeatures {
    switch self {
    case .ring: []
    case .deferTaskrun: .deferTaskrun
    case .noSQArray: .noSQArray
    case .workerAffinity: .workerAffinity
    case .workerLimits: .workerLimits
    case .registeredRing: .registeredRing
    case .multishotAccept: .multishotAccept
    case .multishotReceive: .multishotReceive
    case .quietSends: .quietSends
    case .directDescriptors: .directDescriptors
    case .registeredBuffers: .registeredBuffers
    case .linkedChains: .linkedChains
    case .zeroCopySend: .zeroCopySend
    case .ringMessages: .ringMessages
    case .minWait: .minWait
    case .receiveBundles: .receiveBundles
    case .incrementalBuffers: .incrementalBuffers
    case .ringResize: .ringResize
    case .ringBusyPoll, .epollBusyPoll: .busyPoll
    case .submissionThread: .submissionThread
    case .preciseWait: .preciseWait
    }
  }

  /// The feature's name, as operators switch it.
  var name: String {
    EngineFeatures.all.first { $0.feature == feature }?.name ?? "ring"
  }

  /// Trials without whose success this one says nothing.
  var needs: [FeatureTrial] {
    switch self {
    case .ring, .preciseWait, .epollBusyPoll: []
    case .linkedChains: [.ring, .directDescriptors]
    case .ringResize: [.ring, .deferTaskrun, .noSQArray]
    default: [.ring]
    }
  }

  /// What is tried, for a sentence that starts with "tried".
  var attempt: String {
    switch self {
    case .ring: "a ring of eight entries"
    case .deferTaskrun: "completions that wait for an enter (IORING_SETUP_DEFER_TASKRUN)"
    case .noSQArray: "submissions in order (IORING_SETUP_NO_SQARRAY)"
    case .workerAffinity: "a worker thread on one CPU (IORING_REGISTER_IOWQ_AFF)"
    case .workerLimits: "two worker threads at most (IORING_REGISTER_IOWQ_MAX_WORKERS)"
    case .registeredRing: "an enter through a registered ring (IORING_REGISTER_RING_FDS)"
    case .multishotAccept: "one accept for two connections (IORING_ACCEPT_MULTISHOT)"
    case .multishotReceive: "one receive for two arrivals and an end (IORING_RECV_MULTISHOT)"
    case .quietSends: "a send that posts only its failure (IOSQE_CQE_SKIP_SUCCESS)"
    case .directDescriptors:
      "an accept into a slot, a receive there, a close (IORING_REGISTER_FILES2)"
    case .registeredBuffers: "a write and a read by registered memory (IORING_REGISTER_BUFFERS)"
    case .linkedChains: "an accept, then a receive; and a chain that breaks (IOSQE_IO_LINK)"
    case .zeroCopySend: "a send over loopback with both completions (IORING_OP_SENDMSG_ZC)"
    case .ringMessages: "a message to a second ring (IORING_OP_MSG_RING)"
    case .minWait: "a wait that ends with less after a minimum (min_wait_usec)"
    case .receiveBundles: "a receive of several buffers (IORING_RECVSEND_BUNDLE)"
    case .incrementalBuffers: "two receives into one buffer (IOU_PBUF_RING_INC)"
    case .ringResize:
      "to grow a completion queue that holds something (IORING_REGISTER_RESIZE_RINGS)"
    case .ringBusyPoll: "busy polling of devices (IORING_REGISTER_NAPI)"
    case .submissionThread:
      "a thread that takes submissions, and sleeps, and wakes (IORING_SETUP_SQPOLL)"
    case .preciseWait: "a wait of 200 microseconds (epoll_pwait2)"
    case .epollBusyPoll: "busy polling of devices (EPIOCSPARAMS)"
    }
  }
}

/// Where in a trial something was not as it must be.
enum TrialPlace: UInt8 {
  case setup, socket, registration, readingBack, submission, firstResult, secondResult, thirdResult
  case flags, content, early, notice, kept, time, after, worker

  var words: String {
    switch self {
    case .setup: "set-up"
    case .socket: "a socket to try it with"
    case .registration: "the registration"
    case .readingBack: "reading the setting back"
    case .submission: "submission"
    case .firstResult: "the first result"
    case .secondResult: "the second result"
    case .thirdResult: "the third result"
    case .flags: "the flags of a completion"
    case .content: "the bytes"
    case .early: "early completions"
    case .notice: "the notice that memory is free"
    case .kept: "what was there before"
    case .time: "the time that it took"
    case .after: "an operation after it"
    case .worker: "the worker's CPUs"
    }
  }
}

/// Why a trial failed. No string: it is thrown in the child and told as bytes.
struct TrialFailure: Error, BitwiseCopyable {
  /// A negated errno, or `ProbeOutcome.wrong`.
  var code: Int32
  var place: TrialPlace
  /// Of a wrong answer.
  var got: Int64 = 0
  var wanted: Int64 = 0
}

/// What became of one trial. Crosses a pipe as bytes.
struct TrialFinding: BitwiseCopyable {
  enum State: UInt8 {
    case notTried
    /// The last word of a child that did not come back.
    case begun
    case passed, failed
    /// A child was killed by a signal (`failure.code`), or hung.
    case killed, hung
    /// Another trial, that this one builds on (`failure.code`), did not pass.
    case pointless
    /// There is no time left, or no child to try it in (`failure.code`, an errno).
    case givenUp
  }

  var trial: UInt8
  var state: State = .notTried
  var failure = TrialFailure(code: 0, place: .setup)
  var nanoseconds: Int64 = 0

  init(_ trial: FeatureTrial) { self.trial = trial.rawValue }

  /// True where the feature was used and did not do what it must; false where it could not be tried. A
  /// machine without a loopback interface says nothing of zero-copy sends.
  var isRefusal: Bool {
    switch state {
    case .killed, .hung: true
    case .failed: failure.place != .socket
    case .notTried, .begun, .passed, .pointless, .givenUp: false
    }
  }

  /// True where a process that was not scheduled for a while would give the same.
  var timedOut: Bool {
    switch state {
    case .hung: true
    case .givenUp: failure.code == 0
    case .failed: nanoseconds >= TrialBench.timeoutNanoseconds
    case .notTried, .begun, .passed, .killed, .pointless: false
    }
  }

  /// For `pointless`: true of the trial that this one builds on.
  func needs(_ other: TrialFinding) -> Bool { Int32(other.trial) == failure.code }

  /// Why the feature is not used; empty for a trial that passed.
  var cause: String {
    let trial = FeatureTrial(rawValue: trial) ?? .ring
    switch state {
    case .passed: return ""
    case .notTried: return "not tried"
    case .givenUp where failure.code != 0:
      return "not tried: cannot fork a child process: \(ErrorText.full(failure.code))"
    case .begun, .givenUp: return "not tried: the self-test timed out"
    case .pointless:
      let basis = FeatureTrial(rawValue: UInt8(truncatingIfNeeded: failure.code)) ?? .ring
      return basis == .ring ? "not tried: no ring" : "needs \(basis.name)"
    case .hung: return "tried \(trial.attempt): no result within half a second"
    case .killed:
      let by =
        failure.code == SIGSYS
        ? "a seccomp filter killed the process (SIGSYS)"
        : "the process was killed by signal \(failure.code)"
      return "tried \(trial.attempt): \(by)"
    case .failed where failure.place == .socket:
      return "not tried: \(failure.place.words): \(ErrorText.full(-failure.code))"
    case .failed: return "tried \(trial.attempt): \(failure.place.words): \(words(trial))"
    }
  }

  private func words(_ trial: FeatureTrial) -> String {
    switch failure.code {
    case ProbeOutcome.wrong where failure.got == failure.wanted: "wrong values"
    case ProbeOutcome.wrong: "\(failure.got) instead of \(failure.wanted)"
    case -ETIME: "no result in time"
    default: FeatureUse.words(trial.feature, -failure.code)
    }
  }
}
