// One worker: a thread, an engine, and everything that its connections need. Nothing here is shared
// with another worker but the process-wide limits. The loop takes completions in batches and calls
// one method per kind; the methods live in files of their own, by what they serve.

import AuditLog
import Configuration
import Glibc
import HTTP1
import Logging
import MillraceEngine
import Synchronization
import TLS

/// What a token is about.
enum TokenKind: UInt8 {
  case accept = 1
  case downstreamReceive, downstreamSend
  case upstreamConnect, upstreamReceive, upstreamSend
  case journal
  /// A connection that goes to another worker, and one that came from there.
  case handOver, handedOver
}

/// A listening socket of this worker.
struct ListenerState {
  var socket: Descriptor
  var accepting: Bool
  /// When to try accepting again after the process ran out of descriptors; Int64.max: not at all.
  var retryAt: Int64
}

/// How far the end of the worker has got.
enum DrainStep: UInt8 {
  case serving
  /// Listeners are closed; exchanges finish, idle connections have their grace.
  case draining
  /// No connection is left; the audit log is being finished.
  case closingJournal
  case finished
}

struct Worker<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  let plan: Plan
  let index: Int
  let workerCount: Int
  let control: UnsafeMutablePointer<WorkerControl>
  let connectionCount: UnsafeMutablePointer<Atomic<Int>>
  let logger: Logger
  /// The CPU that this worker is pinned to, or nil.
  let cpu: Int?
  /// With `placement: queue`: who serves which queue.
  let board: QueueBoard?
  /// Connections whose hand-over has not ended.
  var handOvers = 0
  /// No other worker can pass a connection on to this one any more.
  var refusesHandOvers = false
  var queuesSeen: [Int] = []

  var downstreams: Slab<Downstream>
  var upstreams: Slab<Upstream>
  var exchanges: Slab<Exchange>
  /// `ExchangeScratch.bytes` per exchange slot.
  let scratch: UnsafeMutableRawPointer
  /// The client's address as text, 64 bytes per downstream slot.
  let clientText: UnsafeMutableRawPointer
  /// Output of a TLS session that is not the answer to a send: handshakes, alerts.
  let tlsScratch: UnsafeMutableRawBufferPointer
  var wheel: TimerWheel
  var requestHead: RequestHead
  var responseHead: ResponseHead
  let headLimits: HeadLimits
  let responseLimits: HeadLimits
  let listeners: UnsafeMutableBufferPointer<ListenerState>
  let pools: ServerPools
  var counters: WorkerCounters

  var journal: Journal?
  let audits: Bool
  /// True when responses wait for their records.
  let waitsForAudit: Bool
  var gated: GateQueue
  /// How long a response may be held for its end, in nanoseconds; 0: not at all.
  let holdNanoseconds: Int64
  var holds: HoldQueue
  var journalDeadline = Int64.max
  /// Takes the directory again when another one has its place.
  var auditDirectory: AuditDirectory?
  /// Why it could not be taken, as it was said last.
  var auditDirectoryProblem: String?
  /// Exchanges whose end is recorded: one by one the same as `counters.responses` once all is
  /// quiet, however many records each took.
  var exchangesRecorded: UInt64 = 0
  /// Connections whose request waits for room in the audit log.
  var auditBlocked: [UInt32] = []

  /// Connections whose held input may be used now.
  var resumable: [UInt32] = []
  /// Connections to servers that were given a request in this turn: it leaves at the turn's end.
  var assigned: [UInt32] = []
  var reapDownstreams: [UInt32] = []
  var reapUpstreams: [UInt32] = []
  var nextExchangeID: UInt64
  var drain = DrainStep.serving
  var drainDeadline = Int64.max
  /// True once the audit log was given up at the end: the device does not answer.
  var hasAbandonedJournal = false
  /// How long an idle connection may still bring a request, in nanoseconds.
  var grace: Int64 = 0
  var nextDrainSweep = Int64.max
  var failureLog = FailureLog()
  var tlsFailureLog = FailureLog()
  var httpDate = HTTPDate()

  /// Slots of upstream timers follow those of downstream ones in the wheel.
  @inline(__always) var upstreamTimerBase: Int { downstreams.capacity }

  // MARK: The loop

  mutating func run() {
    while drain != .finished { turn() }
  }

  mutating func turn() {
    driveJournal()
    reap()
    engine.wait(until: nextDeadline())
    while let completion = engine.next() { dispatch(completion) }
    expireTimers()
    expireHolds()
    releaseAudited()
    resume()
    submitAssigned()
    obeyControl()
    if counters.isWatched { publishWhenDue() }
    if drain != .serving { advanceDrain() }
  }

  private func nextDeadline() -> Int64? {
    var deadline = Int64.max
    if let due = wheel.nextDeadline { deadline = min(deadline, due) }
    if audits { deadline = min(deadline, journalDeadline, holds.nextDeadline) }
    for listener in listeners { deadline = min(deadline, listener.retryAt) }
    deadline = min(deadline, nextDrainSweep, counters.publishAt)
    // Who waits for the audit log is looked at again even if nothing else happens.
    if !auditBlocked.isEmpty { deadline = min(deadline, engine.now + 20_000_000) }
    if !resumable.isEmpty || !reapDownstreams.isEmpty || !reapUpstreams.isEmpty { return 0 }
    return deadline == .max ? nil : deadline
  }

  @inline(__always)
  mutating func dispatch(_ completion: Completion) {
    let slot = completion.token.slot
    switch TokenKind(rawValue: completion.token.kind) {
    case .downstreamReceive: downstreamReceived(slot, completion)
    case .upstreamReceive: upstreamReceived(slot, completion)
    case .downstreamSend: downstreamSent(slot, completion.result)
    case .upstreamSend: upstreamSent(slot, completion.result)
    case .accept: accepted(slot, completion)
    case .upstreamConnect: upstreamConnected(slot, completion.result)
    case .journal: journalCompleted(slot, completion)
    case .handOver: handOverEnded(completion)
    case .handedOver: takeOver(completion.result, Int(slot))
    case nil: assertionFailure("a completion of an unknown kind")
    }
  }

  // MARK: Tokens

  @inline(__always)
  func downstreamToken(_ kind: TokenKind, _ slot: UInt32) -> Token {
    Token(kind: kind.rawValue, generation: downstreams.generation(slot), slot: slot)
  }
  @inline(__always)
  func upstreamToken(_ kind: TokenKind, _ slot: UInt32) -> Token {
    Token(kind: kind.rawValue, generation: upstreams.generation(slot), slot: slot)
  }

  // MARK: Transports

  /// Makes sure that a frame is there to be filled; false when the engine has none left.
  @inline(__always)
  mutating func ensurePending(_ transport: UnsafeMutablePointer<Transport>) -> Bool {
    if transport.pointee.pending != nil { return true }
    guard let frame = engine.frame() else {
      counters.framesExhausted += 1
      return false
    }
    transport.pointee.pending = consume frame
    return true
  }

  /// Sends what is pending, if nothing is in flight.
  @inline(__always)
  mutating func flush(
    _ transport: UnsafeMutablePointer<Transport>, _ urgency: SendUrgency, _ token: Token,
    node: Int
  ) {
    guard !transport.pointee.sending, transport.pointee.pendingBytes > 0 else { return }
    guard let frame = transport.pointee.pending.take() else { return }
    transport.pointee.sending = true
    transport.pointee.inFlightBytes = transport.pointee.pendingBytes
    transport.pointee.pendingBytes = 0
    transport.pointee.progressSeen = .min
    watch(transport, node)
    engine.send(transport.pointee.socket, frame, urgency, token)
  }

  /// Stops the receive in flight, if there is one.
  mutating func stopReceiving(_ transport: UnsafeMutablePointer<Transport>) {
    guard transport.pointee.receiving, !transport.pointee.stopping else { return }
    transport.pointee.stopping = true
    engine.stopReceiving(transport.pointee.socket)
  }

  /// Begins the end of a connection: what is in flight is made to complete, and then reaped.
  mutating func join(_ transport: UnsafeMutablePointer<Transport>) {
    transport.pointee.closing = .joining
    transport.pointee.deadline = .max
    if transport.pointee.reset && transport.pointee.sending {
      // Not by shutdown(2): its FIN would reach the peer before the reset, and the end of content
      // that the connection's end delimits would look like a good one.
      transport.pointee.stopping = true
      engine.cancelAll(transport.pointee.socket)
      return
    }
    stopReceiving(transport)
    if transport.pointee.sending {
      engine.shutdown(transport.pointee.socket, .both)
      engine.expediteSends()
    }
  }

  /// Closes what has nothing in flight any more.
  private mutating func reap() {
    while let slot = reapDownstreams.popLast() { reapDownstream(slot) }
    while let slot = reapUpstreams.popLast() { reapUpstream(slot) }
  }

  /// Lets connections go on whose input had to wait.
  private mutating func resume() {
    if !auditBlocked.isEmpty { retryBlockedByAudit() }
    guard !resumable.isEmpty else { return }
    var waiting: [UInt32] = []
    swap(&waiting, &resumable)
    for slot in waiting { resumeDownstream(slot) }
    waiting.removeAll(keepingCapacity: true)
    if resumable.isEmpty { swap(&waiting, &resumable) }
  }

  // MARK: Timers

  private mutating func expireTimers() {
    let now = engine.now
    while let node = wheel.takeDue(now: now) {
      if node < upstreamTimerBase {
        downstreamDue(UInt32(node), now)
      } else {
        upstreamDue(UInt32(node - upstreamTimerBase), now)
      }
    }
    for i in listeners.indices where listeners[i].retryAt <= now { startAccepting(i) }
  }

  /// When the wheel has to look at a connection that is due at `deadline`: not later than the
  /// shortest timeout from now, so that a deadline may move closer without touching the wheel.
  @inline(__always)
  func lookAt(_ deadline: Int64, _ now: Int64) -> Int64 {
    min(deadline, now + plan.shortestTimeout)
  }
}
