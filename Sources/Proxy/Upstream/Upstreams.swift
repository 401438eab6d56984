// The connections to servers of a worker: getting one, from the pool or anew; its way back into the
// pool, or its end. Which exchange it serves is a number here; what that does is for others to say.

import Configuration
import Exchange
import Glibc
import HTTP1
import MillraceEngine
import TLS
import Transport

struct Upstreams: ~Copyable {
  private var slab: Slab<UpstreamConnection>
  /// The protocol that is spoken on them.
  var http1: HTTP1Client
  let pools: ServerPools
  private var channels: TLSChannels
  /// Connections that may have nothing in flight any more.
  private var joining: [UInt32] = []
  /// Connections that were given a request in this turn: it leaves at the turn's end.
  private var assigned: [UInt32] = []
  /// Connections whose request can no longer be sent; settled at the turn's end.
  private var lost: [UInt32] = []
  /// Where the nodes of these connections begin in the timer wheel.
  private let timerBase: Int
  /// Idle connections that leave a slot to each exchange, however many servers a later plan has.
  private let idleLimit: Int

  /// - Parameters:
  ///   - exchanges: of which each may have a connection.
  ///   - timerBase: of the nodes in the timer wheel.
  init(_ plan: Plan, exchanges: Int, timerBase: Int) {
    let idle = Self.idleTotal(plan)
    slab = Slab(capacity: exchanges + idle)
    http1 = HTTP1Client(plan.limits)
    pools = ServerPools(plan)
    channels = TLSChannels(capacity: slab.capacity)
    idleLimit = idle
    self.timerBase = timerBase
  }

  /// Connections that a plan lets be idle, or on their way into the pool.
  private static func idleTotal(_ plan: Plan) -> Int {
    plan.upstreams.reduce(0) { $0 + $1.servers.count * ($1.idleLimit + 1) }
  }

  // MARK: Slots

  @inline(__always)
  subscript(slot: UInt32) -> UpstreamPointer { slab[slot] }
  var capacity: Int { slab.capacity }
  var inUse: Int { slab.inUse }
  /// Slots that were ever in use are below.
  var touched: UInt32 { slab.touched }

  /// Whether a slot has a connection whose socket is open.
  func isActive(_ slot: UInt32) -> Bool {
    slot < slab.touched && slab.isTaken(slot) && slab[slot].pointee.transport.socket.isValid
  }

  @inline(__always)
  private func token(_ kind: TokenKind, _ slot: UInt32) -> Token {
    Token(kind: kind.rawValue, generation: slab.generation(slot), slot: slot)
  }

  @inline(__always)
  func node(_ u: UpstreamPointer) -> Int { timerBase + Int(u.pointee.slot) }

  @inline(__always)
  func server(of u: UpstreamPointer) -> UnsafeMutablePointer<ServerState> {
    pools.server(u.pointee.group, u.pointee.server)
  }

  // MARK: Getting one

  /// Gets a connection for an exchange.
  /// - Parameters:
  ///   - server: out: the server that was chosen, whatever comes of it.
  ///   - avoid: the server that just failed, or -1.
  ///   - anew: makes a new connection although idle ones are there: they may be as stale as the one
  ///     that just failed.
  @inline(__always)
  mutating func attach<E: Engine & ~Copyable>(
    _ exchange: UInt32, _ group: Int32, server: inout Int32, avoid: Int32, anew: Bool,
    _ loop: inout Loop<E>
  ) -> Attachment {
    let plan = loop.plan.upstreams + Int(group)
    var random: UInt32 = 0
    if plan.pointee.balance == .randomTwo {
      withUnsafeMutableBytes(of: &random) { loop.engine.randomBytes($0) }
    }
    server = pools.choose(group, plan, avoid: avoid, now: loop.engine.now, random: random)
    let state = pools.server(group, server)
    loop.counters[server: state.pointee.row, .requests] += 1
    if !anew, let u = takeIdle(state, &loop) {
      state.pointee.active += 1
      u.pointee.phase = .assigned
      u.pointee.exchange = Int32(bitPattern: exchange)
      u.pointee.transport.deadline = .max
      loop.counters.upstreamReuses += 1
      loop.counters[server: state.pointee.row, .reuses] += 1
      assigned.append(u.pointee.slot)
      return .assigned(u)
    }
    let first = AddressChoice(
      index: state.pointee.address,
      left: Int32(plan.pointee.servers[Int(server)].addresses.count) - 1)
    return connect(exchange, group, server, first, &loop)
  }

