// The steps of the probe, in the order in which they are tried, and what a child reports of them
// through a pipe: plain numbers of a fixed size, written again after each step, so that the last
// one read tells where a child that was killed or hung had come to.

import Glibc

/// One step of the probe.
enum ProbeStep: UInt8, CaseIterable {
  case setup, operations, enter, bufferRings, wake, timedWait, receive, cancel, quietSend
  case quietSendFull, awaitedSend, accept, connect
  case fileOpen, fileWrite, fileSynchronize, fileTruncate, fileRename, fileUnlink
  case finished

  /// The step's name among the features.
  var name: String {
    switch self {
    case .setup: "setup"
    case .operations: "operations"
    case .enter: "enter"
    case .bufferRings: "buffer_rings"
    case .wake: "wake"
    case .timedWait: "timed_wait"
    case .receive: "receive"
    case .cancel: "cancel"
    case .quietSend: "quiet_send"
    case .quietSendFull: "quiet_send_full"
    case .awaitedSend: "awaited_send"
    case .accept: "accept"
    case .connect: "connect"
    case .fileOpen: "file_open"
    case .fileWrite: "file_write_durable"
    case .fileSynchronize: "file_fsync"
    case .fileTruncate: "file_ftruncate"
    case .fileRename: "file_rename"
    case .fileUnlink: "file_unlink"
    case .finished: "finished"
    }
  }

  /// What was tried, for a sentence that starts with "tried".
  var attempt: String {
    switch self {
    case .setup: "io_uring_setup with every set of flags that this engine can run on"
    case .operations: "to list the ring's operations (IORING_REGISTER_PROBE)"
    case .enter: "a no-operation through io_uring_enter"
    case .bufferRings: "to register buffer rings (IORING_REGISTER_PBUF_RING)"
    case .wake: "to end a wait through an eventfd"
    case .timedWait: "a wait with a deadline (IORING_ENTER_EXT_ARG)"
    case .receive: "a multishot receive on a socket pair"
    case .cancel: "to cancel a receive"
    case .quietSend: "a send that fits and must post no completion (IOSQE_CQE_SKIP_SUCCESS)"
    case .quietSendFull: "a send that does not fit and must post a completion"
    case .awaitedSend: "a send that must post a completion"
    case .accept: "a multishot accept"
    case .connect: "a connect to a loopback listener"
    case .fileOpen: "to open a file in the temporary directory"
    case .fileWrite: "a durable write (RWF_DSYNC)"
    case .fileSynchronize: "fdatasync"
    case .fileTruncate: "ftruncate"
    case .fileRename: "rename"
    case .fileUnlink: "unlink"
    case .finished: "everything"
    }
  }

  var isOfFiles: Bool { rawValue >= ProbeStep.fileOpen.rawValue && self != .finished }
}

/// What the child found. Crosses a pipe as bytes.
struct ProbeOutcome: BitwiseCopyable {
  /// `results` of a step that was not reached.
  static let notTried: Int32 = .max
  /// `results` of a step that the kernel answered without an error, but wrongly: beyond every
  /// errno, and a number that can be negated.
  static let wrong: Int32 = -.max

  /// The flags of the rung that all of this was tried on; 0: no rung worked.
  var setupFlags: UInt32 = 0
  /// Bits of `io_uring_params.features`.
  var kernelFeatures: UInt32 = 0
  /// The step that was begun last.
  var step: UInt8 = ProbeStep.setup.rawValue
  /// The first operation that this kernel lacks, or 255.
  var missingOperation: UInt8 = 255
  /// Features that the engine used in the self-test, and those that it was refused.
  var active: UInt64 = 0
  var refused: UInt64 = 0
  /// Features that a first child was killed or failed by, in which step, and with what result.
  var given: UInt64 = 0
  var givenStep: UInt8 = 0
  var givenResult: Int32 = 0
  /// A step of this rung, or of one before it, ended with ETIME.
  var timedOut = false
  /// By step: 0, a negated errno, `notTried` or `wrong`.
  var results:
    (
      Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32,
      Int32, Int32, Int32, Int32, Int32, Int32, Int32
    )

  init() {
    let n = Self.notTried
    results = (n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n)
  }

  subscript(_ step: ProbeStep) -> Int32 {
    get {
      withUnsafeBytes(of: results) {
        $0.loadUnaligned(fromByteOffset: Int(step.rawValue) * 4, as: Int32.self)
      }
    }
    set {
      withUnsafeMutableBytes(of: &results) {
        $0.storeBytes(of: newValue, toByteOffset: Int(step.rawValue) * 4, as: Int32.self)
      }
    }
  }

  /// The first step that the engine cannot do without and that failed.
  var firstFailure: ProbeStep? {
    ProbeStep.allCases.first {
      let result = self[$0]
      if result == 0 || result == Self.notTried || $0.isOfFiles { return false }
      return !($0 == .connect && Self.isOfTheNetwork(result))
    }
  }

  /// True when everything that the engine needs was tried and worked.
  var isUsable: Bool { firstFailure == nil && self[.connect] != Self.notTried }

  /// True where a child that was not scheduled for a while would give the same.
  func hasTimedOut(_ ending: ProbeProcess.Ending) -> Bool {
    switch ending {
    case .hung: true
    case .exited: timedOut
    case .signalled, .notStarted: false
    }
  }

  /// The features that a step relies on and that the engine can do without, if that step failed
  /// or the child did not come back from it.
  func blamedFeatures(_ ending: ProbeProcess.Ending) -> EngineFeatures {
    guard let step = ending.isExit ? firstFailure : ProbeStep(rawValue: self.step) else {
      return []
    }
    let optional: EngineFeatures =
      switch step {
      case .receive, .cancel: [.multishotReceive, .receiveBundles, .incrementalBuffers]
      case .quietSend, .quietSendFull: .quietSends
      case .accept, .connect: .multishotAccept
      default: []
      }
    return optional.intersection(EngineFeatures(rawValue: active))
  }

  /// Errors of a loopback interface that is down or absent: they say nothing of the ring.
  static func isOfTheNetwork(_ result: Int32) -> Bool {
    switch -result {
    case EADDRNOTAVAIL, ENETDOWN, ENETUNREACH, ETIMEDOUT, EHOSTUNREACH, EAFNOSUPPORT: true
    default: false
    }
  }
}
