// The listening sockets of a worker: accepting, the pause after the process ran out of descriptors,
// the end without a lost connection, and the connections that go to another worker because it
// serves the queue that they came by (`placement: queue`): the descriptor leaves this engine and
// goes to the other one in a message. What cannot be passed on stays here; a connection is never lost
// over it. A worker that drains takes what is on its way to it before it ends (`Mailbox.refuse`).
//
// Sockets come and go with the plans: one whose address is in the next plan too goes on by that, one whose
// address is gone ends, and holds its plan until then.
//
// It returns sockets; whether a connection is taken in is for the worker to say.

import Glibc
import MillraceEngine

/// What came of a completion of an accept.
enum AcceptOutcome {
  /// A connection for this worker.
  case accepted(Descriptor)
  /// The listener is to be emptied: `takeWaiting` until it returns nil.
  case stopped
  /// Nothing to do: the connection went to another worker, or accepting goes on or rests.
  case none
}

struct Listeners: ~Copyable {
  private struct Listener {
    var socket = Descriptor.none
    /// Its index in `LivePlan`.
    var index: Int32 = -1
    var identity = ListenerIdentity(number: -1)
    var isAccepting = false
    /// When to try accepting again after the process ran out of descriptors, in monotonic
    /// nanoseconds; Int64.max: not at all.
    var retryAt = Int64.max
    /// What it holds of the plan that it ends with; nil: it does not end.
    var held: PlanUse?

    var isFree: Bool { !socket.isValid && held == nil }
  }

  /// How long accepting rests after the process ran out of descriptors or memory, in nanoseconds.
  private static var acceptPause: Int64 { 100_000_000 }
  /// How long a listener that has ended is remembered for connections that other workers, which may take the plan
  /// later, pass on to this one, in nanoseconds: many times what a turn of theirs takes.
  private static var handOverGrace: Int64 { 2_000_000_000 }
  /// Those of a plan, and those of the plans before that are still ending.
  private static var capacity: Int { 4 * LivePlan.listenersPerWindow }

  /// Of a worker at its start: the rest is room for the listeners of later plans.
  static var socketsMaximum: Int { capacity / 2 }

  private let listeners: UnsafeMutableBufferPointer<Listener>
  /// Slots that were ever in use are below.
  private(set) var count = 0
  private let worker: Int
  /// With `placement: queue`: who serves which queue.
  private let board: QueueBoard?
  private var isStopped = false
  /// Listeners that end, or have ended and are remembered.
  private var ending = 0
  /// Connections whose hand-over has not ended.
  private var handOvers = 0
  /// No other worker can pass a connection on to this one any more.
  private var refusesHandOvers = false
  private var queuesSeen: [Int] = []

  init(worker: Int, board: QueueBoard?) {
    listeners = .allocate(capacity: Self.capacity)
    listeners.initialize(repeating: Listener())
    self.worker = worker
    self.board = board
  }

  deinit { listeners.deallocate() }

  // MARK: Accepting

  /// Opens a listener and begins to accept.
  /// - Parameters:
  ///   - index: of the listener in `LivePlan`.
  ///   - inherited: a socket that listens already, and is this worker's from here on; nil: it is opened.
  ///   - cpu: the CPU whose connections this listener is to get; nil: of all.
  /// - Returns: 0, or why connections are not placed by CPU, as a negative errno.
  mutating func open<E: Engine & ~Copyable>(
    _ index: Int32, _ identity: ListenerIdentity, _ address: SocketAddress, inherited: Int32? = nil,
    cpu: Int?, _ engine: inout E
  ) throws(SystemFailure) -> Int32 {
    let socket: Descriptor
    if let inherited {
      socket = try engine.adoptListener(inherited)
    } else {
      socket = try engine.listen(address, backlog: 4096, reusePort: true)
    }
    guard let slot = listeners.firstIndex(where: \.isFree) else {
      engine.close(socket)
      throw SystemFailure(code: ENOBUFS, operation: "listen \(address)")
    }
    count = max(count, slot + 1)
    listeners[slot] = Listener(socket: socket, index: index, identity: identity)
    // SO_INCOMING_CPU rather than a program for the group (SO_ATTACH_REUSEPORT_CBPF): a program
    // names listeners by the order in which they were bound, which is whichever worker was faster.
    var code: Int32 = 0
    if let cpu { code = engine.preferCPU(socket, cpu: cpu) }
    startAccepting(slot, &engine)
    return min(code, 0)
  }

