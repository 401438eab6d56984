// Getting a connection to a server, from the pool or anew; another one when it fails; and its way
// back into the pool, or its end.

import Configuration
import Glibc
import HTTP1
import MillraceEngine
import Transport

extension Worker where E: ~Copyable {
  // MARK: Getting one

  /// Gives an exchange a connection, with the frame as the first thing to send on it.
  /// - Parameters:
  ///   - avoid: the server that just failed, or -1.
  ///   - fresh: makes a new connection although idle ones are there: they may be as stale as the
  ///     one that just failed.
  mutating func attach(
    _ x: ExchangePointer, _ frame: consuming SendFrame, avoid: Int32, fresh: Bool = false
  ) {
    let group = x.pointee.group
    let upstream = plan.upstreams[Int(group)]
    let server = pools.choose(
      group, upstream, avoid: avoid, now: engine.now,
      random: upstream.balance == .randomTwo ? randomWord() : 0)
    x.pointee.server = server
    let state = pools.server(group, server)
    state.pointee.active += 1
    counters[server: state.pointee.row, .requests] += 1
    if !fresh, let u = takeIdle(state) {
      u.pointee.phase = .assigned
      u.pointee.exchange = Int32(x.pointee.slot)
      u.pointee.transport.deadline = .max
      counters.upstreamReuses += 1
      counters[server: state.pointee.row, .reuses] += 1
      x.pointee.upstream = Int32(u.pointee.slot)
      x.pointee.connected = engine.now
      give(frame, to: u)
      assigned.append(u.pointee.slot)
      return
    }
    connect(x, frame)
  }

  /// The most recently used idle connection whose time has not passed. The timer wheel closes those
  /// whose time has, but not to the moment.
  private mutating func takeIdle(
    _ state: UnsafeMutablePointer<ServerState>
  ) -> UpstreamPointer? {
    while state.pointee.idleHead >= 0 {
      let u = upstreams[UInt32(state.pointee.idleHead)]
      if Self.transport(u).pointee.deadline > engine.now {
        unlinkIdle(u)
        return u
      }
      closeUpstream(u)
    }
    return nil
  }

  /// Sends the requests that idle connections were given in this turn. Everything that had arrived by
  /// the turn's beginning has been looked at by now: a connection on which its server had spoken
  /// unasked, or which it had closed, no longer has its request (`reassign`).
  mutating func submitAssigned() {
    guard !assigned.isEmpty else { return }
    // By index: a loop over the array itself would retain it.
    for i in assigned.indices {
      let u = upstreams[assigned[i]]
      guard Self.transport(u).pointee.socket.isValid, u.pointee.phase == .assigned,
        Self.transport(u).pointee.closing == .open
      else { continue }
      u.pointee.phase = .busy
      flushUpstream(u)
    }
    assigned.removeAll(keepingCapacity: true)
  }

  /// Gives a request to another connection, of which no byte has left: whatever its method is, that
  /// is no second try.
  mutating func reassign(_ u: UpstreamPointer) {
    let x = exchanges[UInt32(u.pointee.exchange)]
    let d = downstreams[x.pointee.downstream]
    let frame = Self.transport(u).pointee.unsent.take()
    x.pointee.upstream = -1
    detach(u)
    closeUpstream(u)
    counters.upstreamStale += 1
    guard let frame else { return failExchange(x, .resourcesExhausted) }
    attach(x, frame, avoid: -1)
    flushAttached(x, d)
  }

  mutating func give(_ frame: consuming SendFrame, to u: UpstreamPointer) {
    Self.transport(u).pointee.unsent.put(frame)
  }

  mutating func randomWord() -> UInt32 {
    var word: UInt32 = 0
    withUnsafeMutableBytes(of: &word) { engine.randomBytes($0) }
    return word
  }

  /// - Parameter at: the address to try; nil: the one that worked last.
  mutating func connect(
    _ x: ExchangePointer, _ frame: consuming SendFrame, at start: AddressChoice? = nil
  ) {
    let plan = self.plan.upstreams[Int(x.pointee.group)]
    guard let slot = upstreams.take() else {
      pools.server(x.pointee.group, x.pointee.server).pointee.active -= 1
      return failExchange(x, .resourcesExhausted)
    }
    let token = upstreamToken(.upstreamConnect, slot)
    var choice = start ?? firstAddress(x)
    let socket: Descriptor
    do {
      socket = try openConnection(x, &choice, token)
    } catch {
      upstreams.release(slot)
      pools.server(x.pointee.group, x.pointee.server).pointee.active -= 1
      return failExchange(
        x, Self.isExhaustion(error.code) ? .resourcesExhausted : .connectFailed)
    }
    counters.upstreamConnects += 1
    counters[server: pools.row(x.pointee.group, x.pointee.server), .connects] += 1
    let u = upstreams[slot]
    u.initialize(
      to: Upstream(
        socket: socket, slot: slot, group: x.pointee.group, server: x.pointee.server))
    u.pointee.choice = choice
    u.pointee.exchange = Int32(x.pointee.slot)
    if pools.server(x.pointee.group, x.pointee.server).pointee.prefersLarge {
      u.pointee.transport.mode = .once
    }
    u.pointee.connectStart = engine.now
    u.pointee.transport.deadline = engine.now + plan.connectTimeout
    x.pointee.upstream = Int32(slot)
    give(frame, to: u)
    wheel.arm(
      upstreamTimerBase + Int(slot), at: lookAt(u.pointee.transport.deadline, engine.now))
  }

