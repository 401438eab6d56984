// What an operator switches of an engine, as plain names and numbers: this room knows no engine.
// A test of the proxy holds the names against those that the engines have.

/// What the engine uses of the kernel where that was written down; the rest is the engine's choice.
public struct EngineSettings: Sendable, Equatable {
  /// Features by name, for those that were written.
  public var features: [String: Bool] = [:]
  /// Milliseconds that a submission thread of the kernel spins without work; 1...60000.
  public var submissionThreadIdle: Int?
  /// 0...1023.
  public var submissionThreadCPU: Int?
  /// 1...4096.
  public var batchCompletions: Int?
  /// 1...100000.
  public var batchMicroseconds: Int?
  /// 1...100000.
  public var busyPollMicroseconds: Int?
  /// Packets; 1...64, because more needs CAP_NET_ADMIN (linux/eventpoll.h).
  public var busyPollBudget: Int?

  /// The longest wait of a worker that has many requests in progress; 0...10000, 0: none.
  public var coalesceMicroseconds: Int?
  /// The same as it holds: with busy polling a wait is not to take longer than it must.
  public var coalesceNanoseconds: Int64 {
    let standard = features["busy_poll"] == true ? 0 : 2000
    return Int64(coalesceMicroseconds ?? standard) * 1000
  }

  public init() {}

  /// Every switch, and whether it is on where nothing is written.
  public static let switches: [(name: String, isStandard: Bool)] = [
    ("defer_taskrun", true),
    ("no_sqarray", true),
    ("multishot_accept", true),
    ("multishot_receive", true),
    ("quiet_sends", true),
    ("registered_ring", true),
    ("direct_descriptors", true),
    ("registered_buffers", true),
    ("linked_chains", true),
    ("zero_copy_send", true),
    ("ring_messages", true),
    ("worker_limits", true),
    ("sqpoll", false),
    ("min_wait", false),
    ("receive_bundles", false),
    ("incremental_buffers", false),
    ("ring_resize", false),
    ("worker_affinity", false),
    ("threaded_writes", false),
    ("busy_poll", false),
    ("precise_wait", true),
    ("speculative_receive", false),
  ]
}
