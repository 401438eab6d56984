// What an engine may use of the kernel, each with a name that an operator can switch it off (or on)
// by, and which the log and the status page report it under. The defaults are measurements: the figure
// beside each is the CPU time with it over that without (`make bench-features`, docs/performance.md).

/// A set of optional features. An engine without any of them still keeps the whole contract.
public struct EngineFeatures: OptionSet, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  // MARK: io_uring, on by default

  /// SINGLE_ISSUER (6.0) and DEFER_TASKRUN (6.1).
  /// On: 0.9 of the CPU over 1,000 connections; a message to another engine costs 1.2.
  public static let deferTaskrun = EngineFeatures(rawValue: 1 << 0)
  /// NO_SQARRAY (6.6).
  /// On: no difference in time (0.99 of a no-operation), less memory.
  public static let noSQArray = EngineFeatures(rawValue: 1 << 1)
  /// One accept for many connections (5.19).
  /// On: no difference found (1.06, 0.92 to 1.22) and an entry fewer per connection.
  public static let multishotAccept = EngineFeatures(rawValue: 1 << 2)
  /// One receive for many arrivals (6.0).
  /// On: 0.87 over 1,000 connections, 0.47 for messages of 64 KiB.
  public static let multishotReceive = EngineFeatures(rawValue: 1 << 3)
  /// Sends whose success costs no completion (CQE_SKIP_SUCCESS, 5.17).
  /// On: no difference found (0.98 to 1.01), half the completions.
  public static let quietSends = EngineFeatures(rawValue: 1 << 4)
  /// The ring's own descriptor registered (5.18).
  /// On: 0.94 of an empty enter.
  public static let registeredRing = EngineFeatures(rawValue: 1 << 5)
  /// Direct descriptors in the kernel's table (5.19); without it slots are kept by the engine.
  /// On: no difference found (1.01 to 1.05); chains need it.
  public static let directDescriptors = EngineFeatures(rawValue: 1 << 6)
  /// Registered file buffers (5.1); without it the same buffers are used unregistered.
  /// On: 0.55 of O_DIRECT reads of 64 KiB, 0.92 of 4 KiB.
  public static let registeredBuffers = EngineFeatures(rawValue: 1 << 7)
  /// Chains by IOSQE_IO_LINK (5.3, direct slots in chains 5.17); without it the engine runs the
  /// steps itself.
  /// On: no difference in CPU (0.98 to 1.01), one turn for a chain.
  public static let linkedChains = EngineFeatures(rawValue: 1 << 8)
  /// IORING_OP_SENDMSG_ZC (6.1); without it `sendZeroCopy` copies.
  /// On, though it costs 1.1 to 1.5 where the kernel copies after all (loopback, veth): no device
  /// that does not was to be had, and only who calls `sendZeroCopy` pays.
  public static let zeroCopySend = EngineFeatures(rawValue: 1 << 9)
  /// IORING_OP_MSG_RING (5.18); without it messages go through memory and a wake.
  /// On: one system call fewer per message than an eventfd.
  public static let ringMessages = EngineFeatures(rawValue: 1 << 10)
  /// Bounds for the kernel's worker threads (5.15).
  /// On, as a bound: 1.37 with 256 fsyncs on 2 workers, 0.93 on 8.
  public static let workerLimits = EngineFeatures(rawValue: 1 << 11)

  // MARK: io_uring, off by default

  /// SQPOLL: a kernel thread takes submissions without a system call, and burns a CPU.
  /// Off: 2.0 to 6.0 for an echo.
  public static let submissionThread = EngineFeatures(rawValue: 1 << 16)
  /// "N completions or T µs" (6.12): see `EngineOptions.batchCompletions`.
  /// Off: no difference in CPU (0.97 to 1.05), and few connections wait for T.
  public static let minWait = EngineFeatures(rawValue: 1 << 17)
  /// One completion for several received buffers (6.10).
  /// Off: 0.90 for messages of 64 KiB and 1.02 for 64 B, against a bug of 6.13 to 6.15.
  public static let receiveBundles = EngineFeatures(rawValue: 1 << 18)
  /// Receive buffers that are consumed bit by bit (6.12).
  /// Off: no difference found (0.97 to 1.03).
  public static let incrementalBuffers = EngineFeatures(rawValue: 1 << 19)
  /// A completion queue that starts small and grows (6.13).
  /// Off: a start takes 0.6 of the time, its first burst costs 1.5 of the CPU.
  public static let ringResize = EngineFeatures(rawValue: 1 << 20)
  /// Kernel worker threads on the CPUs of this thread's affinity mask (5.14).
  /// Off: no difference found (1.00 to 1.03).
  public static let workerAffinity = EngineFeatures(rawValue: 1 << 21)

  /// Writes and synchronisation of files by threads that block, as on epoll, instead of by the ring.
  /// Off: it costs a thread's wake for each. For a CPU that others keep busy, where a thread that waits for
  /// the disk is the first to run again: see docs/performance.md, "With another busy process on the same CPU".
  public static let threadedWrites = EngineFeatures(rawValue: 1 << 22)

  // MARK: both engines, off by default

  /// NAPI busy polling: EPIOCSPARAMS (6.9), or IORING_REGISTER_NAPI (6.9), with
  /// SO_PREFER_BUSY_POLL.
  /// Off: 1.0 to 1.1 over a pair without interrupts.
  public static let busyPoll = EngineFeatures(rawValue: 1 << 32)

  // MARK: epoll, on by default

  /// epoll_pwait2(2) with its nanosecond timeout (5.11); without it deadlines round up to
  /// milliseconds.
  /// On: a wait of 100 µs takes 0.16 of the time.
  public static let preciseWait = EngineFeatures(rawValue: 1 << 40)

  // MARK: epoll, off by default

  /// A receive that is armed is tried at once where bytes are likely to wait.
  /// Off: no difference found (0.96 to 1.03).
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
    (.threadedWrites, "threaded_writes", .uring),
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