  private mutating func startAccepting<E: Engine & ~Copyable>(
    _ listener: Int, _ engine: inout E
  ) {
    listeners[listener].retryAt = .max
    guard !isStopped, listeners[listener].socket.isValid, listeners[listener].held == nil,
      !listeners[listener].isAccepting
    else { return }
    listeners[listener].isAccepting = true
    engine.accept(
      listeners[listener].socket,
      Token(kind: TokenKind.accept.rawValue, generation: 0, slot: UInt32(listener)))
  }

  /// When the next listener that rests is to be tried again, in monotonic nanoseconds; Int64.max:
  /// none rests.
  @inline(__always)
  var nextRetry: Int64 {
    var deadline = Int64.max
    for i in 0..<count { deadline = min(deadline, listeners[i].retryAt) }
    return deadline
  }

  /// Lets listeners accept again that have rested for long enough.
  @inline(__always)
  mutating func retry<E: Engine & ~Copyable>(now: Int64, _ engine: inout E) {
    // One that has ended waits for `takeEnded`.
    for i in 0..<count where listeners[i].retryAt <= now && listeners[i].held == nil {
      startAccepting(i, &engine)
    }
  }

  /// The index in `LivePlan` of the listener that a connection came by.
  @inline(__always)
  func index(_ listener: Int) -> Int32 { listeners[listener].index }

  /// The same of a connection that another worker passes on.
  /// - Returns: nil if this worker does not have the listener.
  func index(of identity: ListenerIdentity) -> Int32? {
    let all = listeners[..<count]
    return
      (all.first { $0.identity == identity && $0.held == nil && $0.socket.isValid }
      ?? all.first { $0.identity == identity && !$0.isFree })?.index
  }

  /// A completion of an accept.
  mutating func accepted<E: Engine & ~Copyable>(
    _ listener: Int, _ completion: Completion, _ engine: inout E
  ) -> AcceptOutcome {
    if completion.result >= 0 {
      let socket = Descriptor(rawValue: completion.result)
      if board != nil && handOver(socket, listener, &engine) { return .none }
      return .accepted(socket)
    }
    guard completion.isTerminal else { return .none }
    listeners[listener].isAccepting = false
    if isStopped || listeners[listener].held != nil { return .stopped }
    // EMFILE, ENFILE, ENOMEM, ENOBUFS: the connections wait in the backlog.
    listeners[listener].retryAt = engine.now + Self.acceptPause
    return .none
  }

  // MARK: The next plan

  /// Goes on by the current plan.
  /// - Returns: places of listeners of the plan that have no socket here, and slots of sockets that have no
  ///   listener in it.
  mutating func follow(_ plan: borrowing LivePlan) -> (missing: [Int], gone: [Int]) {
    var missing: [Int] = []
    var kept: Set<Int> = []
    for (place, listener) in plan.current.listeners.enumerated() {
      // More than one where a process before this one had more workers.
      let same = (0..<count).filter { slot in
        listeners[slot].socket.isValid && listeners[slot].held == nil
          && listeners[slot].identity.socket == listener.identity.socket
      }
      if same.isEmpty { missing.append(place) }
      for slot in same {
        listeners[slot].index = plan.listener(place)
        listeners[slot].identity = listener.identity
        kept.insert(slot)
      }
    }
    let gone = (0..<count).filter { slot in
      listeners[slot].socket.isValid && listeners[slot].held == nil && !kept.contains(slot)
    }
    return (missing, gone)
  }

  /// A listener that is gone from the plan ends; behind it `stopAccepting`.
  /// - Parameter use: the plan that it was of, held until `takeEnded` returns it.
  mutating func beginEnd(_ listener: Int, holding use: PlanUse) {
    listeners[listener].held = use
    listeners[listener].retryAt = .max
    ending += 1
  }

  /// What a listener has held that has ended; nil when there is none.
  @inline(__always)
  mutating func takeEnded(now: Int64) -> PlanUse? {
    ending == 0 ? nil : takeFirstEnded(now)
  }

