// One thread of the origin: an engine, its listeners, and everything that its connections need. The
// loop takes completions in batches and calls one method per kind; the methods live in files of
// their own, by what they serve.

import Glibc
import HTTP
import HTTP1
import HTTP2
import MillraceEngine
import Synchronization
import TLS
import Transport

enum OriginToken: UInt8 {
  case accept = 1
  case receive, send
}

/// What a worker is made from; crosses to its thread.
struct OriginThreadParameters: @unchecked Sendable {
  // Sendable: plain values, a context that any thread may use, and pointers to shared memory.
  let plan: OriginPlan
  let index: Int
  let options: EngineOptions
  let context: TLSContext?
  let shared: UnsafeMutablePointer<OriginShared>
  let board: OriginBoard
  /// When the origin began, monotonic.
  let start: Int64
}

/// What the workers share: how many connections there have been.
struct OriginShared: ~Copyable {
  let connections = Atomic<UInt64>(0)
}

/// Bounds that are nobody's to choose.
enum OriginLimits {
  /// Content that `/echo` keeps, because its answer says how long it is; 413 beyond.
  static let echoBytes = 67_108_864
  /// Input that came too early, beyond which a connection is not read: a pipeline of a hundred
  /// requests, and the small buffers that were under way.
  static let heldBytes = 65_536
  /// Content in one send: enough to outweigh the system call, small enough that many clients with
  /// large answers take turns.
  static let sendBytes = 524_288
  /// The same over TLS and in HTTP/2, where it passes through one large buffer (128 KiB): seven
  /// records.
  static let copiedBytes = 114_688
  /// How long a closing connection waits for the client's end, so that unread input does not turn
  /// the close into a reset (RFC 9112, section 9.6).
  static let lingerNanoseconds: Int64 = 1_000_000_000
  /// Between what was sent and the reset after it, which would overtake bytes that still wait in the
  /// kernel.
  static let resetPause: Int64 = 20_000_000
  /// How long a connection that is not read any more stays: nobody would see its end.
  static let deafNanoseconds: Int64 = 60_000_000_000
  /// How long answers under way may take when the process is told to end.
  static let endNanoseconds: Int64 = 1_000_000_000
}

struct OriginCounters {
  var accepted: UInt64 = 0
  var refused: UInt64 = 0
  var requests: UInt64 = 0
  var responses: UInt64 = 0
  var faults: UInt64 = 0
  var badRequests: UInt64 = 0
  var handshakes: UInt64 = 0
  var handshakeFailures: UInt64 = 0
  var contentReceived: UInt64 = 0
}

struct OriginListening {
  var socket: Descriptor
  var usesTLS: Bool
  var isAccepting = false
}

/// A connection or a stream that something is due for.
struct OriginWaiting: BitwiseCopyable {
  /// Which slab the slot is in, and what the generation is compared with when it is due.
  var isStream: Bool
  var slot: UInt32
  var generation: UInt32
}

