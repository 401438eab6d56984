// Connections to servers that are shared by many exchanges: which one a request gets a stream of, when
// another one is made, and how streams and connections end.

import Configuration
import Exchange
import Glibc
import HTTP
import HTTP1
import HTTP2
import MillraceEngine
import TLS
import Transport

extension Upstreams {
  @inline(__always)
  func connection(of u: UpstreamPointer) -> UnsafeMutablePointer<HTTP2Connection> {
    http2[u.pointee.kind == .stream ? UInt32(bitPattern: u.pointee.http2.connection) : u.pointee.slot]
  }

  @inline(__always)
  func key(_ u: UpstreamPointer) -> ExchangeKey {
    ExchangeKey(slot: u.pointee.slot, generation: generation(u.pointee.slot))
  }

  /// The stream with this key, if it is still there.
  func stream(_ key: ExchangeKey) -> UpstreamPointer? {
    generation(key.slot) == key.generation ? self[key.slot] : nil
  }

  func stream(named tag: UInt64) -> UpstreamPointer? {
    HTTP2Connection.key(tag).flatMap { stream($0) }
  }

  // MARK: Getting a stream

  /// Gets a stream for an exchange, on a connection that has room for it or on a new one.
  mutating func attachStream<E: Engine & ~Copyable>(
    _ exchange: UInt32, _ group: Int32, _ server: Int32, _ loop: inout Loop<E>
  ) -> Attachment {
    let state = pools.server(group, server)
    var slot = state.pointee.sharedHead
    while slot >= 0 {
      let u = self[UInt32(slot)]
      if http2[u.pointee.slot].pointee.session.canOpenStream {
        loop.counters.upstreamReuses += 1
        loop.counters[server: state.pointee.row, .reuses] += 1
        return openStream(exchange, group, server, on: u, &loop)
      }
      slot = u.pointee.idleNext
    }
    let first = AddressChoice(
      index: state.pointee.address,
      left: Int32(loop.plan.upstreams[Int(group)].servers[Int(server)].addresses.count) - 1)
    switch connect(-1, group, server, first, &loop) {
    case .failed(let kind): return .failed(kind)
    case .connecting(let u), .assigned(let u):
      guard http2.open(u.pointee.slot) else {
        u.pointee.kind = .http1
        close(u, &loop)
        return .failed(.resourcesExhausted)
      }
      linkShared(u)
      return openStream(exchange, group, server, on: u, &loop)
    }
  }

  private mutating func openStream<E: Engine & ~Copyable>(
    _ exchange: UInt32, _ group: Int32, _ server: Int32, on u: UpstreamPointer,
    _ loop: inout Loop<E>
  ) -> Attachment {
    guard let slot = takeSlot() else { return .failed(.resourcesExhausted) }
    let key = ExchangeKey(slot: slot, generation: generation(slot))
    let c = http2[u.pointee.slot]
    guard let place = c.pointee.session.openStream(HTTP2Connection.tag(key)) else {
      releaseSlot(slot)
      return .failed(.resourcesExhausted)
    }
    let stream = self[slot]
    stream.initialize(
      to: UpstreamConnection(socket: .none, slot: slot, group: group, server: server))
    stream.pointee.kind = .stream
    stream.pointee.exchange = Int32(bitPattern: exchange)
    stream.pointee.connectStart = u.pointee.connectStart
    stream.pointee.http2.connection = Int32(bitPattern: u.pointee.slot)
    stream.pointee.http2.place = Int32(place)
    stream.pointee.http2.id = c.pointee.session.id(place)
    pools.server(group, server).pointee.active += 1
    c.pointee.exchanges.append(slot)
    // Its streams have deadlines of their own.
    if u.pointee.phase == .busy { u.transport.pointee.deadline = .max }
    loop.armTimer(stream.transport, node(stream))
    guard u.pointee.phase == .busy else { return .connecting(stream) }
    stream.pointee.phase = .assigned
    addAssigned(stream)
    return .assigned(stream)
  }

  // MARK: Output