  private mutating func takeFirstEnded(_ now: Int64) -> PlanUse? {
    for i in 0..<count {
      guard let held = listeners[i].held, !listeners[i].socket.isValid,
        board == nil || listeners[i].retryAt <= now
      else { continue }
      listeners[i] = Listener()
      ending -= 1
      return held
    }
    return nil
  }

  // MARK: The end

  /// Accepts no more, apart from what the kernel has accepted already.
  mutating func stop() {
    isStopped = true
    for i in 0..<count where listeners[i].held == nil { listeners[i].retryAt = .max }
  }

  /// Ends a listener's accept; behind `stop` or `beginEnd`.
  /// - Returns: true if it has none, so that it is to be emptied now. Otherwise its terminal
  ///   completion brings `AcceptOutcome.stopped`.
  mutating func stopAccepting<E: Engine & ~Copyable>(_ listener: Int, _ engine: inout E) -> Bool {
    guard listeners[listener].isAccepting else { return true }
    engine.stopAccepting(listeners[listener].socket)
    return false
  }

  /// Takes a connection that waits in a listener's queue; closes the listener when there is none.
  /// Closing it full would reset connections whose handshake the kernel has completed.
  mutating func takeWaiting<E: Engine & ~Copyable>(
    _ listener: Int, _ engine: inout E
  ) -> Descriptor? {
    let socket = listeners[listener].socket
    guard socket.isValid else { return nil }
    if let accepted = engine.acceptNow(socket) { return accepted }
    engine.close(socket)
    listeners[listener].socket = .none
    if board != nil && !isStopped {
      listeners[listener].retryAt = engine.now + Self.handOverGrace
    }
    return nil
  }

  /// True if all listeners are closed and no connection is on its way to another worker.
  var isClosed: Bool {
    for i in 0..<count where listeners[i].socket.isValid { return false }
    return handOvers == 0
  }

  /// Lets no other worker pass a connection on to this one. Those that were sent before still come.
  /// - Returns: false if that was so already.
  mutating func refuseHandOvers<E: Engine & ~Copyable>(_ engine: inout E) -> Bool {
    guard board != nil && !refusesHandOvers else { return false }
    refusesHandOvers = true
    engine.mailbox.refuse()
    return true
  }

  // MARK: Placement

  /// Passes a new connection on. - Returns: false if it belongs here.
  private mutating func handOver<E: Engine & ~Copyable>(
    _ socket: Descriptor, _ listener: Int, _ engine: inout E
  ) -> Bool {
    guard let board, !isStopped, listeners[listener].held == nil,
      let queue = engine.incomingQueue(socket), let owner = board.worker(of: queue),
      owner != worker, let mailbox = board.mailbox(of: owner)
    else { return false }
    let number = engine.surrender(socket)
    handOvers += 1
    let identity = UInt32(bitPattern: listeners[listener].identity.number)
    engine.post(
      number, Token(kind: TokenKind.handedOver.rawValue, generation: 0, slot: identity),
      to: mailbox,
      Token(
        kind: TokenKind.handOver.rawValue, generation: identity, slot: UInt32(bitPattern: number)))
    return true
  }

  /// The message has been taken, or has not: its box is full (ENOBUFS), or its worker has ended.
  /// - Returns: nil if it has been taken; else the connection, which stays here.
  mutating func handOverEnded(
    _ completion: Completion
  ) -> (number: Int32, identity: ListenerIdentity)? {
    handOvers -= 1
    guard completion.result < 0 else { return nil }
    return (
      Int32(bitPattern: completion.token.slot),
      ListenerIdentity(number: Int32(bitPattern: completion.token.generation))
    )
  }

  /// Remembers the queue that a connection came by, for an operator to see: one per worker is what
  /// `placement: queue` is for.
  mutating func noteQueue<E: Engine & ~Copyable>(_ socket: Descriptor, _ engine: borrowing E) {
    guard board != nil, let queue = engine.incomingQueue(socket), !queuesSeen.contains(queue),
      queuesSeen.count < QueueBoard.capacity
    else { return }
    queuesSeen.append(queue)
  }

  /// Queues by which connections came.
  var queueCount: Int { queuesSeen.count }
}
