// What happens on a stream of HTTP/2 once its exchange is there: request content on its way to the
// server, windows, what was sent, and deadlines.

import Exchange
import Glibc
import HTTP
import HTTP1
import HTTP2
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  // MARK: Request content

  /// Content of a request. What the server cannot take yet waits; the stream's window bounds it.
  mutating func http2Content(
    _ d: DownstreamPointer, _ stream: Int, _ slice: consuming BufferSlice
  ) {
    let c = http2(d)
    guard let x = exchange(keyOf: c.pointee.session.tag(stream)),
      x.pointee.state.request == .open
    else { return c.pointee.session.consume(stream, slice.count) }
    if x.pointee.request.http2.input.isEmpty && x.pointee.state.takesRequestContent {
      http2Forward(x, slice)
    } else {
      x.pointee.request.http2.input.append(slice.bytes, &loop.engine)
      _ = perform(x, x.pointee.state.requestBlocked())
    }
    if let x = exchange(keyOf: c.pointee.session.tag(stream)) { http2TurnEnded(x, d) }
  }

  private func exchange(keyOf tag: UInt64) -> ExchangePointer? {
    guard tag != 0 else { return nil }
    return exchange(
      ExchangeKey(
        slot: UInt32(truncatingIfNeeded: tag & 0xFFFF_FFFF) - 1,
        generation: UInt32(truncatingIfNeeded: tag >> 32)))
  }

  /// Passes content on; nothing waits in front of it. - Returns: whether the exchange goes on.
  @discardableResult
  private mutating func http2Forward(
    _ x: ExchangePointer, _ input: consuming BufferSlice
  ) -> Bool {
    let slice = input
    let d = downstream(of: x)
    guard let u = upstream(of: x) else {
      x.pointee.request.http2.input.putBack(slice, &loop.engine)
      return true
    }
    let count = slice.count
    guard loop.prepare(&u.pointee.outgoing), u.pointee.outgoing.hasRoomForChunk(),
      x.pointee.state.requestFlow.hasRoom
    else {
      x.pointee.request.http2.input.putBack(slice, &loop.engine)
      return perform(x, x.pointee.state.requestBlocked())
    }
    let before = u.pointee.outgoing.count
    guard upstreams.content(u, slice, x.pointee.request.framing) else {
      return perform(x, x.pointee.state.fail(.resourcesExhausted))
    }
    x.pointee.state.requestContent(count, buffered: u.pointee.outgoing.count - before)
    let place = x.pointee.request.http2.place
    if place >= 0 { http2(d).pointee.session.consume(Int(place), count) }
    return true
  }

  /// Keeps the trailers of a request, as its server gets them.
  mutating func http2Trailers(_ x: ExchangePointer) {
    let d = downstream(of: x)
    let section = downstreams.http2.reader.head
    if downstreams.http2.trailers.read(section) != nil {
      let place = x.pointee.request.http2.place
      if place >= 0 {
        http2(d).pointee.session.refuseMalformed(Int(place))
        x.pointee.request.http2.place = -1
      }
      _ = perform(x, x.pointee.state.downstreamGone(.requestBodyMalformed))
      return
    }
    guard x.pointee.request.framing == .chunked else { return }
    let drops = loop.plan.listeners[Int(d.pointee.listener)].dropsUnderscores
    var memory = loop.engine.coldMemory(section.byteBound)
    var text = HeadWriter(memory.mutableBytes)
    loop.counters.fieldsDropped += downstreams.http2.trailers.forEachForwarded(
      dropsUnderscores: drops
    ) { name, value in
      text.append(name)
      text.append(": ")
      text.append(value)
      text.append("\r\n")
    }
    guard text.count > 0, !text.overflowed else { return }
    memory.truncate(to: text.count)
    x.pointee.request.http2.trailers = consume memory
  }

  /// The request is whole, behind what waits of it.
  mutating func http2RequestEnded(_ x: ExchangePointer, _ d: DownstreamPointer) {
    x.pointee.request.http2.hasEnded = true
    guard x.pointee.request.http2.input.isEmpty else { return }
    http2EndRequest(x)
    if exchange(x.pointee.request.http2.key) == x { http2TurnEnded(x, d) }
  }

  /// Gives the server the end of the request. - Returns: whether the exchange goes on.
  @discardableResult
  private mutating func http2EndRequest(_ x: ExchangePointer) -> Bool {
    guard x.pointee.state.request == .open, x.pointee.state.upstream.hasBuffer,
      x.pointee.state.response < .replying, let u = upstream(of: x)
    else { return true }
    let before = u.pointee.outgoing.count
    let trailers = x.pointee.request.http2.trailers.take()
    guard loop.prepare(&u.pointee.outgoing), u.pointee.outgoing.hasRoomForChunk() else {
      x.pointee.request.http2.trailers = consume trailers
      return perform(x, x.pointee.state.requestBlocked())
    }
    guard upstreams.endContent(u, consume trailers, x.pointee.request.framing) else {
      return perform(x, x.pointee.state.fail(.resourcesExhausted))
    }
    return perform(x, x.pointee.state.requestEnd(buffered: u.pointee.outgoing.count - before))
  }

  /// The server has room again. - Returns: whether the exchange is still there.
  mutating func resumeHTTP2Request(_ x: ExchangePointer) -> Bool {
    let key = x.pointee.request.http2.key
    while x.pointee.state.takesRequestContent, let slice = x.pointee.request.http2.input.takeAll() {
      guard http2Forward(x, slice) else { return exchange(key) == x }
    }
    if x.pointee.request.http2.hasEnded, x.pointee.request.http2.input.isEmpty {
      guard http2EndRequest(x) else { return exchange(key) == x }
    }
    if exchange(key) == x { http2TurnEnded(x, downstream(of: x)) }
    return exchange(key) == x
  }

  /// What came of a request is with the server's transport: sends it, and says what is waited for.
  mutating func http2TurnEnded(_ x: ExchangePointer, _ d: DownstreamPointer) {
    guard x.pointee.state.stage == .running else { return }
    if let u = upstream(of: x) {
      flush(u)
      if !u.pointee.outgoing.isEmpty && u.pointee.phase != .assigned
        && loop.engine.isLowOnBuffers
      {
        u.pointee.outgoing.evacuate()
      }
    }
    x.pointee.request.http2.deadline =
      x.pointee.state.awaitsRequest && x.pointee.request.http2.input.isEmpty
      ? loop.engine.now + loop.plan.listeners[Int(d.pointee.listener)].bodyTimeout : .max
  }

  // MARK: Windows

  /// - Parameter stream: -1: the connection's or all streams'.
  mutating func http2WindowOpened(_ c: UnsafeMutablePointer<HTTP2Connection>, _ stream: Int) {
    if stream >= 0 {
      if let x = exchange(keyOf: c.pointee.session.tag(stream)) { resumeWindow(x) }
      return
    }
    // Exchanges that end meanwhile change places with the last one, which has been looked at.
    var index = c.pointee.exchanges.count - 1
    while index >= 0 {
      if index < c.pointee.exchanges.count { resumeWindow(exchanges[c.pointee.exchanges[index]]) }
      index -= 1
    }
  }

  private mutating func resumeWindow(_ x: ExchangePointer) {
    guard x.pointee.request.http2.awaitsWindow else { return }
    x.pointee.request.http2.awaitsWindow = false
    x.pointee.request.http2.deadline = .max
    _ = perform(x, x.pointee.state.responseWindowOpened())
  }

  /// The response waits for its client's window.
  mutating func awaitWindow(_ x: ExchangePointer) -> Bool {
    let d = downstream(of: x)
    x.pointee.request.http2.awaitsWindow = true
    x.pointee.request.http2.deadline =
      loop.engine.now + loop.plan.listeners[Int(d.pointee.listener)].bodyTimeout
    return perform(x, x.pointee.state.responseWindowClosed())
  }

  // MARK: Sending

  /// Sends what there is: frames of the session's own, and those of the streams as far as there is room.
  mutating func flushHTTP2(_ d: DownstreamPointer) {
    let c = http2(d)
    let t = d.transport
    guard t.pointee.closing == .open || t.pointee.closing == .flushing else { return }
    // One frame goes out, one waits for the transport, and one is being filled.
    for _ in 0..<3 {
      if t.pointee.closing == .open { pushReady(c) }
      if let failure = downstreams.handOver(d, &loop) { return http2Unsendable(d, failure) }
      guard !t.pointee.unsent.isEmpty, !t.pointee.sending else { break }
      setSendDeadline(d)
      downstreams.send(d, .awaited, &loop)
      if t.pointee.sending { c.pointee.tookOff() }
    }
    if c.pointee.isClosing, t.pointee.closing == .open, c.pointee.outgoing.isEmpty,
      !c.pointee.session.hasControl
    {
      downstreams.close(d, linger: true, &loop)
    }
  }

  private mutating func http2Unsendable(_ d: DownstreamPointer, _ failure: Failure.Kind) {
    endExchanges(d) { $0.downstreamGone(failure) }
    downstreams.join(d, resets: true, &loop)
  }

  /// Gives streams their turn that had found no room, the most urgent first (RFC 9218 10).
  private mutating func pushReady(_ c: UnsafeMutablePointer<HTTP2Connection>) {
    while !c.pointee.ready.isEmpty {
      guard let index = mostUrgent(c) else { return }
      let key = c.pointee.ready[index]
      c.pointee.ready.remove(at: index)
      guard let x = exchange(key) else { continue }
      x.pointee.request.http2.isReady = false
      guard x.pointee.state.mayLeave else { continue }
      _ = pushHeld(x)
      // It found none again.
      if let x = exchange(key), x.pointee.request.http2.isReady { return }
    }
  }

  /// The place of the exchange whose turn it is: by urgency, and then the one that has waited longest.
  private func mostUrgent(_ c: UnsafeMutablePointer<HTTP2Connection>) -> Int? {
    var best: Int?
    var urgency = UInt8.max
    for (index, key) in c.pointee.ready.enumerated() {
      guard let x = exchange(key) else { return index }
      let place = x.pointee.request.http2.place
      let own = place >= 0 ? c.pointee.session.priority(Int(place)).urgency : 0
      if own < urgency {
        urgency = own
        best = index
      }
    }
    return best
  }

  /// The transport took all that was in flight.
  mutating func http2Sent(_ d: DownstreamPointer) {
    let c = http2(d)
    let t = d.transport
    var taken: [StreamBytes] = []
    swap(&taken, &c.pointee.flying)
    for bytes in taken {
      guard let x = exchange(bytes.key) else { continue }
      _ = perform(x, x.pointee.state.responseTaken(bytes.count))
    }
    // The memory is kept for the next send.
    taken.removeAll(keepingCapacity: true)
    if c.pointee.flying.isEmpty { swap(&taken, &c.pointee.flying) }
    if t.pointee.closing == .open && c.pointee.exchanges.isEmpty && t.pointee.unsent.isEmpty {
      idleHTTP2(d)
    }
    flushHTTP2(d)
    if c.pointee.isBlocked && !c.pointee.session.isControlFull { unblockHTTP2(d) }
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
    d.transport.pointee.deadline =
      loop.engine.now + loop.plan.listeners[Int(d.pointee.listener)].idleTimeout
  }

  /// The end of a turn: what was kept is used, and what there is leaves.
  mutating func resumeHTTP2(_ d: DownstreamPointer) {
    http2UseUnread(d)
    flushHTTP2(d)
    if d.transport.pointee.closing == .open { downstreams.arm(d, &loop) }
  }

  // MARK: Deadlines, and ends that come from outside

  mutating func http2Due(_ d: DownstreamPointer) {
    let t = d.transport
    let c = http2(d)
    let now = loop.engine.now
    if t.pointee.hasProgressed(loop.engine) { setSendDeadline(d) }
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
    if isDue { http2ConnectionTimedOut(d) }
    flushHTTP2(d)
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

  /// The client hears at once that the worker drains; what it has sent before that is still served.
  mutating func http2DrainBegan(_ d: DownstreamPointer) {
    let c = http2(d)
    c.pointee.session.announceShutdown()
    c.pointee.refusesAt = loop.engine.now + loop.grace
    flushHTTP2(d)
    loop.wheel.arm(Int(d.pointee.slot), at: c.pointee.refusesAt)
  }

  mutating func http2DrainEnded(_ d: DownstreamPointer) {
    endExchanges(d) { $0.drainDeadline() }
    downstreams.join(d, resets: true, &loop)
  }

  /// The client's stream of bytes has ended, and with it the connection: without its windows no response
  /// would come to an end.
  mutating func http2HalfClosed(_ d: DownstreamPointer) {
    endExchanges(d) { $0.downstreamGone(.downstreamClosed) }
    downstreams.close(d, linger: false, &loop)
  }

  /// No byte reaches the client any more.
  mutating func http2Gone(_ d: DownstreamPointer, _ kind: Failure.Kind = .downstreamReset) {
    if http2(d).pointee.exchanges.isEmpty { loop.counters.downstreamAborts += 1 }
    endExchanges(d) { $0.downstreamGone(kind) }
    downstreams.join(d, resets: true, &loop)
  }
}