  /// Gives a connection, or a stream, what was written for another one.
  /// - Returns: false if it cannot have that; it is released then.
  @inline(__always)
  mutating func give<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ frame: consuming SendFrame, _ loop: inout Loop<E>
  ) -> Bool {
    if u.pointee.kind == .stream {
      if adopt(u, frame) { return true }
      release(u, keep: false, isLarge: false, &loop)
      return false
    }
    u.pointee.outgoing.put(frame)
    return true
  }

  /// Takes over frames that were written for another stream: they get this one's number, and their
  /// content a window of its connection.
  /// - Returns: false if that has none.
  private func adopt(_ u: UpstreamPointer, _ frame: consuming SendFrame) -> Bool {
    let id = u.pointee.http2.id
    var content = 0
    var skipped = 0
    for index in 0..<frame.segmentCount {
      let segment = frame.segment(index)
      var at = 0
      while at < segment.count {
        if skipped > 0 {
          let count = min(skipped, segment.count - at)
          at += count
          skipped -= count
          continue
        }
        // SAFETY: what stands in front of a payload was written by us, in one piece, into memory of the
        // frame's own.
        guard segment.count - at >= HTTP2ResponseWriter.dataOverhead, let base = segment.baseAddress
        else { return false }
        let head = HTTP2ResponseWriter.renumber(
          UnsafeMutableRawPointer(mutating: base + at), to: id)
        at += HTTP2ResponseWriter.dataOverhead
        skipped = head.length
        if head.isData { content += head.length }
        if head.endsStream { u.pointee.http2.hasWrittenEnd = true }
      }
    }
    let c = connection(of: u)
    let place = Int(u.pointee.http2.place)
    guard content <= max(0, c.pointee.session.window(place)) else { return false }
    u.pointee.outgoing.put(frame)
    takeWindow(u, content)
    return true
  }

  /// Bytes of request content that may be written in one piece now; 0: none before a window opens.
  @inline(__always)
  func contentLimit(_ u: UpstreamPointer) -> Int {
    u.pointee.kind == .stream ? streamLimit(u) : .max
  }

  private func streamLimit(_ u: UpstreamPointer) -> Int {
    guard u.pointee.http2.place >= 0 else { return 0 }
    let window = connection(of: u).pointee.session.window(Int(u.pointee.http2.place))
    return min(max(0, window), HTTP2ResponseWriter.pieceMaximum)
  }

  func contentInHTTP2(_ u: UpstreamPointer, _ slice: consuming BufferSlice) -> Bool {
    let count = slice.count
    let isLast = u.pointee.http2.remaining == Int64(count)
    guard
      u.pointee.outgoing.appendData(slice, stream: u.pointee.http2.id, ends: isLast)
    else { return false }
    takeWindow(u, count)
    if u.pointee.http2.remaining >= 0 { u.pointee.http2.remaining -= Int64(count) }
    if isLast { u.pointee.http2.hasWrittenEnd = true }
    return true
  }

  /// Whether the end of a request is still to be written; from here on it is not.
  func beginEnd(_ u: UpstreamPointer) -> Bool {
    defer { u.pointee.http2.hasWrittenEnd = true }
    return !u.pointee.http2.hasWrittenEnd
  }

  /// Whether field blocks on a stream's connection have to say that they use no dynamic table.
  func announcesNoTable(_ u: UpstreamPointer) -> Bool {
    connection(of: u).pointee.session.announcesNoTable
  }

  private func takeWindow(_ u: UpstreamPointer, _ count: Int) {
    guard u.pointee.http2.place >= 0 else { return }
    connection(of: u).pointee.session.takeWindow(Int(u.pointee.http2.place), count)
    u.pointee.http2.reserved += count
  }

  /// Gives what a stream has written to its connection.
  mutating func pushStream<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) -> RequestSending {
    guard u.pointee.http2.connection >= 0, !u.pointee.outgoing.isEmpty else { return .busy }
    let c = connection(of: u)
    let count = u.pointee.outgoing.count
    let own = key(u)
    // Heads leave in the order of their numbers, so that nobody overtakes who waits.
    guard c.pointee.ready.isEmpty || c.pointee.ready[0] == own,
      c.pointee.take(&u.pointee.outgoing, of: own, &loop)
    else {
      if !u.pointee.http2.isReady {
        u.pointee.http2.isReady = true
        c.pointee.ready.append(own)
      }
      return .busy
    }
    u.pointee.http2.hasLeft = true
    u.pointee.http2.reserved = 0
    return .given(wire: count)
  }

  /// Has a connection flushed at the turn's end, with all that its streams have to send.
  @inline(__always)
  mutating func noteOutput(_ slot: UInt32) {
    guard !http2[slot].pointee.isNoted else { return }
    http2[slot].pointee.isNoted = true
    addNoted(slot)
  }

  /// Sends what a connection has to send. - Returns: false if what is to be sent cannot be.
  mutating func flushShared<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) -> Bool {
    let c = http2[u.pointee.slot]
    let t = u.transport
    guard u.pointee.phase == .busy, t.pointee.closing == .open else { return true }
    for _ in 0..<2 {
      guard c.pointee.handOver(t, &loop) else { return false }
      guard !t.pointee.unsent.isEmpty, !t.pointee.sending else { break }
      send(u, .awaited, &loop)
      if t.pointee.sending { c.pointee.tookOff() }
    }
    if c.pointee.isClosing, c.pointee.outgoing.isEmpty, !c.pointee.session.hasControl,
      t.pointee.isIdle
    {
      close(u, &loop)
    }
    return true
  }

  // MARK: Letting go

  /// An exchange is done with its stream. - Parameter keep: both messages are whole.
  mutating func releaseStream<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, keep: Bool, _ loop: inout Loop<E>
  ) {
    loop.wheel.disarm(node(u))
    let own = u.pointee.slot
    let slot = u.pointee.http2.connection
    if slot >= 0 { leave(u, self[UInt32(bitPattern: slot)], keep: keep, &loop) }
    u.deinitialize(count: 1)
    u.pointee.kind = .none
    u.transport.pointee.socket = .none
    releaseSlot(own)
  }

  private mutating func leave<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ connection: UpstreamPointer, keep: Bool, _ loop: inout Loop<E>
  ) {
    let c = http2[connection.pointee.slot]
    c.pointee.session.restoreWindow(u.pointee.http2.reserved)
    let place = Int(u.pointee.http2.place)
    if place >= 0 {
      if !u.pointee.http2.hasLeft {
        c.pointee.session.withdraw(place)
      } else if keep && u.pointee.http2.hasWrittenEnd {
        c.pointee.session.end(place)
        c.pointee.hasServed = true
      } else {
        c.pointee.session.reset(place, .cancel)
      }
    }
    if u.pointee.http2.isReady {
      let own = key(u)
      c.pointee.ready.removeAll { $0 == own }
    }
    let own = u.pointee.slot
    if let index = c.pointee.exchanges.firstIndex(of: own) { c.pointee.exchanges.remove(at: index) }
    settleShared(connection, &loop)
  }

  /// What becomes of a connection that may have lost its last stream.
  mutating func settleShared<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) {
    let c = http2[u.pointee.slot]
    guard u.transport.pointee.closing == .open, u.pointee.phase == .busy else {
      // Nobody waits for this connect any more.
      if c.pointee.exchanges.isEmpty && u.transport.pointee.closing == .open { close(u, &loop) }
      return
    }
    noteOutput(u.pointee.slot)
    guard c.pointee.exchanges.isEmpty else { return }
    u.pointee.isReused = true
    u.pointee.idleSince = loop.engine.now
    guard !c.pointee.isEnding, loop.isServing, server(of: u).pointee.group >= 0 else {
      return closeWhenSent(u, &loop)
    }
    u.transport.pointee.deadline =
      loop.engine.now + loop.plan.upstreams[Int(u.pointee.group)].idleTimeout
    loop.armTimer(u.transport, node(u))
  }

  /// No stream is opened on a connection any more; it ends with its last one.
  mutating func retire<E: Engine & ~Copyable>(_ u: UpstreamPointer, _ loop: inout Loop<E>) {
    let c = http2[u.pointee.slot]
    c.pointee.isEnding = true
    c.pointee.session.refuseStreams()
    settleShared(u, &loop)
  }

  /// The worker drains: a connection without streams says goodbye.
  mutating func drainShared<E: Engine & ~Copyable>(_ u: UpstreamPointer, _ loop: inout Loop<E>) {
    guard http2[u.pointee.slot].pointee.exchanges.isEmpty else { return }
    unlinkShared(u)
    if u.pointee.phase == .busy { closeWhenSent(u, &loop) } else { close(u, &loop) }
  }

  /// Closes a connection once its GOAWAY has left, or when a server takes nothing of it for too long.
  mutating func closeWhenSent<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) {
    let c = http2[u.pointee.slot]
    guard u.transport.pointee.closing == .open, !c.pointee.isClosing else { return }
    c.pointee.isClosing = true
    c.pointee.session.refuseStreams()
    u.transport.pointee.deadline = loop.engine.now + Watermark.lingerNanoseconds
    loop.armTimer(u.transport, node(u))
    noteOutput(u.pointee.slot)
  }

  // MARK: The list of a server

  func linkShared(_ u: UpstreamPointer) {
    let state = server(of: u)
    let slot = Int32(u.pointee.slot)
    u.pointee.idlePrevious = -1
    u.pointee.idleNext = state.pointee.sharedHead
    if state.pointee.sharedHead >= 0 {
      self[UInt32(state.pointee.sharedHead)].pointee.idlePrevious = slot
    }
    state.pointee.sharedHead = slot
    u.pointee.isShared = true
  }

  func unlinkShared(_ u: UpstreamPointer) {
    guard u.pointee.isShared else { return }
    u.pointee.isShared = false
    let next = u.pointee.idleNext
    let previous = u.pointee.idlePrevious
    if next >= 0 { self[UInt32(next)].pointee.idlePrevious = previous }
    if previous >= 0 {
      self[UInt32(previous)].pointee.idleNext = next
    } else {
      server(of: u).pointee.sharedHead = next
    }
    u.pointee.idleNext = -1
    u.pointee.idlePrevious = -1
  }

  /// Settles the connections of a plan that was replaced: those to servers that stay are kept.
  mutating func adoptShared<E: Engine & ~Copyable>(of place: Int, _ loop: inout Loop<E>) {
    for state in pools.states(place) {
      var slot = state.pointee.sharedHead
      while slot >= 0 {
        let u = self[UInt32(slot)]
        slot = u.pointee.idleNext
        if state.pointee.group >= 0 {
          u.pointee.group = state.pointee.group
          u.pointee.server = state.pointee.place
        } else {
          unlinkShared(u)
          retire(u, &loop)
        }
      }
    }
  }
}

