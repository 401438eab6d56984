// The seam. Code above it says "do this and tell me"; whether the kernel completes the operation
// (io_uring) or the engine does after a readiness edge (epoll) cannot be told from above.

import CLinux
import Glibc

/// A file descriptor that an engine made. The engine that made it is the only one to use it.
public struct Descriptor: Equatable, Sendable {
  public let rawValue: Int32
  @inline(__always)
  public init(rawValue: Int32) { self.rawValue = rawValue }
  @inline(__always)
  public var isValid: Bool { rawValue >= 0 }
  public static let none = Descriptor(rawValue: -1)
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

public enum ShutdownDirection: Sendable { case receive, send, both }

/// Which engine runs.
public enum EngineKind: String, Sendable, CaseIterable {
  case uring = "io_uring"
  case epoll
}

/// Limits and sizes of an engine. Every one bounds a queue.
public struct EngineOptions: Sendable {
  /// Highest file descriptor number plus one that this engine may meet.
  public var descriptorLimit = 65_536
  /// Small, hot receive buffers: 4 KiB, because a larger one per socket falls out of the cache.
  public var smallBufferSize = 4096
  public var smallBuffers = 2048
  /// Buffers for a stream that fills the small ones. 64 KiB and up halve the system calls per
  /// byte once more; see docs/performance.md.
  public var largeBufferSize = 131_072
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
  /// Threads for file operations (epoll), and bound for io-wq workers (io_uring).
  public var fileThreads = 2
  /// What the probe found, so that set-up starts on a rung that works.
  public var setupFlags: UInt32 = 0

  public init() {}
}

/// An operator's view of an engine: gauges and counters.
public struct EngineCounters: Sendable {
  public var leasedBuffers = 0
  public var coldBytes = 0
  public var framesInUse = 0
  /// Operations that have not had their terminal completion.
  public var operationsInFlight = 0
  public var turns = 0
  public var systemCalls = 0
  public var completions = 0
  /// Receives that waited because no buffer was free.
  public var receivesStarved = 0
  public var sendsShort = 0
  public var framesEvacuated = 0
  public var submissionQueueFull = 0
  public var completionQueueOverflows = 0
  public var frameRefusals = 0
  /// Connections closed at once because their number was beyond `descriptorLimit`.
  public var connectionsRefused = 0
}

/// A completion engine: one ring or one epoll instance, owned by one thread.
///
/// Contract, the same for every engine:
/// - Each operation has exactly one terminal completion; only it frees what the operation held.
/// - Nothing is reported from inside a submission; completions are taken with `next`.
/// - At most one receive and one send are in flight per socket.
/// - `close` is called when no operation of that descriptor is in flight.
/// - Receive memory is the engine's: an idle socket pins no buffer.
public protocol Engine: ~Copyable {
  init(_ options: EngineOptions) throws(EngineFailure)

  var kind: EngineKind { get }

  // MARK: Sockets

