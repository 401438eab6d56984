// Streams of connections to servers: which connection a request gets one of, when another one is made,
// what is written for it, and how it ends.

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
  // MARK: Getting a stream

  /// Gets a stream for an exchange, on a connection that has room for it or on a new one.
  /// - Parameter awaitsChoice: on a connection that is still being made the request is not written before its
  ///   server has chosen HTTP/2 once more.
  mutating func attachStream<E: Engine & ~Copyable>(
    _ exchange: UInt32, _ group: Int32, _ server: Int32, awaitsChoice: Bool,
    _ loop: inout Loop<E>
  ) -> Attachment {
    let state = pools.server(group, server)
    var slot = state.pointee.sharedHead
    while slot >= 0 {
      let u = self[UInt32(slot)]
      let c = http2[u.pointee.slot]
      // Where a tunnel waits for SETTINGS it gets the first stream: they may allow no more than one.
      if c.pointee.session.canOpenStream, !c.pointee.ping.isDoubted, !c.pointee.awaitsSettings {
        loop.counters.upstreamReuses += 1
        loop.counters[server: state.pointee.row, .reuses] += 1
        return openStream(exchange, group, server, on: u, awaitsChoice: awaitsChoice, &loop)
      }
      slot = u.pointee.idleNext
    }
    let made = makeShared(group, server, &loop)
    guard case .connecting(let u) = made else { return made }
    return openStream(exchange, group, server, on: u, awaitsChoice: awaitsChoice, &loop)
  }

  /// Makes a connection of HTTP/2. - Returns: it, as one that is being made, or why there is none.
  mutating func makeShared<E: Engine & ~Copyable>(
    _ group: Int32, _ server: Int32, _ loop: inout Loop<E>
  ) -> Attachment {
    let first = AddressChoice(
      index: pools.server(group, server).pointee.address,
      left: Int32(loop.plan.upstreams[Int(group)].servers[Int(server)].addresses.count) - 1)
    let made = connect(-1, group, server, first, &loop)
    guard case .connecting(let u) = made else { return made }
    http2.open(u.pointee.slot)
    linkShared(u)
    return made
  }

  mutating func openStream<E: Engine & ~Copyable>(
    _ exchange: UInt32, _ group: Int32, _ server: Int32, on u: UpstreamPointer,
    awaitsChoice: Bool = false, _ loop: inout Loop<E>
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
    guard u.pointee.phase == .busy else {
      stream.pointee.http2.awaitsChoice = awaitsChoice
      return awaitsChoice ? .dialing(stream) : .connecting(stream)
    }
    stream.pointee.phase = .assigned
    addAssigned(stream)
    return .assigned(stream)
  }

  /// The server of a connection that was dialed has chosen HTTP/2: the connection is shared from now on,
  /// and its exchange has the first stream. - Returns: that stream, or nil if memory ran out.
  /// - Parameter asksTunnel: it gets that stream once the server's SETTINGS allow it.
  mutating func share<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, asksTunnel: Bool, _ loop: inout Loop<E>
  ) -> UpstreamPointer? {
    let exchange = UInt32(bitPattern: u.pointee.exchange)
    http2.open(u.pointee.slot)
    http2[u.pointee.slot].pointee.ping.heard(loop.engine.now)
    detach(u)
    u.pointee.kind = .http2
    // Its stream is of the plan that the exchange is on.
    let (group, server) = (u.pointee.group, u.pointee.server)
    linkShared(u)
    pools.server(group, server).pointee.choosesHTTP2 = true
    u.transport.pointee.deadline = .max
    guard flushShared(u, &loop) else {
      noteLost(u)
      return nil
    }
    let made =
      asksTunnel
      ? awaitSettings(exchange, group, server, on: u, &loop)
      : openStream(exchange, group, server, on: u, &loop)
    switch made {
    case .assigned(let stream):
      stream.pointee.phase = .busy
      return stream
    case .dialing(let stream): return stream
    case .connecting, .noTunnel, .failed:
      noteLost(u)
      return nil
    }
  }

  // MARK: Output

  /// Gives a connection, or a stream, what was written for another one.
  /// - Returns: false if it cannot have that.
  @inline(__always)
  mutating func give(_ u: UpstreamPointer, _ frame: consuming SendFrame) -> Bool {
    if u.pointee.kind == .stream {
      return adopt(u, frame)
    }
    u.pointee.outgoing.put(frame)
    return true
  }

  /// Takes over frames that were written for another stream: they get this one's number, and their
  /// content a window of its connection.
  /// - Returns: false if that has none.
  private mutating func adopt(_ u: UpstreamPointer, _ frame: consuming SendFrame) -> Bool {
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
  mutating func contentLimit(_ u: UpstreamPointer) -> Int {
    u.pointee.kind == .stream ? streamLimit(u) : .max
  }

  private mutating func streamLimit(_ u: UpstreamPointer) -> Int {
    guard u.pointee.http2.place >= 0 else { return 0 }
    let window = connection(of: u).pointee.session.window(Int(u.pointee.http2.place))
    return min(max(0, window), HTTP2ResponseWriter.pieceMaximum)
  }

  mutating func contentInHTTP2(_ u: UpstreamPointer, _ slice: consuming BufferSlice) -> Bool {
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
  mutating func beginEnd(_ u: UpstreamPointer) -> Bool {
    defer { u.pointee.http2.hasWrittenEnd = true }
    return !u.pointee.http2.hasWrittenEnd
  }

  /// Whether field blocks on a stream's connection have to say that they use no dynamic table.
  mutating func announcesNoTable(_ u: UpstreamPointer) -> Bool {
    // One whose connection has ended writes into nothing that is read.
    u.pointee.http2.connection >= 0 && connection(of: u).pointee.session.announcesNoTable
  }

  private mutating func takeWindow(_ u: UpstreamPointer, _ count: Int) {
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
    // A reset makes room for a stream at its server, and leaves before the head of that.
    let isClear =
      u.pointee.http2.hasLeft || c.pointee.putControl(&loop) && !c.pointee.session.hasControl
    // Heads leave in the order of their numbers, so that none overtakes one that waits.
    guard isClear, c.pointee.output.ready.isEmpty || c.pointee.output.ready[0] == own,
      takeOutput(of: u, own, &loop)
    else {
      if !u.pointee.http2.isReady {
        u.pointee.http2.isReady = true
        c.pointee.output.ready.append(own)
      }
      return .busy
    }
    u.pointee.http2.hasLeft = true
    u.pointee.http2.reserved = 0
    return .given(wire: count)
  }

  /// Moves what a stream has written into its connection's frame. - Returns: false if there is no room now.
  private mutating func takeOutput<E: Engine & ~Copyable>(
    of u: UpstreamPointer, _ own: ExchangeKey, _ loop: inout Loop<E>
  ) -> Bool {
    let c = connection(of: u)
    if c.pointee.output.take(&u.pointee.outgoing, of: own, &loop) { return true }
    // If a frame is full it need not wait for the turn's end.
    let shared = self[UInt32(bitPattern: u.pointee.http2.connection)]
    guard flushShared(shared, &loop) else {
      noteLost(shared)
      return false
    }
    return c.pointee.output.take(&u.pointee.outgoing, of: own, &loop)
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
    if u.pointee.http2.reserved > 0 {
      c.pointee.session.restoreWindow(u.pointee.http2.reserved)
      // Others may wait for what this one had taken and did not use.
      c.pointee.hasOpened = true
    }
    let place = Int(u.pointee.http2.place)
    if place >= 0 {
      if !u.pointee.http2.hasLeft {
        c.pointee.session.withdraw(place)
      } else if keep && u.pointee.http2.hasWrittenEnd && u.pointee.outgoing.isEmpty {
        // Its end is on the way. One that found no room is dropped with the rest, and the server has to hear of that.
        c.pointee.session.end(place)
        c.pointee.hasServed = true
      } else {
        c.pointee.session.reset(place, .cancel)
      }
    }
    if u.pointee.http2.isReady {
      let own = key(u)
      c.pointee.output.ready.removeAll { $0 == own }
    }
    let own = u.pointee.slot
    if let index = c.pointee.exchanges.firstIndex(of: own) { c.pointee.exchanges.remove(at: index) }
    settleShared(connection, &loop)
  }

  // MARK: What a session hears of a stream

  /// Says how much content a response has: another length is the server's error.
  mutating func expect(_ u: UpstreamPointer, _ length: Int64) {
    guard u.pointee.http2.place >= 0 else { return }
    connection(of: u).pointee.session.expectContent(Int(u.pointee.http2.place), length)
  }

  /// Whether only END_STREAM is still to come of a response whose length is known.
  mutating func awaitsEnd(_ u: UpstreamPointer) -> Bool {
    guard u.pointee.http2.place >= 0 else { return false }
    return connection(of: u).pointee.session.awaitsEnd(Int(u.pointee.http2.place))
  }

  /// A response that breaks a rule of messages is its stream's error (RFC 9113 8.1.1).
  mutating func refuseMalformed(_ u: UpstreamPointer) {
    guard u.pointee.kind == .stream, u.pointee.http2.place >= 0, u.pointee.http2.hasLeft else {
      return
    }
    connection(of: u).pointee.session.reset(Int(u.pointee.http2.place), .protocolError)
    u.pointee.http2.place = -1
  }

  /// Content of a response has been passed on: its windows may open again.
  mutating func consume(_ u: UpstreamPointer, _ count: Int) {
    guard u.pointee.http2.place >= 0 else { return }
    connection(of: u).pointee.session.consume(Int(u.pointee.http2.place), count)
    noteOutput(UInt32(bitPattern: u.pointee.http2.connection))
  }

  /// Unties a stream from a connection that has ended. What has come of the response stays.
  mutating func disconnect(_ u: UpstreamPointer) {
    let c = connection(of: u)
    if let index = c.pointee.exchanges.firstIndex(of: u.pointee.slot) {
      c.pointee.exchanges.remove(at: index)
    }
    if u.pointee.http2.place >= 0 { c.pointee.session.withdraw(Int(u.pointee.http2.place)) }
    u.pointee.http2.place = -1
    u.pointee.http2.connection = -1
    u.pointee.http2.reserved = 0
  }
}
