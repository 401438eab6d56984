// What an engine is made from: which one, how large, and what it may use of the kernel.

/// Which engine runs.
public enum EngineKind: String, Sendable, CaseIterable {
  /// Completions by the kernel: `Uring`. Linux 6.1 and up, where nothing forbids it.
  case uring = "io_uring"
  /// Completions made from readiness: `Epoll`. Every kernel.
  case epoll
  /// In a world of its own, with a clock, a network and a disk made from a seed.
  case simulated
}

/// Limits and sizes of an engine. Every one bounds a queue.
public struct EngineOptions: Sendable {
  /// Highest file descriptor number plus one that this engine may meet.
  public var descriptorLimit = 65_536
  /// Small, hot receive buffers: 4 KiB, because a larger one per socket falls out of the cache.
  public var smallBufferSize = 4096
  /// How many of them, at most 32,768.
  public var smallBuffers = 2048
  /// Buffers for a stream that fills the small ones. 64 KiB and up halve the system calls per
  /// byte once more; see docs/performance.md.
  public var largeBufferSize = 131_072
  /// How many of them, at most 32,768.
  public var largeBuffers = 128
  /// Sends in flight or in the making.
  public var frames = 131_072
  /// File operations in flight.
  public var fileOperations = 64
  /// Submission queue entries (io_uring).
  public var submissionEntries = 1024
  /// Completion queue entries (io_uring); receives in flight are bounded by the buffers.
  public var completionEntries = 16_384
  /// Readiness events per epoll_wait(2).
  public var eventsPerWait = 512
  /// Threads for file operations (epoll; io_uring with `EngineFeatures.threadedWrites`), and bound for io-wq
  /// workers (io_uring).
  public var fileThreads = 2
  /// What the probe found, so that set-up starts on a rung that works.
  public var setupFlags: UInt32 = 0
  /// What to use of the kernel where it has it.
  public var features = EngineFeatures.standard
  /// Of them, what a self-test did not get through: see `apply`.
  var refusals: [FeatureRefusal] = []
  /// Timeouts, polls, no-operations, messages, splices, reported shutdowns and closes in flight.
  public var controlOperations = 256
  /// Chains in flight that the engine runs itself: all on epoll, and on io_uring those of an engine
  /// without `EngineFeatures.linkedChains`. One more traps: the caller keeps to this limit.
  public var chains = 256
  /// Slots for direct descriptors; 0: none.
  public var directDescriptors = 64
  /// Registered file buffers; 0: none.
  public var registeredBuffers = 0
  /// Bytes of each registered buffer, a multiple of 4096.
  public var registeredBufferSize = 65_536
  /// Frames of at least this many bytes are sent without copying by `sendZeroCopy`.
  public var zeroCopyThreshold = 16_384
  /// Relays in flight, each with a pipe of `relayPipeBytes`.
  public var relays = 1024
  /// Bytes of each relay's pipe (F_SETPIPE_SZ); the kernel rounds up to a power of two.
  public var relayPipeBytes = 262_144
  /// With `EngineFeatures.minWait`: a wait returns with this many completions, or with any once
  /// this many microseconds have passed (Linux 6.12).
  public var batchCompletions = 8
  /// Microseconds after which a wait returns with fewer than `batchCompletions`.
  public var batchMicroseconds = 50
  /// With `EngineFeatures.submissionThread`: how long the kernel's thread spins without work,
  /// in milliseconds.
  public var submissionThreadIdle = 50
  /// The CPU that the submission thread is pinned to; nil: none.
  public var submissionThreadCPU: Int?
  /// With `EngineFeatures.busyPoll`: microseconds to poll the device's queue before sleeping.
  public var busyPollMicroseconds = 50
  /// Packets per poll of the device; more than 64 needs CAP_NET_ADMIN.
  public var busyPollBudget = 8

  /// The defaults: one busy proxy worker.
  public init() {}
}