  private mutating func connect<E: Engine & ~Copyable>(
    _ exchange: UInt32, _ group: Int32, _ server: Int32, _ start: AddressChoice,
    _ loop: inout Loop<E>
  ) -> Attachment {
    guard let slot = slab.take() else { return .failed(.resourcesExhausted) }
    let plan = loop.plan.upstreams + Int(group)
    let state = pools.server(group, server)
    var session: TLSSession?
    if let context = plan.pointee.tls {
      session = makeSession(
        context.takeUnretainedValue(), plan.pointee.servers[Int(server)], state)
      guard session != nil else {
        slab.release(slot)
        return .failed(.resourcesExhausted)
      }
    }
    var choice = start
    let socket: Descriptor
    do throws(SystemFailure) {
      socket = try choice.connect(
        plan.pointee.servers[Int(server)], from: plan.pointee.origin,
        token(.upstreamConnect, slot), &loop.engine)
    } catch {
      slab.release(slot)
      return .failed(
        AddressChoice.isExhaustion(error.code) ? .resourcesExhausted : .connectFailed)
    }
    loop.counters.upstreamConnects += 1
    loop.counters[server: state.pointee.row, .connects] += 1
    let u = slab[slot]
    u.initialize(
      to: UpstreamConnection(socket: socket, slot: slot, group: group, server: server))
    u.pointee.choice = choice
    if let made = session.take(), !channels.open(made, on: &u.pointee.transport) {
      close(u, &loop)
      return .failed(.resourcesExhausted)
    }
    state.pointee.active += 1
    u.pointee.exchange = Int32(bitPattern: exchange)
    if state.pointee.prefersLarge { u.pointee.transport.mode = .once }
    u.pointee.connectStart = loop.engine.now
    u.pointee.transport.deadline = loop.engine.now + plan.pointee.connectTimeout
    loop.armTimer(u.transport, node(u))
    return .connecting(u)
  }