struct OriginWorker<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  let index: Int
  let chooser: OriginChooser
  let stall: OriginStall?
  let start: Int64
  let context: TLSContext?
  let shared: UnsafeMutablePointer<OriginShared>
  let board: OriginBoard
  var connections: Slab<OriginConnection>
  var streams: Slab<OriginStream>
  var listeners: [OriginListening] = []
  /// When to accept again after descriptors ran out; Int64.max: not at all.
  var retryAt = Int64.max
  var heap: DeadlineHeap<OriginWaiting>
  var requestHead: RequestHead
  let headLimits: HeadLimits
  let http2Configuration: HTTP2Configuration
  let http2Memory: HTTP2Memory
  var fields: HTTP2FieldList
  /// The content of all answers, over and over again.
  let block: BufferSlice
  var channels: TLSChannels
  /// Plaintext that has come out of a TLS session.
  let plainScratch: UnsafeMutableRawBufferPointer
  var date: HTTPDate
  /// Connections whose descriptor can be closed, once nothing is in flight.
  var reapable: [UInt32] = []
  /// When the thread ends whatever is under way; Int64.max: it has not been told to.
  var endAt = Int64.max
  var counters = OriginCounters()
  var reportsSeen = 0

  /// Bytes of the content's period: a few make a send of half a mebibyte, and they stay in the cache.
  static var blockBytes: Int { 131_072 }
  static var scratchBytes: Int { 32_768 }

  init(_ parameters: OriginThreadParameters, engine made: consuming E) {
    let plan = parameters.plan
    let block = made.coldMemory(Self.blockBytes)
    OriginContent.fill(block.mutableBytes)
    engine = made
    self.block = block
    index = parameters.index
    chooser = OriginChooser(plan)
    stall = plan.stall
    start = parameters.start
    context = parameters.context
    shared = parameters.shared
    board = parameters.board
    connections = Slab(capacity: plan.connections)
    // One stream per connection and a full load of them on 512: more are refused one by one.
    streams = Slab(capacity: plan.connections + 512 * plan.streams)
    heap = DeadlineHeap(capacity: plan.connections)
    headLimits = HeadLimits(headBytes: plan.headBytes, targetBytes: plan.headBytes, fields: 256)
    requestHead = RequestHead(fieldCapacity: 256)
    var http2 = HTTP2Configuration(.server)
    http2.concurrentStreams = plan.streams
    http2.headBytes = plan.headBytes
    http2Configuration = http2
    http2Memory = HTTP2Memory()
    fields = HTTP2FieldList(lasting: false)
    channels = TLSChannels(capacity: plan.connections)
    plainScratch = .allocate(byteCount: Self.scratchBytes, alignment: 64)
    date = HTTPDate()
    // The worker's threads end with the process: nothing is torn down.
    connections.abandon()
    streams.abandon()
    channels.abandon()
  }

  // MARK: The loop

  mutating func run() {
    while !isDone { turn() }
  }

  mutating func turn() {
    reap()
    engine.wait(until: nextDeadline())
    while let completion = engine.next() { dispatch(completion) }
    expire()
    if board.reports.load(ordering: .relaxed) != reportsSeen { report() }
    if endAt == .max, board.stops.load(ordering: .relaxed) { beginEnd() }
  }

  var isDone: Bool {
    endAt != .max && (connections.inUse == 0 || engine.now >= endAt)
  }

  private func nextDeadline() -> Int64? {
    let deadline = min(heap.nextDue, min(retryAt, endAt))
    if !reapable.isEmpty { return 0 }
    return deadline == .max ? nil : deadline
  }

  @inline(__always)
  private mutating func dispatch(_ completion: Completion) {
    let slot = completion.token.slot
    switch OriginToken(rawValue: completion.token.kind) {
    case .receive: received(connections[slot], completion)
    case .send: sent(connections[slot], completion.result)
    case .accept: accepted(Int(slot), completion)
    case nil: assertionFailure("a completion of an unknown kind")
    }
  }

  @inline(__always)
  func token(_ kind: OriginToken, _ slot: UInt32) -> Token {
    Token(kind: kind.rawValue, generation: connections.generation(slot), slot: slot)
  }

  // MARK: Time

  private mutating func expire() {
    let now = engine.now
    while let entry = heap.takeDue(now) {
      if entry.isStream {
        if streams.isTaken(entry.slot), streams.generation(entry.slot) == entry.generation {
          streamDue(streams[entry.slot])
        }
      } else {
        // Entries of a slot's earlier connections have other numbers: the count goes on.
        let c = connections[entry.slot]
        if connections.isTaken(entry.slot), c.pointee.timer == entry.generation {
          connectionDue(c)
        }
      }
    }
    if retryAt <= now {
      retryAt = .max
      for i in listeners.indices where !listeners[i].isAccepting { startAccepting(i) }
    }
  }

  /// Has `connectionDue` called at `moment`, unless it is armed anew before.
  mutating func arm(_ c: OriginConnectionPointer, _ moment: Int64) {
    nextTimer &+= 1
    c.pointee.timer = nextTimer
    heap.insert(
      OriginWaiting(isStream: false, slot: c.pointee.slot, generation: nextTimer), at: moment)
  }
  var nextTimer: UInt32 = 0

  mutating func armStream(_ slot: UInt32, _ moment: Int64) {
    heap.insert(
      OriginWaiting(isStream: true, slot: slot, generation: streams.generation(slot)), at: moment)
  }

  /// When an answer leaves whose request is complete now; not later than now: at once.
  @inline(__always)
  func leaveTime(_ answer: borrowing OriginAnswer) -> Int64 {
    let due = engine.now + answer.delayNanoseconds
    return stall?.leave(due, since: start) ?? due
  }

  // MARK: Accepting

  mutating func listen(_ parameters: OriginThreadParameters) throws(SystemFailure) {
    var found: [SocketAddress] = []
    // Of the first thread, with the ports that the kernel chose; empty for that one.
    let known = parameters.board.addresses
    for (i, listener) in parameters.plan.listeners.enumerated() {
      // A UNIX socket has one queue: one thread serves it.
      if listener.address.isUnix && index > 0 { continue }
      let address = known.isEmpty ? listener.address : known[i]
      let socket = try engine.listen(address, backlog: 4096, reusePort: true)
      listeners.append(OriginListening(socket: socket, usesTLS: listener.usesTLS))
      found.append(address.isUnix ? address : engine.localAddress(socket) ?? address)
      startAccepting(listeners.count - 1)
    }
    if index == 0 { board.setAddresses(found) }
  }

  private mutating func startAccepting(_ listener: Int) {
    guard endAt == .max else { return }
    listeners[listener].isAccepting = true
    engine.accept(
      listeners[listener].socket,
      Token(kind: OriginToken.accept.rawValue, generation: 0, slot: UInt32(listener)))
  }

  private mutating func accepted(_ listener: Int, _ completion: Completion) {
    if completion.result >= 0 {
      return admit(Descriptor(rawValue: completion.result), listeners[listener].usesTLS)
    }
    // EMFILE, ENFILE, ENOMEM, ENOBUFS: the connections wait in the backlog for 100 ms.
    if completion.isTerminal {
      listeners[listener].isAccepting = false
      retryAt = engine.now + 100_000_000
    }
  }

  private mutating func admit(_ socket: Descriptor, _ usesTLS: Bool) {
    guard endAt == .max, let slot = connections.take() else { return refuse(socket) }
    counters.accepted += 1
    let number = shared.pointee.connections.wrappingAdd(1, ordering: .relaxed).oldValue
    connections[slot].initialize(
      to: OriginConnection(
        socket: socket, slot: slot, number: number, usesTLS: usesTLS))
    let c = connections[slot]
    if usesTLS {
      guard let context, let session = TLSSession(context: context),
        channels.open(session, on: &c.pointee.transport)
      else { return abort(c) }
    }
    armReceive(c)
  }

  private mutating func refuse(_ socket: Descriptor) {
    counters.refused += 1
    engine.resetOnClose(socket)
    engine.close(socket)
  }

  // MARK: The end of connections

  private mutating func reap() {
    while let slot = reapable.popLast() {
      // The list may name a slot twice.
      guard connections.isTaken(slot) else { continue }
      let c = connections[slot]
      guard c.pointee.transport.isJoined else { continue }
      c.pointee.transport.close(&engine)
      channels.close(&c.pointee.transport)
      endStreams(c)
      c.deinitialize(count: 1)
      connections.release(slot)
    }
  }

  /// Told to end: nothing new is accepted, idle connections close, answers under way finish.
  private mutating func beginEnd() {
    endAt = engine.now + OriginLimits.endNanoseconds
    retryAt = .max
    for listener in listeners where listener.isAccepting { engine.stopAccepting(listener.socket) }
    for slot in 0..<connections.touched where connections.isTaken(slot) {
      finishSoon(connections[slot])
    }
  }

  // MARK: The report

  private mutating func report() {
    reportsSeen = board.reports.load(ordering: .relaxed)
    let c = engine.counters
    let text =
      "counters worker=\(index) engine=\(engine.kind.rawValue) connections=\(connections.inUse)"
      + " streams=\(streams.inUse) accepted=\(counters.accepted) refused=\(counters.refused)"
      + " requests=\(counters.requests) responses=\(counters.responses)"
      + " faults=\(counters.faults) bad_requests=\(counters.badRequests)"
      + " content_received=\(counters.contentReceived) handshakes=\(counters.handshakes)"
      + " handshake_failures=\(counters.handshakeFailures) timers=\(heap.count)"
      + " http2_allocations=\(http2Memory.systemAllocations) leases=\(c.leasedBuffers)"
      + " frames=\(c.framesInUse) cold_bytes=\(c.coldBytes) turns=\(c.turns)"
      + " system_calls=\(c.systemCalls) completions=\(c.completions)\n"
    var line = text
    line.withUTF8 { _ = write(2, $0.baseAddress!, $0.count) }
  }
}
