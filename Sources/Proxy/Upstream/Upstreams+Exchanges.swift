// What an exchange gets of a server and gives back: a connection of its own, from the pool or anew, or a
// stream of one that is shared.

import Configuration
import Exchange
import Glibc
import MillraceEngine
import TLS
import Transport

extension Upstreams {
  // MARK: Getting one

  /// Gets a connection for an exchange.
  /// - Parameters:
  ///   - server: out: the server that was chosen, whatever comes of it.
  ///   - avoid: the server that just failed, or -1.
  ///   - anew: makes a new connection although idle ones are there: they may be as stale as the one
  ///     that just failed.
  ///   - use: what it is for.
  ///   - isWritten: the request is there already, in the protocol that `use` asks for.
  @inline(__always)
  mutating func attach<E: Engine & ~Copyable>(
    _ exchange: UInt32, _ group: Int32, server: inout Int32, avoid: Int32, anew: Bool,
    use: ConnectionUse, isWritten: Bool, _ loop: inout Loop<E>
  ) -> Attachment {
    let plan = loop.plan.upstreams + Int(group)
    var random: UInt32 = 0
    if plan.pointee.balance == .randomTwo {
      withUnsafeMutableBytes(of: &random) { loop.engine.randomBytes($0) }
    }
    server = pools.choose(group, plan, avoid: avoid, now: loop.engine.now, random: random)
    guard server >= 0 else { return .failed(.noServer) }
    let state = pools.server(group, server)
    if plan.pointee.speaks != .http11, use < .tunnelOverHTTP1,
      plan.pointee.speaks != .negotiated || state.pointee.choosesHTTP2
    {
      let made =
        use == .message
        ? attachStream(
          exchange, group, server,
          awaitsChoice: plan.pointee.speaks == .negotiated && !isWritten, &loop)
        : attachTunnel(exchange, group, server, &loop)
      // Else it is counted where it is asked for by HTTP/1.1.
      if !made.isNoTunnel { loop.counters[server: state.pointee.row, .requests] += 1 }
      return made
    }
    loop.counters[server: state.pointee.row, .requests] += 1
    if !anew, let u = takeIdle(state, &loop) {
      state.pointee.active += 1
      // It may be of a newer plan than the exchange, which is the one that holds its own until `release`.
      u.pointee.group = group
      u.pointee.server = server
      u.pointee.phase = .assigned
      u.pointee.exchange = Int32(bitPattern: exchange)
      u.pointee.transport.deadline = .max
      loop.counters.upstreamReuses += 1
      loop.counters[server: state.pointee.row, .reuses] += 1
      addAssigned(u)
      return .assigned(u)
    }
    let first = AddressChoice(
      index: state.pointee.address,
      left: Int32(plan.pointee.servers[Int(server)].addresses.count) - 1)
    let made = connect(
      Int32(bitPattern: exchange), group, server, first, offersHTTP1: use == .tunnelOverHTTP1,
      &loop)
    guard plan.pointee.speaks == .negotiated, use != .raw, !(isWritten && use == .tunnelOverHTTP1),
      case .connecting(let u) = made
    else {
      return made
    }
    u.pointee.kind = .dialed
    return .dialing(u)
  }

  /// A connect has failed: goes on with the server's next address. It is the same attempt, since
  /// nothing was sent; what is to be sent goes with it.
  mutating func tryNextAddress<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) -> NextAddress {
    let isDialed = u.pointee.kind == .dialed
    let offersHTTP1 = u.pointee.offersHTTP1
    guard u.pointee.exchange >= 0, u.pointee.choice.left > 0 else { return .none }
    let written = u.pointee.outgoing.take()
    guard isDialed || written != nil else { return .none }
    let (group, server) = (u.pointee.group, u.pointee.server)
    let exchange = u.pointee.exchange
    let count = loop.plan.upstreams[Int(group)].servers[Int(server)].addresses.count
    var choice = u.pointee.choice
    choice.advance(of: count)
    detach(u)
    close(u, &loop)
    switch connect(exchange, group, server, choice, offersHTTP1: offersHTTP1, &loop) {
    case .connecting(let next), .assigned(let next), .dialing(let next):
      if isDialed { next.pointee.kind = .dialed }
      if let frame = consume written { next.pointee.outgoing.put(frame) }
      return .connecting(next)
    case .noTunnel: return .failed(.noExtendedConnect)
    case .failed(let kind): return .failed(kind)
    }
  }

  // MARK: Letting go

  /// The exchange is done with its connection, and what came on it must not be taken for whole: a reset.
  mutating func abort<E: Engine & ~Copyable>(_ u: UpstreamPointer, _ loop: inout Loop<E>) {
    guard u.pointee.kind != .stream else { return release(u, keep: false, isLarge: false, &loop) }
    detach(u)
    keepTickets(u)
    join(u, resets: true, &loop)
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
    if u.pointee.kind == .stream { return releaseStream(u, keep: keep, &loop) }
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
    guard plan.pointee.idleLimit > 0,
      plan.pointee.servers[Int(u.pointee.server)].admission.admission != .maintenance
    else { return close(u, &loop) }
    let now = loop.engine.now
    let time = min(plan.pointee.idleTimeout, u.pointee.keepAlive, state.pointee.idleTime(now: now))
    guard time > 0 else { return close(u, &loop) }
    u.pointee.phase = .idle
    // One that was prepared for an end which needed no byte.
    u.pointee.outgoing.clear()
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
      close(self[UInt32(state.pointee.idleTail)], &loop)
    }
    arm(u, &loop)
  }
}
