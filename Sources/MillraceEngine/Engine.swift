// The seam. Code above it says "do this and tell me"; whether the kernel completes the operation
// (io_uring) or the engine does after a readiness edge (epoll) cannot be told from above.

/// A completion engine: one ring or one epoll instance, owned by one thread.
///
/// Contract, the same for every engine:
/// - Each operation has exactly one terminal completion; only it frees what the operation held.
/// - Nothing is reported from inside a submission; completions are taken with `next`.
/// - At most one receive and one send are in flight per socket.
/// - `close` is called when no operation of that descriptor is in flight.
/// - Receive memory is the engine's: an idle socket pins no buffer.
public protocol Engine: SocketOperations, DatagramOperations, FileOperations, ControlOperations,
  ~Copyable
{
  /// Makes an engine, which belongs to the calling thread from now on.
  /// - Throws: `EngineFailure` with the system call that failed and its errno.
  init(_ options: EngineOptions) throws(EngineFailure)

  /// Which engine this is.
  var kind: EngineKind { get }
  /// What this engine uses of the kernel, by name: on, off or refused, and why.
  var features: [ProbeFeature] { get }

  // MARK: Memory

  /// The bytes of a completion with `hasBytes`. Once: a second call traps, however late; and
  /// always, because until then the buffer counts as leased.
  mutating func takeSlice(_ completion: Completion) -> BufferSlice
  /// A large buffer for the caller's own use (a TLS record, plaintext), or nil when none is free.
  mutating func lease() -> BufferSlice?
  /// Cold memory of the given size, counted.
  mutating func coldMemory(_ size: Int) -> BufferSlice
  /// True when fewer than a quarter of the buffers that can be held are free: held ones should
  /// be copied to cold memory.
  var isLowOnBuffers: Bool { get }
  /// An empty frame, or nil when all are in use.
  mutating func frame() -> SendFrame?

  // MARK: The loop

  /// Submits what is pending and waits for completions until `deadline` (monotonic nanoseconds,
  /// nil: for ever; in the past: not at all). One system call in the usual turn. May return
  /// early with nothing to report: a wake, or a signal.
  mutating func wait(until deadline: Int64?)
  /// The same for a loop that has much to do and would rather do it in few turns: fewer than `count`
  /// completions of the kernel do not end the wait before `limit`. At `limit` or at `deadline` it
  /// returns with what is there, which may be nothing. Sends that are submitted with it do not count.
  ///
  /// Before `limit` a waker may not end it; on epoll, `count` does not either. It is the usual wait where the
  /// last turn has left something to report, and where a thread of the kernel takes submissions
  /// (`EngineFeatures.submissionThread`).
  /// - Parameters:
  ///   - count: completions; with 1 or less it is the same wait as without.
  ///   - limit: monotonic nanoseconds, a millisecond or so away; in the past: as without.
  mutating func wait(until deadline: Int64?, coalescing count: Int, before limit: Int64)
  /// Submits what is pending, without waiting: for a loop that has more to do before its next wait, and wants what
  /// it has submitted to begin. What ends by that may be reported in this turn, or in the next one.
  mutating func submit()
  /// The next completion of this turn.
  mutating func next() -> Completion?
  /// A handle with which any thread can end `wait`.
  var waker: Waker { get }

  // MARK: The world

  /// Monotonic nanoseconds, read once per turn.
  var now: Int64 { get }
  /// Microseconds since the epoch, read once per turn.
  var wallMicroseconds: Int64 { get }
  /// Reads both clocks again.
  mutating func refreshClocks()
  /// Fills `room` with random bytes: the machine's, or those of the simulated world's seed.
  mutating func randomBytes(_ room: UnsafeMutableRawBufferPointer)

  /// Gauges and counters as of now.
  var counters: EngineCounters { get }
}

/// An engine that could not be set up.
public struct EngineFailure: Error, Sendable, CustomStringConvertible {
  /// Which engine was to be made.
  public let kind: EngineKind
  /// The call that failed.
  public let failure: SystemFailure
  public var description: String { "\(kind.rawValue): \(failure)" }
}
