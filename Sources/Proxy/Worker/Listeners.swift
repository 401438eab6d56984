// The listening sockets of a worker: accepting, the pause after the process ran out of descriptors,
// the end without a lost connection, and the connections that go to another worker because it
// serves the queue that they came by (`placement: queue`): the descriptor leaves this engine and
// goes to the other one in a message. What cannot be passed on stays here; a connection is never lost
// over it. A worker that drains takes what is on its way to it before it ends (`Mailbox.refuse`).
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
    var socket: Descriptor
    var isAccepting: Bool
    /// When to try accepting again after the process ran out of descriptors, in monotonic
    /// nanoseconds; Int64.max: not at all.
    var retryAt: Int64
  }

  /// How long accepting rests after the process ran out of descriptors or memory, in nanoseconds.
  private static var acceptPause: Int64 { 100_000_000 }

  private let listeners: UnsafeMutableBufferPointer<Listener>
  private let worker: Int
  /// With `placement: queue`: who serves which queue.
  private let board: QueueBoard?
  private var isStopped = false
  /// Connections whose hand-over has not ended.
  private var handOvers = 0
  /// No other worker can pass a connection on to this one any more.
  private var refusesHandOvers = false
  private var queuesSeen: [Int] = []

  init(count: Int, worker: Int, board: QueueBoard?) {
    listeners = .allocate(capacity: count)
    listeners.initialize(
      repeating: Listener(socket: .none, isAccepting: false, retryAt: .max))
    self.worker = worker
    self.board = board
  }

  deinit { listeners.deallocate() }

  // MARK: Accepting

  /// Opens a listener and begins to accept.
  /// - Parameter cpu: the CPU whose connections this listener is to get; nil: of all.
  /// - Returns: 0, or why connections are not placed by CPU, as a negative errno.
  mutating func open<E: Engine & ~Copyable>(
    _ listener: Int, _ address: SocketAddress, cpu: Int?, _ engine: inout E
  ) throws(SystemFailure) -> Int32 {
    let socket = try engine.listen(address, backlog: 4096, reusePort: true)
    listeners[listener].socket = socket
    // SO_INCOMING_CPU rather than a program for the group (SO_ATTACH_REUSEPORT_CBPF): a program
    // names listeners by the order in which they were bound, which is whichever worker was faster.
    var code: Int32 = 0
    if let cpu { code = engine.preferCPU(socket, cpu: cpu) }
    startAccepting(listener, &engine)
    return min(code, 0)
  }

  private mutating func startAccepting<E: Engine & ~Copyable>(
    _ listener: Int, _ engine: inout E
  ) {
    listeners[listener].retryAt = .max
    guard !isStopped, listeners[listener].socket.isValid, !listeners[listener].isAccepting else {
      return
    }
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
    for listener in listeners { deadline = min(deadline, listener.retryAt) }
    return deadline
  }

  /// Lets listeners accept again that have rested for long enough.
  @inline(__always)
  mutating func retry<E: Engine & ~Copyable>(now: Int64, _ engine: inout E) {
    for i in listeners.indices where listeners[i].retryAt <= now { startAccepting(i, &engine) }
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
    if isStopped { return .stopped }
    // EMFILE, ENFILE, ENOMEM, ENOBUFS: the connections wait in the backlog.
    listeners[listener].retryAt = engine.now + Self.acceptPause
    return .none
  }

  // MARK: The end

  /// Accepts no more, apart from what the kernel has accepted already.
  mutating func stop() {
    isStopped = true
    for i in listeners.indices { listeners[i].retryAt = .max }
  }

  var count: Int { listeners.count }

  /// Ends a listener's accept; behind `stop`.
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
    return nil
  }

  /// True if all listeners are closed and no connection is on its way to another worker.
  var isClosed: Bool {
    for listener in listeners where listener.socket.isValid { return false }
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
    guard let board, !isStopped, let queue = engine.incomingQueue(socket),
      let owner = board.worker(of: queue), owner != worker, let mailbox = board.mailbox(of: owner)
    else { return false }
    let number = engine.surrender(socket)
    handOvers += 1
    engine.post(
      number, Token(kind: TokenKind.handedOver.rawValue, generation: 0, slot: UInt32(listener)),
      to: mailbox,
      Token(
        kind: TokenKind.handOver.rawValue, generation: UInt32(listener),
        slot: UInt32(bitPattern: number)))
    return true
  }

  /// The message has been taken, or has not: its box is full (ENOBUFS), or its worker has ended.
  /// - Returns: nil if it has been taken; else the connection, which stays here.
  mutating func handOverEnded(_ completion: Completion) -> (number: Int32, listener: Int)? {
    handOvers -= 1
    guard completion.result < 0 else { return nil }
    return (Int32(bitPattern: completion.token.slot), Int(completion.token.generation))
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
