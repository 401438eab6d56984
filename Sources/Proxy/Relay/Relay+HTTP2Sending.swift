// What becomes of responses over HTTP/2 (windows that open, room that there is again, what was sent), and
// what comes from outside: deadlines, the drain, the end of the connection.

import Exchange
import Glibc
import HTTP
import HTTP1
import HTTP2
import Logging
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  // MARK: Windows

  /// Goes on with responses whose windows have opened.
  mutating func resumeWindows(_ d: DownstreamPointer) {
    let c = http2(d)
    // Larger windows are used from their acknowledgement on.
    if c.pointee.session.hasPendingWindowIncrease, !c.pointee.putControl(&loop) { return }
    guard c.pointee.hasOpened else { return }
    c.pointee.hasOpened = false
    // Exchanges that end meanwhile change places with the last one, which has been looked at.
    var index = c.pointee.exchanges.count - 1
    while index >= 0 {
      if index < c.pointee.exchanges.count {
        resumeWindow(exchanges[c.pointee.exchanges[index]], c)
      }
      index -= 1
    }
  }

  private mutating func resumeWindow(
    _ x: ExchangePointer, _ c: UnsafeMutablePointer<HTTP2Connection>
  ) {
    let place = Int(x.pointee.request.http2.place)
    guard x.pointee.request.http2.awaitsWindow, place >= 0, c.pointee.session.window(place) > 0
    else { return }
    x.pointee.request.http2.awaitsWindow = false
    x.pointee.request.http2.deadline = .max
    _ = perform(x, x.pointee.state.responseWindowOpened())
  }

  // MARK: Sending

  private mutating func http2Unsendable(_ d: DownstreamPointer) {
    endExchanges(d) { $0.downstreamGone(.downstreamUnsendable) }
    downstreams.join(d, resets: true, &loop)
  }

  /// Gives streams their turn that had found no room, the most urgent first (RFC 9218 10).
  private mutating func pushReady(
    _ d: DownstreamPointer, _ c: UnsafeMutablePointer<HTTP2Connection>
  ) {
    while !c.pointee.output.ready.isEmpty {
      guard let index = mostUrgent(c) else { return }
      let key = c.pointee.output.ready[index]
      if let x = exchange(key),
        c.pointee.output.choice.defers(priority(of: x, c).urgency, now: loop.engine.now)
      {
        return downstreams.addResumable(d)
      }
      c.pointee.output.ready.remove(at: index)
      guard let x = exchange(key) else { continue }
      x.pointee.request.http2.isReady = false
      guard x.pointee.state.mayLeave else { continue }
      _ = pushHeld(x)
      guard let x = exchange(key), x.pointee.request.http2.isReady else { continue }
      // It found none again, and has not had its turn.
      if c.pointee.output.ready.last == key {
        c.pointee.output.ready.removeLast()
        c.pointee.output.ready.insert(key, at: min(index, c.pointee.output.ready.count))
      }
      return
    }
  }

  /// The place of the exchange whose turn it is: by urgency, and then the one that has waited longest. A
  /// response whose parts are of no use by themselves gives its turn to the first such one that was asked
  /// for (RFC 9218 10).
  private func mostUrgent(_ c: UnsafeMutablePointer<HTTP2Connection>) -> Int? {
    var best: (index: Int, priority: Priority, id: UInt32)?
    var turn = 0
    for (index, key) in c.pointee.output.ready.enumerated() {
      guard let x = exchange(key) else { return index }
      let id = x.pointee.request.http2.id
      let priority = priority(of: x, c)
      guard let found = best else {
        best = (index, priority, id)
        continue
      }
      if priority.urgency < found.priority.urgency {
        best = (index, priority, id)
        turn = index
      } else if priority == found.priority, !priority.isIncremental, id < found.id {
        best = (index, priority, id)
      }
    }
    guard let best else { return nil }
    if best.index != turn { c.pointee.output.ready.swapAt(best.index, turn) }
    return turn
  }

  private func priority(
    of x: ExchangePointer, _ c: UnsafeMutablePointer<HTTP2Connection>
  ) -> Priority {
    let place = x.pointee.request.http2.place
    if place >= 0 { return c.pointee.session.priority(Int(place)) }
    // Its last frames are written: it is done with once they have left.
    var priority = Priority()
    priority.urgency = 0
    return priority
  }

  /// The transport took all that was in flight.
  mutating func http2Sent(_ d: DownstreamPointer) {
    let c = http2(d)
    let t = d.transport
    var taken = StreamBytesList()
    swap(&taken, &c.pointee.output.flying)
    c.pointee.output.choice.isOpen = true
    c.pointee.output.choice.urgency = StreamChoice.noUrgency
    for index in 0..<taken.count {
      let bytes = taken[index]
      guard let x = exchange(bytes.key) else { continue }
      if x.pointee.state.mode == .tunnel { noteTaken(x) }
      if perform(x, x.pointee.state.responseTaken(bytes.count)),
        x.pointee.state.response == .relaying, bytes.count >= StreamChoice.much
      {
        c.pointee.output.choice.urgency = min(
          c.pointee.output.choice.urgency, priority(of: x, c).urgency)
      }
    }
    // The memory is kept for the next send.
    taken.removeAll()
    c.pointee.output.choice.isOpen = false
    if c.pointee.output.flying.isEmpty { swap(&taken, &c.pointee.output.flying) }
    if t.pointee.closing == .open && c.pointee.exchanges.isEmpty && t.pointee.unsent.isEmpty {
      idleHTTP2(d)
    }
    c.pointee.output.choice.endedAt = loop.engine.now
    if t.pointee.closing == .open { pushReady(d, c) }
    if c.pointee.isBlocked || t.pointee.closing == .flushing {
      downstreams.flushHTTP2(d, &loop)
      if c.pointee.isBlocked && !c.pointee.session.isControlFull { unblockHTTP2(d) }
    }
    // With it leaves what else this turn brings.
    downstreams.noteOutput(d)
    if let channel = t.pointee.tls, channel.pointee.isStalled { resumeDecrypting(d, channel) }
    if t.pointee.closing == .flushing { downstreams.advanceClosing(d, &loop) }
  }

  private mutating func unblockHTTP2(_ d: DownstreamPointer) {
    http2(d).pointee.isBlocked = false
    d.transport.pointee.paused = false
    downstreams.addResumable(d)
  }

  /// The connection has no stream: its own time runs.
  private mutating func idleHTTP2(_ d: DownstreamPointer) {
    guard d.pointee.phase == .idle else { return }
    d.transport.pointee.deadline = http2(d).pointee.idleUntil
  }

  /// The end of a turn: what was kept is used, and what there is leaves.
  mutating func resumeHTTP2(_ d: DownstreamPointer) {
    http2(d).pointee.isResumable = false
    if http2(d).pointee.output.isLost { return http2Unsendable(d) }
    resumeWindows(d)
    http2UseUnread(d)
    pushReady(d, http2(d))
    downstreams.flushHTTP2(d, &loop)
    if d.transport.pointee.closing == .open { downstreams.arm(d, &loop) }
  }

  /// Sends what clients of HTTP/2 were given in this turn.
  @inline(__always)
  mutating func flushClients() {
    let count = downstreams.notedCount
    if count > 0 { flushClients(count) }
  }

  private mutating func flushClients(_ count: Int) {
    for index in 0..<count {
      guard let d = downstreams.noted(at: index) else { continue }
      if d.transport.pointee.closing == .open {
        if http2(d).pointee.output.isLost {
          http2Unsendable(d)
        } else {
          resumeWindows(d)
          // While something is in flight there is no room for those that have found none.
          if !d.pointee.transport.sending { pushReady(d, http2(d)) }
        }
      }
      // What it is given from here on is for the next turn's end.
      http2(d).pointee.isNoted = false
      downstreams.flushHTTP2(d, &loop)
    }
    downstreams.removeNoted(count)
  }

  // MARK: Deadlines, and ends that come from outside

  /// Ends every exchange of a connection.
  mutating func endExchanges(
    _ d: DownstreamPointer, _ event: (inout ExchangeState) -> Actions
  ) {
    let c = http2(d)
    while let slot = c.pointee.exchanges.last {
      let x = exchanges[slot]
      // TRAP: an event that ends the exchange takes it out of the list.
      if perform(x, event(&x.pointee.state)) { return }
    }
  }

  /// - Returns: true if tunnels are left, or the connection has ended.
  private mutating func endExchangesBesideTunnels(_ d: DownstreamPointer) -> Bool {
    let c = http2(d)
    var index = c.pointee.exchanges.count - 1
    while index >= 0 {
      if index < c.pointee.exchanges.count {
        let x = exchanges[c.pointee.exchanges[index]]
        if !x.pointee.state.isTunnel, perform(x, x.pointee.state.drainDeadline()) { return true }
      }
      index -= 1
    }
    return !c.pointee.exchanges.isEmpty
  }

  mutating func http2Due(_ d: DownstreamPointer) {
    let t = d.transport
    let c = http2(d)
    let now = loop.engine.now
    if t.pointee.hasProgressed(loop.engine) && !c.pointee.exchanges.isEmpty { setSendDeadline(d) }
    var index = c.pointee.exchanges.count - 1
    while index >= 0 {
      if index < c.pointee.exchanges.count {
        let x = exchanges[c.pointee.exchanges[index]]
        if now >= x.pointee.request.http2.deadline { http2TimedOut(x) }
      }
      index -= 1
    }
    if now >= c.pointee.refusesAt, t.pointee.closing == .open { drainHTTP2(d) }
    let isDue = now >= t.pointee.deadline
    if isDue { t.pointee.deadline = .max }
    loop.rearmTimer(t, Int(d.pointee.slot))
    loop.armTimer(t, Int(d.pointee.slot), orAt: checkClient(d))
    if isDue { http2ConnectionTimedOut(d) }
    downstreams.flushHTTP2(d, &loop)
  }

  /// Asks a client for a sign of life when it has been silent for too long, and ends its connection
  /// where none comes. - Returns: when to look again.
  private mutating func checkClient(_ d: DownstreamPointer) -> Int64 {
    let c = http2(d)
    let rules = loop.plan.listeners[Int(d.pointee.listener)].ping
    // One that is not read cannot be heard; one without a stream has a deadline.
    guard d.transport.pointee.closing == .open, !c.pointee.isClosing, !d.transport.pointee.paused,
      !d.transport.pointee.isStalled, !c.pointee.exchanges.isEmpty
    else { return .max }
    let now = loop.engine.now
    switch c.pointee.ping.step(now, rules) {
    case .none: break
    case .ask: guard c.pointee.ask(now, rules) else { return .max }
    case .overdue:
      loop.counters.http2PingTimeouts += 1
      loop.logger.debug("http2 failed reason=ping_timeout client=\(downstreams.clientName(d))")
      endExchanges(d) { $0.downstreamGone(.downstreamSilent) }
      // It may be there after all, and then it hears why (GOAWAY).
      downstreams.closeWhenSent(d)
      return .max
    }
    return c.pointee.ping.due(rules)
  }

  private mutating func http2TimedOut(_ x: ExchangePointer) {
    x.pointee.request.http2.deadline = .max
    if x.pointee.state.stage == .waiting {
      _ = perform(x, x.pointee.state.roomTimedOut())
    } else if x.pointee.request.http2.awaitsWindow {
      _ = perform(x, x.pointee.state.sendTimedOut())
    } else {
      _ = perform(x, x.pointee.state.bodyTimedOut())
    }
  }

  private mutating func http2ConnectionTimedOut(_ d: DownstreamPointer) {
    let t = d.transport
    switch t.pointee.closing {
    case .joining: break
    case .lingering: downstreams.join(d, &loop)
    case .flushing, .resetting: downstreams.join(d, resets: true, &loop)
    case .open:
      if t.pointee.sending {
        // The client takes nothing of what it is sent.
        if http2(d).pointee.exchanges.isEmpty { loop.counters.timeouts += 1 }
        endExchanges(d) { $0.sendTimedOut() }
        downstreams.join(d, resets: true, &loop)
      } else if http2(d).pointee.exchanges.isEmpty {
        downstreams.closeWhenSent(d)
      }
    }
  }

  /// The worker drains: no stream that is opened from now on is served.
  private mutating func drainHTTP2(_ d: DownstreamPointer) {
    let c = http2(d)
    guard !c.pointee.isEnding else { return }
    c.pointee.isEnding = true
    c.pointee.session.refuseStreams()
    if c.pointee.exchanges.isEmpty { downstreams.closeWhenSent(d) }
  }

  /// The client hears at once that the worker drains, or that the listener is gone; what it has sent before that is still served.
  mutating func http2DrainBegan(_ d: DownstreamPointer) {
    let c = http2(d)
    // It has heard so before, when its listener went.
    guard c.pointee.refusesAt == .max else { return }
    c.pointee.session.announceShutdown()
    c.pointee.refusesAt = loop.engine.now + loop.grace
    downstreams.flushHTTP2(d, &loop)
    loop.wheel.arm(Int(d.pointee.slot), at: c.pointee.refusesAt)
  }

  mutating func http2DrainEnded(_ d: DownstreamPointer, sparesTunnels: Bool) {
    if sparesTunnels, endExchangesBesideTunnels(d) { return }
    endExchanges(d) { $0.drainDeadline() }
    downstreams.join(d, resets: true, &loop)
  }

  /// The client's stream of bytes has ended, and with it the connection: without its windows no response
  /// would come to an end.
  mutating func http2HalfClosed(_ d: DownstreamPointer) {
    // What was answered in this turn leaves before.
    downstreams.flushHTTP2(d, &loop)
    if http2(d).pointee.output.isLost { return http2Unsendable(d) }
    endExchanges(d) { $0.downstreamGone(.downstreamClosed) }
    if !http2(d).pointee.output.frames.isEmpty { return downstreams.closeWhenSent(d) }
    downstreams.close(d, linger: false, &loop)
  }

  /// No byte reaches the client any more.
  mutating func http2Gone(_ d: DownstreamPointer, _ kind: Failure.Kind = .downstreamReset) {
    if http2(d).pointee.exchanges.isEmpty { loop.counters.downstreamAborts += 1 }
    endExchanges(d) { $0.downstreamGone(kind) }
    downstreams.join(d, resets: true, &loop)
  }
}