  /// A listening socket, bound with SO_REUSEADDR and, for IP addresses, SO_REUSEPORT if asked.
  mutating func listen(
    _ address: SocketAddress, backlog: Int32, reusePort: Bool
  ) throws(SystemFailure) -> Descriptor
  /// Accepts until `stopAccepting` or an error: each completion's result is a new descriptor.
  mutating func accept(_ listener: Descriptor, _ token: Token)
  /// Ends an accept; its terminal completion is ECANCELED. Connections that arrive first are
  /// still reported.
  mutating func stopAccepting(_ listener: Descriptor)
  /// Takes one waiting connection without waiting, or nil: to empty a listener before closing.
  mutating func acceptNow(_ listener: Descriptor) -> Descriptor?
  /// Starts a connection. The descriptor is valid at once; the completion says how it went.
  mutating func connect(_ address: SocketAddress, _ token: Token) throws(SystemFailure)
    -> Descriptor
  /// Ends a connect; its terminal completion is ECANCELED unless it was faster.
  mutating func cancelConnect(_ socket: Descriptor)
  mutating func receive(_ socket: Descriptor, _ mode: ReceiveMode, _ token: Token)
  /// Ends a receive; its terminal completion is ECANCELED unless it was faster. Bytes that arrive
  /// first are still reported.
  mutating func stopReceiving(_ socket: Descriptor)
  /// Sends the whole frame. Its completion is reported before bytes that were received after it
  /// had left. The completion's result is the byte count (capped at Int32.max) or a
  /// negated errno; a short send never shows.
  mutating func send(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ urgency: SendUrgency, _ token: Token)
  /// How far the send in flight has got: bytes that the kernel took, less those that the peer has
  /// not acknowledged (SIOCOUTQ, tcp(7)). Grows while the peer reads, however slowly; negative at
  /// first. A system call: for a deadline that has passed, not for every turn. 0 without a send.
  func sendProgress(_ socket: Descriptor) -> Int
  /// Makes the completion of a quiet send come with this turn.
  mutating func expediteSends()
  /// shutdown(2), at once, after the first try of a send that was submitted before it. Errors are
  /// of no interest to anybody: the socket is about to go.
  mutating func shutdown(_ socket: Descriptor, _ direction: ShutdownDirection)
  /// Makes the following close send a reset, so that a peer sees a cut-off answer as cut off.
  mutating func resetOnClose(_ socket: Descriptor)
  /// Closes a descriptor that has no operation in flight. Reports nothing.
  mutating func close(_ descriptor: Descriptor)
  func peerAddress(_ socket: Descriptor) -> SocketAddress?
  func localAddress(_ socket: Descriptor) -> SocketAddress?

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

  // MARK: Files

  mutating func open(_ path: String, flags: Int32, mode: UInt32, _ token: Token)
  mutating func read(
    _ file: Descriptor, into buffer: consuming FileBuffer, count: Int, offset: Int64,
    _ token: Token)
  /// Writes at an offset; `durable` makes the data durable before completion (RWF_DSYNC).
  mutating func write(
    _ file: Descriptor, from buffer: consuming FileBuffer, count: Int, offset: Int64,
    durable: Bool, _ token: Token)
  /// The buffer of a completed read or write. Once.
  mutating func takeFileBuffer(_ completion: Completion) -> FileBuffer
  mutating func synchronize(_ file: Descriptor, dataOnly: Bool, _ token: Token)
  mutating func allocate(_ file: Descriptor, offset: Int64, length: Int64, _ token: Token)
  mutating func truncate(_ file: Descriptor, length: Int64, _ token: Token)
  mutating func rename(_ from: String, to: String, _ token: Token)
  mutating func unlink(_ path: String, _ token: Token)
  mutating func closeFile(_ file: Descriptor, _ token: Token)

  // MARK: The loop

  /// Submits what is pending and waits for completions until `deadline` (monotonic nanoseconds,
  /// nil: for ever; in the past: not at all). One system call in the usual turn. May return
  /// early with nothing to report: a wake, or a signal.
  mutating func wait(until deadline: Int64?)
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
  mutating func randomBytes(_ room: UnsafeMutableRawBufferPointer)

  var counters: EngineCounters { get }
}

/// Ends the `wait` of an engine from any thread. Level-like: a wake that comes before the wait
/// is not lost.
public struct Waker: Sendable {
  let eventDescriptor: Int32

  public func wake() {
    var one: UInt64 = 1
    _ = Glibc.write(eventDescriptor, &one, 8)
  }
}

/// A system call that failed during set-up.
public struct SystemFailure: Error, Sendable, CustomStringConvertible {
  /// The errno, positive.
  public let code: Int32
  /// The call and what it was about.
  public let operation: String

  public init(code: Int32, operation: String) {
    self.code = code
    self.operation = operation
  }

  public var reason: String { String(cString: strerror(code)) }
  public var description: String { "\(operation): \(reason)" }
}

/// An engine that could not be set up.
public struct EngineFailure: Error, Sendable, CustomStringConvertible {
  public let kind: EngineKind
  public let failure: SystemFailure
  public var description: String { "\(kind.rawValue): \(failure)" }
}
