// What concerns no socket and no file: order (chains), time, cancellation, other loops and other
// engines. At most `EngineOptions.controlOperations` timeouts, polls, no-operations, messages,
// reported shutdowns and closes and splices may be in flight; one more ends with ENOBUFS (counted).

/// Operations of the loop itself.
public protocol ControlOperations: ~Copyable {
  // MARK: Chains

  /// Begins a chain: each operation that is submitted until `endChain` starts only when the one
  /// before it has succeeded. When one fails, those after it end with ECANCELED, never started.
  ///
  /// - Precondition: no chain is open. Prefer `chain { … }`.
  mutating func beginChain()
  /// Ends the chain. It has 1...`Chain.limit` steps, each of a kind that says that it may be one;
  /// other operations trap between the two calls.
  mutating func endChain()

  // MARK: Time

  /// Ends at a point of the monotonic clock (nanoseconds, as `now`) with ETIME, not before. Loops
  /// with many timers do better with a wheel and the deadline of `wait`. May be a step of a chain,
  /// where its ETIME counts as success.
  mutating func timeout(at deadline: Int64, _ token: Token)
  /// Does nothing, with result 0. May be a step of a chain.
  mutating func nop(_ token: Token)

  // MARK: Cancellation

  /// Ends every operation in flight that was submitted with this token, each with ECANCELED unless
  /// it was faster. Looks through all that is in flight: for the rare case; the operations' own
  /// endings (`stopReceiving`, …) find theirs at once. File operations that have started may run
  /// to their end.
  ///
  /// Of a chain, the step and those behind it end, and what runs before it goes on. Where the kernel
  /// runs the chain (io_uring) a step ends so when its turn has come, not before, and a shutdown, a
  /// close or a no-operation is then made: to break such a chain at once, cancel the step that runs.
  mutating func cancel(_ token: Token)
  /// Ends every operation in flight on a descriptor, as above: what to do before closing one whose
  /// operations nobody has counted. Sends end short, with ECANCELED. Of `none` it ends nothing.
  mutating func cancelAll(_ descriptor: Descriptor)

  // MARK: Beside other loops

  /// Waits until a descriptor that is not the engine's is ready, poll(2), once: the completion's
  /// result has the events that hold. The descriptor must stay open until then. At most one poll
  /// per descriptor. A regular file is always ready.
  mutating func poll(_ foreign: Int32, _ events: PollEvents, _ token: Token)
  /// Readable while `wait(until: 0)` would find something to do: for a foreign event loop that
  /// gives this engine its turns. Before the foreign loop sleeps, the engine must have been turned
  /// with `wait(until: 0)` until `next` had nothing; so whoever submits an operation or gives a buffer
  /// back outside of these turns turns it again. Due timeouts and what the engine wants to do after a
  /// while make it readable, too; now and then it is with nothing to report.
  var pollDescriptor: Int32 { get }

  // MARK: Between engines

  /// Where other engines, on other threads, can send messages to this one.
  var mailbox: Mailbox { get }
  /// Sends a message: the engine behind `mailbox` reports a terminal completion with `remoteToken`
  /// and `value` as its result. This engine's own completion says whether it was taken: 0, or
  /// ENOBUFS when the mailbox is full, ESHUTDOWN when its engine has ended or refuses messages.
  ///
  /// Control only: a message costs both sides more than a function call, see docs/performance.md.
  mutating func post(
    _ value: Int32, _ remoteToken: Token, to mailbox: Mailbox, _ token: Token)
}

/// Events of poll(2).
public struct PollEvents: OptionSet, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// POLLIN: bytes, a connection, or the end of the stream wait.
  public static let readable = PollEvents(rawValue: 0x001)
  /// POLLOUT: there is room.
  public static let writable = PollEvents(rawValue: 0x004)
  /// POLLERR; reported whether asked for or not.
  public static let error = PollEvents(rawValue: 0x008)
  /// POLLHUP: both sides have ended; reported whether asked for or not.
  public static let hangUp = PollEvents(rawValue: 0x010)
}

/// Limits of chains.
public enum Chain {
  /// Steps at most: the kernel takes a chain only whole, so a turn's entries must have room for it.
  public static let limit = 8
}

extension ControlOperations where Self: ~Copyable {
  /// Runs the operations that `body` submits one after another, each only if the one before it has
  /// succeeded:
  ///
  ///     engine.chain {
  ///       $0.write(file, from: buffer, count: 4096, offset: 0, durable: false, written)
  ///       $0.synchronize(file, dataOnly: true, durable)
  ///     }
  ///
  /// io_uring takes the chain in one submission (IOSQE_IO_LINK); epoll runs the same steps. When a
  /// chain pays and when it does not: docs/engines.md.
  @inlinable
  public mutating func chain(_ body: (inout Self) -> Void) {
    beginChain()
    body(&self)
    endChain()
  }
}