  mutating func upstreamConnected(_ slot: UInt32, _ result: Int32) {
    let u = upstreams[slot]
    let t = Self.transport(u)
    t.pointee.connected()
    if t.pointee.closing == .joining {
      u.pointee.phase = .idle
      reapUpstreams.append(slot)
      return
    }
    guard result == 0 else { return connectFailed(u, Self.ending(ofConnect: result)) }
    u.pointee.phase = .busy
    pools.server(u.pointee.group, u.pointee.server).pointee.address = u.pointee.choice.index
    let now = engine.now
    if u.pointee.exchange >= 0 {
      let x = exchanges[UInt32(u.pointee.exchange)]
      x.pointee.connected = now
      x.pointee.connectMicroseconds = (now - u.pointee.connectStart) / 1000
    }
    armUpstream(u)
    flushUpstream(u)
  }

  static func ending(ofConnect result: Int32) -> Ending {
    switch -result {
    case ECONNREFUSED, ENOENT: .connectRefused
    case EHOSTUNREACH, ENETUNREACH, EHOSTDOWN: .connectUnreachable
    case ETIMEDOUT: .connectTimeout
    default: .connectFailed
    }
  }

  /// A server could not be reached: another one may be, and nothing was sent yet.
  mutating func connectFailed(_ u: UpstreamPointer, _ ending: Ending) {
    counters.upstreamFailures += 1
    counters[server: pools.row(u.pointee.group, u.pointee.server), .connectFailures] += 1
    if tryNextAddress(u) { return }
    let upstream = plan.upstreams[Int(u.pointee.group)]
    let state = pools.server(u.pointee.group, u.pointee.server)
    state.pointee.downUntil = engine.now + ServerPools.coolOffNanoseconds
    let exchange = u.pointee.exchange
    let frame = Self.transport(u).pointee.unsent.take()
    u.pointee.phase = .idle
    detach(u)
    closeUpstream(u)
    guard exchange >= 0 else { return }
    let x = exchanges[UInt32(exchange)]
    let d = downstreams[x.pointee.downstream]
    x.pointee.upstream = -1
    if let frame, upstream.retryOnConnectFailure, x.pointee.attemptsLeft > 0,
      x.pointee.phase == .request
    {
      x.pointee.attemptsLeft -= 1
      counters.retries += 1
      counters[server: state.pointee.row, .retries] += 1
      attach(x, frame, avoid: u.pointee.server)
      return flushAttached(x, d)
    }
    failExchange(x, ending)
    flushDownstream(d)
  }

  /// After `attach`: the request leaves, or the answer that took its place.
  mutating func flushAttached(_ x: ExchangePointer, _ d: DownstreamPointer) {
    if d.pointee.exchange >= 0 && x.pointee.upstream >= 0 {
      flushUpstream(upstreams[UInt32(x.pointee.upstream)])
    } else {
      flushDownstream(d)
    }
  }

  // MARK: Letting go

  /// The response has been read: back to the pool, or closed.
  mutating func releaseUpstream(_ x: ExchangePointer, keep: Bool) {
    guard x.pointee.upstream >= 0 else { return }
    let u = upstreams[UInt32(x.pointee.upstream)]
    let t = Self.transport(u)
    x.pointee.upstream = -1
    detach(u)
    let state = pools.server(u.pointee.group, u.pointee.server)
    // A server that is no longer configured keeps no connection.
    guard keep, u.pointee.phase == .busy, drain == .serving, !t.pointee.readClosed,
      t.pointee.unread.isEmpty, t.pointee.unsent.isEmpty, state.pointee.group >= 0,
      pools.idleTotal < idleLimit
    else { return closeUpstream(u) }
    u.pointee.group = state.pointee.group
    u.pointee.server = state.pointee.place
    let plan = self.plan.upstreams[Int(u.pointee.group)]
    guard plan.idleLimit > 0 else { return closeUpstream(u) }
    let now = engine.now
    let time = min(plan.idleTimeout, u.pointee.keepAlive, state.pointee.idleTime(now: now))
    guard time > 0 else { return closeUpstream(u) }
    u.pointee.phase = .idle
    u.pointee.isReused = true
    u.pointee.idleSince = now
    t.pointee.paused = false
    t.pointee.deadline = now + time
    if time < self.plan.shortestTimeout {
      // Shorter than any configured time: the wheel would not look often enough.
      t.pointee.isWatched = false
      wheel.arm(upstreamTimerBase + Int(u.pointee.slot), at: t.pointee.deadline)
    }
    linkIdle(u)
    state.pointee.prefersLarge = x.pointee.responseBytes > Watermark.largeBody
    t.pointee.setMode(state.pointee.prefersLarge ? .once : .stream, &engine)
    if state.pointee.idleCount > plan.idleLimit {
      closeUpstream(upstreams[UInt32(state.pointee.idleTail)])
    }
    armUpstream(u)
  }