  /// A connect has failed: goes on with the server's next address. It is the same attempt, since
  /// nothing was sent; what is to be sent goes with it.
  mutating func tryNextAddress<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) -> NextAddress {
    guard u.pointee.exchange >= 0, u.pointee.choice.left > 0,
      let frame = u.pointee.outgoing.take()
    else { return .none }
    let (group, server) = (u.pointee.group, u.pointee.server)
    let exchange = UInt32(bitPattern: u.pointee.exchange)
    let count = loop.plan.upstreams[Int(group)].servers[Int(server)].addresses.count
    var choice = u.pointee.choice
    choice.advance(of: count)
    detach(u)
    close(u, &loop)
    switch connect(exchange, group, server, choice, &loop) {
    case .connecting(let next), .assigned(let next):
      next.pointee.outgoing.put(frame)
      return .connecting(next)
    case .failed(let kind): return .failed(kind)
    }
  }

  /// A connection is made, and its handshake done where it has one: its address is the first to be
  /// tried from now on.
  func established(_ u: UpstreamPointer) {
    u.pointee.phase = .busy
    server(of: u).pointee.address = u.pointee.choice.index
  }

  /// A server could be reached at none of its addresses: it is passed over for a while.
  func noteUnreachable<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: borrowing Loop<E>
  ) {
    server(of: u).pointee.downUntil = loop.engine.now + ServerPools.coolOffNanoseconds
  }

  // MARK: What was assigned in this turn

  @inline(__always) var assignedCount: Int { assigned.count }

  /// The connection at `index`, if it still waits to send its request.
  @inline(__always)
  func assigned(at index: Int) -> UpstreamPointer? {
    let u = slab[assigned[index]]
    let isWaiting =
      u.transport.pointee.socket.isValid && u.pointee.phase == .assigned
      && u.transport.pointee.closing == .open
    return isWaiting ? u : nil
  }

  @inline(__always)
  mutating func removeAssigned(_ count: Int) {
    if count == assigned.count {
      assigned.removeAll(keepingCapacity: true)
    } else {
      assigned.removeFirst(count)
    }
  }

  // MARK: Reading and sending

  /// Starts a receive, unless one is in flight or nothing is to be read.
  @inline(__always)
  func arm<E: Engine & ~Copyable>(_ u: UpstreamPointer, _ loop: inout Loop<E>) {
    u.transport.pointee.arm(token(.upstreamReceive, u.pointee.slot), &loop.engine)
  }

  /// The receive in flight has ended: the next one begins, unless the connection is at its end.
  @inline(__always)
  mutating func receiveEnded<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) {
    if u.transport.pointee.closing == .joining { joining.append(u.pointee.slot) }
    arm(u, &loop)
  }

  /// Sends what waits, if nothing is in flight.
  @inline(__always)
  func send<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ urgency: SendUrgency, _ loop: inout Loop<E>
  ) {
    loop.flush(u.transport, urgency, token(.upstreamSend, u.pointee.slot), node: node(u))
  }

  /// The send in flight has ended. - Returns: false if the connection waited for no more than that.
  @inline(__always)
  mutating func sendEnded<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) -> Bool {
    u.transport.pointee.sent()
    // It has said goodbye.
    if u.transport.pointee.closing == .flushing { join(u, &loop) }
    return isInUse(u)
  }

  /// Remembers a connection whose request can no longer be sent.
  mutating func noteLost(_ u: UpstreamPointer) { lost.append(u.pointee.slot) }

  @inline(__always) var hasLost: Bool { !lost.isEmpty }
  mutating func takeLost() -> UpstreamPointer? {
    while let slot = lost.popLast() {
      if isActive(slot), slab[slot].transport.pointee.closing == .open { return slab[slot] }
    }
    return nil
  }

  /// Memory in which a TLS session speaks.
  @inline(__always) var scratch: UnsafeMutableRawBufferPointer { channels.scratch }

  /// The connect has ended. - Returns: false if the connection waited for no more than that.
  mutating func connectEnded(_ u: UpstreamPointer) -> Bool {
    u.transport.pointee.connected()
    return isInUse(u)
  }

  @inline(__always)
  private mutating func isInUse(_ u: UpstreamPointer) -> Bool {
    guard u.transport.pointee.closing == .joining else { return true }
    joining.append(u.pointee.slot)
    return false
  }

  // MARK: Letting go

  /// Unties a connection from its exchange.
  private func detach(_ u: UpstreamPointer) {
    guard u.pointee.exchange >= 0 else { return }
    u.pointee.exchange = -1
    server(of: u).pointee.active -= 1
  }

  /// The exchange is done with its connection: back to the pool, or closed.
  /// - Parameters:
  ///   - keep: the response was read whole, and the server keeps the connection.
  ///   - isLarge: the response was.
  @inline(__always)
  mutating func release<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, keep: Bool, isLarge: Bool, _ loop: inout Loop<E>
  ) {
    let t = u.transport
    detach(u)
    keepTickets(u)
    let state = server(of: u)
    // A server that is no longer configured keeps no connection.
    guard keep, u.pointee.phase == .busy, loop.isServing, !t.pointee.readClosed,
      t.pointee.unread.isEmpty, t.pointee.unsent.isEmpty, u.pointee.outgoing.isEmpty,
      state.pointee.group >= 0, pools.idleTotal < idleLimit
    else { return close(u, &loop) }
    u.pointee.group = state.pointee.group
    u.pointee.server = state.pointee.place
    let plan = loop.plan.upstreams + Int(u.pointee.group)
    guard plan.pointee.idleLimit > 0 else { return close(u, &loop) }
    let now = loop.engine.now
    let time = min(plan.pointee.idleTimeout, u.pointee.keepAlive, state.pointee.idleTime(now: now))
    guard time > 0 else { return close(u, &loop) }
    u.pointee.phase = .idle
    u.pointee.isReused = true
    u.pointee.idleSince = now
    t.pointee.paused = false
    t.pointee.deadline = now + time
    // Shorter than any configured time: the wheel would not look often enough.
    if time < loop.plan.shortestTimeout { loop.armTimerExactly(t, node(u)) }
    linkIdle(u)
    state.pointee.prefersLarge = isLarge
    t.pointee.setMode(isLarge ? .once : .stream, &loop.engine)
    if state.pointee.idleCount > plan.pointee.idleLimit {
      close(slab[UInt32(state.pointee.idleTail)], &loop)
    }
    arm(u, &loop)
  }

  /// The exchange is done with its connection, and what came on it must not be taken for whole: a reset.
  mutating func abort<E: Engine & ~Copyable>(_ u: UpstreamPointer, _ loop: inout Loop<E>) {
    detach(u)
    keepTickets(u)
    join(u, resets: true, &loop)
  }

  /// Ends a connection that serves no exchange: TLS says goodbye where nothing is in the way, then it
  /// is joined, and closed when nothing is in flight.
  mutating func close<E: Engine & ~Copyable>(_ u: UpstreamPointer, _ loop: inout Loop<E>) {
    let t = u.transport
    guard t.pointee.closing == .open else { return }
    keepTickets(u)
    if isLinked(u) { unlinkIdle(u) }
    u.pointee.outgoing.clear()
    if let channel = t.pointee.tls, channel.pointee.isEstablished, t.pointee.isIdle,
      !t.pointee.readClosed
    {
      t.pointee.beginFlushing()
      t.pointee.sendCloseNotify(channel, scratch: channels.scratch, &loop.engine)
      send(u, .awaited, &loop)
      if t.pointee.sending {
        t.pointee.deadline = loop.engine.now + Self.goodbyeNanoseconds
        loop.armTimer(t, node(u))
        return loop.engine.expediteSends()
      }
    }
    join(u, &loop)
  }

  /// How long close_notify may take to leave, in nanoseconds.
  private static var goodbyeNanoseconds: Int64 { 1_000_000_000 }

  /// Closes a connection when nothing is in flight any more.
  /// - Parameter resets: the server shall see a reset.
  mutating func join<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, resets: Bool = false, _ loop: inout Loop<E>
  ) {
    guard u.transport.pointee.closing != .joining else { return }
    u.transport.pointee.join(&loop.engine, resets: resets)
    joining.append(u.pointee.slot)
  }

  @inline(__always) var hasJoining: Bool { !joining.isEmpty }

  /// Closes what has nothing in flight any more.
  @inline(__always)
  mutating func reap<E: Engine & ~Copyable>(_ loop: inout Loop<E>) {
    while let slot = joining.popLast() { reap(slot, &loop) }
  }

  private mutating func reap<E: Engine & ~Copyable>(_ slot: UInt32, _ loop: inout Loop<E>) {
    let u = slab[slot]
    let t = u.transport
    guard t.pointee.isJoined else { return }
    // TRAP: a connection is closed behind `detach`, or has no exchange.
    precondition(u.pointee.exchange < 0, "an upstream connection closed under its exchange")
    t.pointee.close(&loop.engine)
    channels.close(&t.pointee)
    loop.wheel.disarm(node(u))
    u.deinitialize(count: 1)
    // The list may name a slot twice: a free slot is told by its socket.
    t.pointee.socket = .none
    slab.release(slot)
  }
}