extension Upstreams {
  // MARK: What a session hears of a stream

  /// Says how much content a response has: another length is the server's error.
  func expect(_ u: UpstreamPointer, _ length: Int64) {
    guard u.pointee.http2.place >= 0 else { return }
    connection(of: u).pointee.session.expectContent(Int(u.pointee.http2.place), length)
  }

  /// Content of a response has been passed on: its windows may open again.
  mutating func consume(_ u: UpstreamPointer, _ count: Int) {
    guard u.pointee.http2.place >= 0 else { return }
    connection(of: u).pointee.session.consume(Int(u.pointee.http2.place), count)
    noteOutput(UInt32(bitPattern: u.pointee.http2.connection))
  }

  /// Unties a stream from a connection that has ended. What has come of the response stays.
  func disconnect(_ u: UpstreamPointer) {
    let c = connection(of: u)
    if let index = c.pointee.exchanges.firstIndex(of: u.pointee.slot) {
      c.pointee.exchanges.remove(at: index)
    }
    if u.pointee.http2.place >= 0 { c.pointee.session.withdraw(Int(u.pointee.http2.place)) }
    u.pointee.http2.place = -1
    u.pointee.http2.connection = -1
    u.pointee.http2.reserved = 0
  }

  /// A connect has failed: goes on with the server's next address. - Returns: false if there is none.
  mutating func trySharedNextAddress<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) -> Bool {
    guard u.pointee.choice.left > 0 else { return false }
    let count = loop.plan.upstreams[Int(u.pointee.group)].servers[Int(u.pointee.server)]
      .addresses.count
    var choice = u.pointee.choice
    choice.advance(of: count)
    guard case .connecting(let next) = connect(-1, u.pointee.group, u.pointee.server, choice, &loop)
    else { return false }
    unlinkShared(u)
    http2.move(u.pointee.slot, to: next.pointee.slot)
    u.pointee.kind = .http1
    linkShared(next)
    for slot in http2[next.pointee.slot].pointee.exchanges {
      self[slot].pointee.http2.connection = Int32(bitPattern: next.pointee.slot)
    }
    close(u, &loop)
    return true
  }
}
