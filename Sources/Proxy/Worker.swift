// One worker: a thread, an engine, and everything that its connections need. Nothing here is shared
// with another worker but the process-wide limits. The loop takes completions in batches and calls
// one method per kind; the methods live in files of their own, by what they serve.

import Configuration
import Glibc
import HTTP
import HTTP1
import Logging
import MillraceEngine
import Synchronization
import TLS
import Transport

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
  var plan: LivePlan
  let index: Int
  let workerCount: Int
  let control: UnsafeMutablePointer<WorkerControl>
  let connectionCount: UnsafeMutablePointer<Atomic<Int>>
  let logger: Logger
  /// The CPU that this worker is pinned to, or nil.
  let cpu: Int?

  var downstreams: Slab<Downstream>
  var upstreams: Slab<Upstream>
  var exchanges: Slab<Exchange>
  /// `ExchangeScratch.bytes` per exchange slot.
  let scratch: UnsafeMutableRawPointer
  /// The client's address as text, 64 bytes per downstream slot.
  let clientText: UnsafeMutableRawPointer
  var channels: TLSChannels
  var wheel: TimerWheel
  var requestHead: RequestHead
  var responseHead: ResponseHead
  let headLimits: HeadLimits
  let responseLimits: HeadLimits
  var listeners: Listeners
  let pools: ServerPools
  var counters: WorkerCounters

  var audit: AuditDriver

  /// Connections whose held input may be used now.
  var resumable: [UInt32] = []
  /// Connections to servers that were given a request in this turn: it leaves at the turn's end.
  var assigned: [UInt32] = []
  var reapDownstreams: [UInt32] = []
  var reapUpstreams: [UInt32] = []
  var nextExchangeID: UInt64
  var drain = DrainStep.serving
  var drainDeadline = Int64.max
  /// How long an idle connection may still bring a request, in nanoseconds.
  var grace: Int64 = 0
  var nextDrainSweep = Int64.max
  var failureLog = FailureLog()
  var tlsFailureLog = FailureLog()
  var httpDate = HTTPDate()

  /// Slots of upstream timers follow those of downstream ones in the wheel.
  @inline(__always) var upstreamTimerBase: Int { downstreams.capacity }

  /// Idle connections to servers that leave a slot to each request in progress, however many servers
  /// a later plan has.
  @inline(__always) var idleLimit: Int { upstreams.capacity - exchanges.capacity }

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
    deadline = min(deadline, audit.nextDeadline(now: engine.now))
    deadline = min(deadline, listeners.nextRetry, nextDrainSweep)
    deadline = min(deadline, counters.publishAt)
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
    prepare(&transport.pointee.unsent)
  }

  /// Makes sure that a buffer has a frame to be filled; false when the engine has none left.
  @inline(__always)
  mutating func prepare(_ buffer: inout SendBuffer) -> Bool {
    if buffer.prepare(&engine) { return true }
    counters.framesExhausted += 1
    return false
  }

  /// Sends what waits, if nothing is in flight.
  @inline(__always)
  mutating func flush(
    _ transport: UnsafeMutablePointer<Transport>, _ urgency: SendUrgency, _ token: Token,
    node: Int
  ) {
    if transport.pointee.flush(urgency, token, &engine) { watch(transport, node) }
  }

  /// Closes what has nothing in flight any more.
  private mutating func reap() {
    while let slot = reapDownstreams.popLast() { reapDownstream(slot) }
    while let slot = reapUpstreams.popLast() { reapUpstream(slot) }
  }

  /// Lets connections go on whose input had to wait.
  private mutating func resume() {
    retryBlockedByAudit()
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
    listeners.retry(now: now, &engine)
  }

  /// When the wheel has to look at a connection that is due at `deadline`: not later than the
  /// shortest timeout from now, so that a deadline may move closer without touching the wheel.
  @inline(__always)
  func lookAt(_ deadline: Int64, _ now: Int64) -> Int64 {
    min(deadline, now + plan.shortestTimeout)
  }
}
