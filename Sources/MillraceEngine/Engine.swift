// The seam. Code above it says "do this and tell me"; whether the kernel completes the operation
// (io_uring) or the engine does after a readiness edge (epoll) cannot be told from above.

import CLinux
import Glibc

/// A file descriptor that an engine made. The engine that made it is the only one to use it.
public struct Descriptor: Equatable, Sendable {
  public let rawValue: Int32
  @inline(__always)
  public init(rawValue: Int32) { self.rawValue = rawValue }
  /// False for `none`, and for what a failed operation would have made.
  @inline(__always)
  public var isValid: Bool { rawValue >= 0 }
  /// No descriptor: -1.
  public static let none = Descriptor(rawValue: -1)

  /// Set in the number of a direct slot.
  static let directBit: Int32 = 1 << 30
  /// A slot in the engine's table of registered files instead of a number of the process's: other
  /// system calls cannot use it.
  @inline(__always)
  public var isDirect: Bool { rawValue >= Self.directBit }
  /// The place in the table. - Precondition: `isDirect`.
  @inline(__always)
  var slot: Int32 { rawValue & ~Self.directBit }
  init(slot: Int) { rawValue = Self.directBit | Int32(slot) }
}

/// What a receive asks for.
public enum ReceiveMode: Sendable {
  /// Stays armed; each arrival is reported in a small hot buffer, until end of stream, an error
  /// or `stopReceiving`.
  case stream
  /// One arrival in a large buffer, then the operation has ended: the pace of a body is set by
  /// whoever asks again.
  case once
}

/// When the success of a send must be reported.
public enum SendUrgency: Sendable {
  /// With the next event, whatever it is: nothing waits for this send. Costs no completion of
  /// the kernel.
  case quiet
  /// As soon as it has happened.
  case awaited
}

/// Which side of a connection shutdown(2) ends.
public enum ShutdownDirection: Sendable {
  /// SHUT_RD: a receive ends with 0 as soon as what has arrived is read.
  case receive
  /// SHUT_WR: the peer sees the end of the stream.
  case send
  /// SHUT_RDWR.
  case both
}

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
  /// without `EngineFeatures.linkedChains`. One more is a precondition that traps.
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

/// An operator's view of an engine: gauges and counters.
public struct EngineCounters: Sendable {
  /// Buffers that somebody outside the engine holds, now.
  public var leasedBuffers = 0
  /// Bytes of memory outside the pools, now.
  public var coldBytes = 0
  /// The most that `coldBytes` has been, of each pool by itself and summed.
  public var coldBytesHighest = 0
  /// Sends in the making or in flight, now.
  public var framesInUse = 0
  /// Operations that have not had their terminal completion.
  public var operationsInFlight = 0
  /// Calls of `wait`.
  public var turns = 0
  /// Those that waited for several completions (`wait(until:coalescing:before:)`).
  public var coalescedWaits = 0
  /// System calls on the path of data; those of set-up are not counted.
  public var systemCalls = 0
  /// Completions of the kernel; on epoll, readiness events.
  public var completions = 0
  /// Bytes that the kernel copied between sockets and this engine's buffers, both ways; a send's when it ends.
  /// Excludes bytes moved by splice(2), zero-copy sends that copied nothing, and file operations.
  public var bytesCopied = 0
  /// Receives that waited because no buffer was free.
  public var receivesStarved = 0
  /// Receives that the kernel had lost the end of, and that the engine found and armed again.
  public var receivesRevived = 0
  /// Sends that needed more than one try: a measure of slow readers.
  public var sendsShort = 0
  /// Frames whose bytes were copied out of the pools because buffers were few.
  public var framesEvacuated = 0
  /// Times that the submission queue was full within a turn and was submitted early.
  public var submissionQueueFull = 0
  /// Times that the completion queue was full; should stay 0.
  public var completionQueueOverflows = 0
  /// Times that the completion queue was doubled (`EngineFeatures.ringResize`).
  public var completionQueueGrowths = 0
  /// Times that the rings were halved at set-up because memory was short.
  public var ringReductions = 0
  /// Frames that were asked for when all were in use.
  public var frameRefusals = 0
  /// Connections closed at once because their number was beyond `descriptorLimit`.
  public var connectionsRefused = 0
  /// Control operations that ended with ENOBUFS because all their slots were in use.
  public var operationsRefused = 0
  /// Direct slots that were asked for when none was free.
  public var slotRefusals = 0
  /// Registered buffers that were asked for when all were out.
  public var registeredBufferRefusals = 0
  /// Direct slots that are taken, now.
  public var directDescriptorsInUse = 0
  /// Registered buffers that are out, now.
  public var registeredBuffersInUse = 0
  /// Times that a kernel thread had to be woken to take submissions.
  public var submissionThreadWakes = 0
  /// Messages that another engine or thread sent here.
  public var messages = 0
  /// Mailboxes of other engines that this one keeps for its messages, now; at most 64.
  public var correspondents = 0
  /// Times that one of them had to make room for another.
  public var correspondentsReplaced = 0
}

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

/// A system call that failed during set-up.
public struct SystemFailure: Error, Sendable, CustomStringConvertible {
  /// The errno, positive.
  public let code: Int32
  /// The call and what it was about.
  public let operation: String

  /// A failure of `operation` with a positive errno.
  public init(code: Int32, operation: String) {
    self.code = code
    self.operation = operation
  }

  /// The errno in words, strerror(3).
  public var reason: String { String(cString: strerror(code)) }
  public var description: String { "\(operation): \(reason)" }
}

/// An engine that could not be set up.
public struct EngineFailure: Error, Sendable, CustomStringConvertible {
  /// Which engine was to be made.
  public let kind: EngineKind
  /// The call that failed.
  public let failure: SystemFailure
  public var description: String { "\(kind.rawValue): \(failure)" }
}