  /// Unties a connection from its exchange.
  mutating func detach(_ u: UpstreamPointer) {
    guard u.pointee.exchange >= 0 else { return }
    u.pointee.exchange = -1
    pools.server(u.pointee.group, u.pointee.server).pointee.active -= 1
  }

  mutating func linkIdle(_ u: UpstreamPointer) {
    let state = pools.server(u.pointee.group, u.pointee.server)
    let slot = Int32(u.pointee.slot)
    u.pointee.idlePrevious = -1
    u.pointee.idleNext = state.pointee.idleHead
    if state.pointee.idleHead >= 0 {
      upstreams[UInt32(state.pointee.idleHead)].pointee.idlePrevious = slot
    } else {
      state.pointee.idleTail = slot
    }
    state.pointee.idleHead = slot
    pools.countIdle(state, 1)
  }

  mutating func unlinkIdle(_ u: UpstreamPointer) {
    let state = pools.server(u.pointee.group, u.pointee.server)
    let next = u.pointee.idleNext
    let previous = u.pointee.idlePrevious
    if next >= 0 {
      upstreams[UInt32(next)].pointee.idlePrevious = previous
    } else {
      state.pointee.idleTail = previous
    }
    if previous >= 0 {
      upstreams[UInt32(previous)].pointee.idleNext = next
    } else {
      state.pointee.idleHead = next
    }
    u.pointee.idleNext = -1
    u.pointee.idlePrevious = -1
    pools.countIdle(state, -1)
  }

  func isLinked(_ u: UpstreamPointer) -> Bool {
    u.pointee.idlePrevious >= 0 || u.pointee.idleNext >= 0
      || pools.server(u.pointee.group, u.pointee.server).pointee.idleHead
        == Int32(u.pointee.slot)
  }

  /// Ends a connection: joined first, closed when nothing is in flight.
  mutating func closeUpstream(_ u: UpstreamPointer) {
    let t = Self.transport(u)
    guard t.pointee.closing == .open else { return }
    if isLinked(u) { unlinkIdle(u) }
    t.pointee.join(&engine)
    reapUpstreams.append(u.pointee.slot)
  }

  mutating func reapUpstream(_ slot: UInt32) {
    let u = upstreams[slot]
    let t = Self.transport(u)
    guard t.pointee.isJoined else { return }
    // TRAP: `closeUpstream` is called behind `detach`, or on a connection that has no exchange.
    precondition(u.pointee.exchange < 0, "an upstream connection closed under its exchange")
    t.pointee.close(&engine)
    wheel.disarm(upstreamTimerBase + Int(slot))
    u.deinitialize(count: 1)
    // The reap list may name a slot twice: a free slot is told by its socket.
    t.pointee.socket = .none
    upstreams.release(slot)
  }

  // MARK: Another try

  /// Sends the request again on another connection, if that is safe and still allowed.
  /// - Returns: false if the exchange has to fail.
  mutating func retry(_ x: ExchangePointer) -> Bool {
    guard x.pointee.phase == .request, x.pointee.replayLength > 0,
      x.pointee.attemptsLeft > 0, plan.upstreams[Int(x.pointee.group)].retryOnReset,
      let made = engine.frame()
    else { return false }
    var frame = made
    frame.append(
      UnsafeRawBufferPointer(start: replayMemory(x), count: x.pointee.replayLength))
    x.pointee.attemptsLeft -= 1
    x.pointee.replayLength = 0
    counters.retries += 1
    let failed = x.pointee.server
    counters[server: pools.row(x.pointee.group, failed), .retries] += 1
    let d = downstreams[x.pointee.downstream]
    releaseUpstream(x, keep: false)
    let several = plan.upstreams[Int(x.pointee.group)].servers.count > 1
    attach(x, frame, avoid: several ? failed : -1, fresh: true)
    flushAttached(x, d)
    return true
  }
}
