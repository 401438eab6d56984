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
  private let inPlace = InPlace()
  private var slab: Slab<UpstreamConnection>
  /// The protocol that is spoken on them.
  var http1: HTTP1Client
  var http2: HTTP2Client
  let pools: ServerPools
  private var channels: TLSChannels
  /// Connections that may have nothing in flight any more.
  private var joining: [UInt32] = []
  /// Connections that were given a request in this turn: it leaves at the turn's end.
  var assigned: [ExchangeKey] = []
  /// Connections of HTTP/2 with something to send at the turn's end.
  private var noted: [UInt32] = []
  /// Connections whose request can no longer be sent; settled at the turn's end.
  private var lost: [ExchangeKey] = []
  /// Where the nodes of these connections begin in the timer wheel.
  private let timerBase: Int
  /// Idle connections that leave a slot to each exchange, however many servers a later plan has.
  let idleLimit: Int

  /// - Parameters:
  ///   - exchanges: of which each may have a connection.
  ///   - timerBase: of the nodes in the timer wheel.
  init(_ plan: Plan, exchanges: Int, timerBase: Int) {
    let idle = Self.idleTotal(plan)
    // A connection of HTTP/2 has a slot beside those of its streams.
    slab = Slab(capacity: exchanges + exchanges / 8 + idle)
    http1 = HTTP1Client(plan.limits)
    http2 = HTTP2Client(plan.limits, connections: slab.capacity)
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
  func generation(_ slot: UInt32) -> UInt32 { slab.generation(slot) }

  @inline(__always)
  func connection(of u: UpstreamPointer) -> UnsafeMutablePointer<HTTP2Connection> {
    http2[
      u.pointee.kind == .stream ? UInt32(bitPattern: u.pointee.http2.connection) : u.pointee.slot]
  }

  @inline(__always)
  func key(_ u: UpstreamPointer) -> ExchangeKey {
    ExchangeKey(slot: u.pointee.slot, generation: generation(u.pointee.slot))
  }

  /// The stream, or connection, with this key, if it is still there.
  func stream(_ key: ExchangeKey) -> UpstreamPointer? {
    generation(key.slot) == key.generation ? self[key.slot] : nil
  }

  func stream(named tag: UInt64) -> UpstreamPointer? {
    HTTP2Connection.key(tag).flatMap { stream($0) }
  }

  mutating func takeSlot() -> UInt32? { slab.take() }
  mutating func releaseSlot(_ slot: UInt32) { slab.release(slot) }

  @inline(__always)
  private func token(_ kind: TokenKind, _ slot: UInt32) -> Token {
    Token(kind: kind.rawValue, generation: slab.generation(slot), slot: slot)
  }

  func token(_ kind: TokenKind, _ u: UpstreamPointer) -> Token { token(kind, u.pointee.slot) }

  @inline(__always)
  func node(_ u: UpstreamPointer) -> Int { timerBase + Int(u.pointee.slot) }

  @inline(__always)
  func server(of u: UpstreamPointer) -> UnsafeMutablePointer<ServerState> {
    pools.server(u.pointee.group, u.pointee.server)
  }

  // MARK: Making one

  /// - Parameters:
  ///   - exchange: -1: the connection is one of HTTP/2.
  ///   - offersHTTP1: and nothing else, whatever its server would choose.
  mutating func connect<E: Engine & ~Copyable>(
    _ exchange: Int32, _ group: Int32, _ server: Int32, _ start: AddressChoice,
    offersHTTP1: Bool = false, _ loop: inout Loop<E>
  ) -> Attachment {
    guard let slot = slab.take() else { return .failed(.resourcesExhausted) }
    let plan = loop.plan.upstreams + Int(group)
    let state = pools.server(group, server)
    var session: TLSSession?
    if let context = plan.pointee.tls {
      session = makeSession(
        context.takeUnretainedValue(), plan.pointee.servers[Int(server)], state,
        offersHTTP1: offersHTTP1)
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
    u.pointee.offersHTTP1 = offersHTTP1
    if let made = session.take(), !channels.open(made, on: &u.pointee.transport) {
      close(u, &loop)
      return .failed(.resourcesExhausted)
    }
    u.pointee.exchange = exchange
    if exchange >= 0 { state.pointee.active += 1 } else { u.pointee.kind = .http2 }
    if exchange >= 0 && state.pointee.prefersLarge { u.pointee.transport.mode = .once }
    u.pointee.connectStart = loop.engine.now
    u.pointee.transport.deadline = loop.engine.now + plan.pointee.connectTimeout
    loop.armTimer(u.transport, node(u))
    return .connecting(u)
  }

  /// A connection is made, and its handshake done where it has one: its address is the first to be
  /// tried from now on.
  mutating func established(_ u: UpstreamPointer) {
    u.pointee.phase = .busy
    server(of: u).pointee.address = u.pointee.choice.index
  }

  /// A server could be reached at none of its addresses: it is passed over for a while.
  func noteUnreachable<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: borrowing Loop<E>
  ) {
    let state = server(of: u)
    state.pointee.downUntil = loop.engine.now + ServerPools.coolOffNanoseconds
    loop.counters[server: state.pointee.row, .downUntil] = Int(state.pointee.downUntil)
  }

  // MARK: What was assigned in this turn

  @inline(__always) var assignedCount: Int { assigned.count }

  /// The connection at `index`, if it still waits to send its request.
  @inline(__always)
  func waiting(at index: Int) -> UpstreamPointer? {
    let own = assigned[index]
    // A stream that was let go in this turn, and its slot taken by another one: that has a place of its
    // own, since heads leave in the order in which streams were opened.
    guard slab.generation(own.slot) == own.generation else { return nil }
    let u = slab[own.slot]
    let isWaiting =
      (u.transport.pointee.socket.isValid || u.pointee.kind == .stream)
      && u.pointee.phase == .assigned && u.transport.pointee.closing == .open
    return isWaiting ? u : nil
  }

  mutating func addNoted(_ slot: UInt32) { noted.append(slot) }
  @inline(__always) var hasNoted: Bool { !noted.isEmpty }

  /// A connection of HTTP/2 that has something to send, as long as there is one.
  mutating func takeNoted() -> UpstreamPointer? {
    while let slot = noted.popLast() {
      guard isActive(slot), slab[slot].pointee.kind == .http2 else { continue }
      return slab[slot]
    }
    return nil
  }

  mutating func addAssigned(_ u: UpstreamPointer) { assigned.append(key(u)) }

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
    if u.pointee.kind == .stream { return }
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
  mutating func send<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ urgency: SendUrgency, _ loop: inout Loop<E>
  ) {
    if u.pointee.kind == .stream {
      if u.pointee.http2.connection >= 0 {
        noteOutput(UInt32(bitPattern: u.pointee.http2.connection))
      }
      return
    }
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

  /// Has a connection flushed at the turn's end, with all that its streams have to send.
  @inline(__always)
  mutating func noteOutput(_ slot: UInt32) {
    guard !http2[slot].pointee.isNoted else { return }
    http2[slot].pointee.isNoted = true
    addNoted(slot)
  }

  /// Remembers a connection whose request can no longer be sent.
  mutating func noteLost(_ u: UpstreamPointer) { lost.append(key(u)) }

  @inline(__always) var hasLost: Bool { !lost.isEmpty }
  mutating func takeLost() -> UpstreamPointer? {
    while let key = lost.popLast() {
      if let u = stream(key), isActive(key.slot), u.transport.pointee.closing == .open { return u }
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

  // MARK: The end

  /// Unties a connection from its exchange.
  mutating func detach(_ u: UpstreamPointer) {
    guard u.pointee.exchange >= 0 else { return }
    u.pointee.exchange = -1
    server(of: u).pointee.active -= 1
  }

  /// Ends a connection that serves no exchange: TLS says goodbye where nothing is in the way, then it
  /// is joined, and closed when nothing is in flight.
  mutating func close<E: Engine & ~Copyable>(_ u: UpstreamPointer, _ loop: inout Loop<E>) {
    let t = u.transport
    guard t.pointee.closing == .open else { return }
    if u.pointee.kind == .http2 {
      unlinkShared(u)
    } else {
      keepTickets(u)
      if isLinked(u) { unlinkIdle(u) }
    }
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
    if u.pointee.kind == .http2 { http2.close(slot) }
    u.deinitialize(count: 1)
    // The list may name a slot twice: a free slot is told by its socket.
    t.pointee.socket = .none
    slab.release(slot)
  }
}
