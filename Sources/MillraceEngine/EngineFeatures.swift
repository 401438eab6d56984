// What an engine may use of the kernel, each with a name that an operator can switch it off (or on)
// by, and which the log and the status page report it under. The defaults are measurements: see
// docs/engines.md.

/// A set of optional features. An engine without any of them still keeps the whole contract.
public struct EngineFeatures: OptionSet, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  // MARK: io_uring, on by default

  /// SINGLE_ISSUER (6.0) and DEFER_TASKRUN (6.1).
  public static let deferTaskrun = EngineFeatures(rawValue: 1 << 0)
  /// NO_SQARRAY (6.6).
  public static let noSQArray = EngineFeatures(rawValue: 1 << 1)
  /// One accept for many connections (5.19).
  public static let multishotAccept = EngineFeatures(rawValue: 1 << 2)
  /// One receive for many arrivals (6.0).
  public static let multishotReceive = EngineFeatures(rawValue: 1 << 3)
  /// Sends whose success costs no completion (CQE_SKIP_SUCCESS, 5.17).
  public static let quietSends = EngineFeatures(rawValue: 1 << 4)
  /// The ring's own descriptor registered (5.18).
  public static let registeredRing = EngineFeatures(rawValue: 1 << 5)
  /// Direct descriptors in the kernel's table (5.19); without it slots are kept by the engine.
  public static let directDescriptors = EngineFeatures(rawValue: 1 << 6)
  /// Registered file buffers (5.1); without it the same buffers are used unregistered.
  public static let registeredBuffers = EngineFeatures(rawValue: 1 << 7)
  /// Chains by IOSQE_IO_LINK (5.3, direct slots in chains 5.17); without it the engine runs the
  /// steps itself.
  public static let linkedChains = EngineFeatures(rawValue: 1 << 8)
  /// IORING_OP_SENDMSG_ZC (6.1); without it `sendZeroCopy` copies.
  public static let zeroCopySend = EngineFeatures(rawValue: 1 << 9)
  /// IORING_OP_MSG_RING (5.18); without it messages go through memory and a wake.
  public static let ringMessages = EngineFeatures(rawValue: 1 << 10)
  /// Bounds for the kernel's worker threads (5.15).
  public static let workerLimits = EngineFeatures(rawValue: 1 << 11)

  // MARK: io_uring, off by default

  /// SQPOLL: a kernel thread takes submissions without a system call, and burns a CPU.
  public static let submissionThread = EngineFeatures(rawValue: 1 << 16)
  /// "N completions or T µs" (6.12): see `EngineOptions.batchCompletions`.
  public static let minWait = EngineFeatures(rawValue: 1 << 17)
  /// One completion for several received buffers (6.10).
  public static let receiveBundles = EngineFeatures(rawValue: 1 << 18)
  /// Receive buffers that are consumed bit by bit (6.12).
  public static let incrementalBuffers = EngineFeatures(rawValue: 1 << 19)
  /// A completion queue that starts small and grows (6.13).
  public static let ringResize = EngineFeatures(rawValue: 1 << 20)
  /// Kernel worker threads on the CPUs of this thread's affinity mask (5.14).
  public static let workerAffinity = EngineFeatures(rawValue: 1 << 21)

  // MARK: both engines, off by default

  /// NAPI busy polling: EPIOCSPARAMS (6.9), or IORING_REGISTER_NAPI (6.9), with
  /// SO_PREFER_BUSY_POLL.
  public static let busyPoll = EngineFeatures(rawValue: 1 << 32)

  // MARK: epoll, on by default

  /// epoll_pwait2(2) with its nanosecond timeout (5.11); without it deadlines round up to
  /// milliseconds.
  public static let preciseWait = EngineFeatures(rawValue: 1 << 40)
  /// A receive that is armed is tried at once where bytes are likely to wait.
  public static let speculativeReceive = EngineFeatures(rawValue: 1 << 41)

  /// What an engine uses where it is not told otherwise: what measurements favour.
  public static let standard: EngineFeatures = [
    .deferTaskrun, .noSQArray, .multishotAccept, .multishotReceive, .quietSends,
    .registeredRing, .directDescriptors, .registeredBuffers, .linkedChains, .zeroCopySend,
    .ringMessages, .workerLimits, .preciseWait,
  ]

  /// Every feature with its name and the engine that it concerns (nil: both), in a fixed order.
  public static let all: [(feature: EngineFeatures, name: String, engine: EngineKind?)] = [
    (.deferTaskrun, "defer_taskrun", .uring),
    (.noSQArray, "no_sqarray", .uring),
    (.multishotAccept, "multishot_accept", .uring),
    (.multishotReceive, "multishot_receive", .uring),
    (.quietSends, "quiet_sends", .uring),
    (.registeredRing, "registered_ring", .uring),
    (.directDescriptors, "direct_descriptors", .uring),
    (.registeredBuffers, "registered_buffers", .uring),
    (.linkedChains, "linked_chains", .uring),
    (.zeroCopySend, "zero_copy_send", .uring),
    (.ringMessages, "ring_messages", .uring),
    (.workerLimits, "worker_limits", .uring),
    (.submissionThread, "sqpoll", .uring),
    (.minWait, "min_wait", .uring),
    (.receiveBundles, "receive_bundles", .uring),
    (.incrementalBuffers, "incremental_buffers", .uring),
    (.ringResize, "ring_resize", .uring),
    (.workerAffinity, "worker_affinity", .uring),
    (.busyPoll, "busy_poll", nil),
    (.preciseWait, "precise_wait", .epoll),
    (.speculativeReceive, "speculative_receive", .epoll),
  ]

  /// The feature of a name, or nil.
  public init?(name: String) {
    guard let found = Self.all.first(where: { $0.name == name }) else { return nil }
    self = found.feature
  }
}
