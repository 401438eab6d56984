// Tunnels as streams of connections to servers (RFC 8441): which connection one gets, and how it waits until
// the server's SETTINGS have said whether it takes any.

import Configuration
import Exchange
import Glibc
import HTTP
import HTTP2
import MillraceEngine
import Transport

extension Upstreams {
  /// Gets a stream for a tunnel, on a connection whose server is known to take one, or a place on one whose
  /// SETTINGS are still to come.
  mutating func attachTunnel<E: Engine & ~Copyable>(
    _ exchange: UInt32, _ group: Int32, _ server: Int32, _ loop: inout Loop<E>
  ) -> Attachment {
    let state = pools.server(group, server)
    var slot = state.pointee.sharedHead
    var young: UpstreamPointer?
    while slot >= 0 {
      let u = self[UInt32(slot)]
      let c = http2[u.pointee.slot]
      slot = u.pointee.idleNext
      guard c.pointee.session.canOpenStream, !c.pointee.ping.isDoubted else { continue }
      guard c.pointee.session.hasSettings else {
        if c.pointee.exchanges.count < HTTP2Client.streamsMaximum { young = u }
        continue
      }
      state.pointee.refusesTunnels = !c.pointee.session.takesExtendedConnect
      if state.pointee.refusesTunnels { return .noTunnel }
      loop.counters.upstreamReuses += 1
      loop.counters[server: state.pointee.row, .reuses] += 1
      return openStream(exchange, group, server, on: u, &loop)
    }
    if let young { return awaitSettings(exchange, group, server, on: young, &loop) }
    // What is known from connections that have ended spares making one for nothing, where there is
    // another way.
    if state.pointee.refusesTunnels, loop.plan.upstreams[Int(group)].speaks == .negotiated {
      return .noTunnel
    }
    let made = makeShared(group, server, &loop)
    guard case .connecting(let u) = made else { return made }
    return awaitSettings(exchange, group, server, on: u, &loop)
  }

  /// Gives an exchange a place on a connection, and no stream yet: a number that was taken and not used would
  /// stand in the way of the streams behind it.
  mutating func awaitSettings<E: Engine & ~Copyable>(
    _ exchange: UInt32, _ group: Int32, _ server: Int32, on u: UpstreamPointer,
    _ loop: inout Loop<E>
  ) -> Attachment {
    guard let slot = takeSlot() else { return .failed(.resourcesExhausted) }
    let stream = self[slot]
    stream.initialize(
      to: UpstreamConnection(socket: .none, slot: slot, group: group, server: server))
    stream.pointee.kind = .stream
    stream.pointee.exchange = Int32(bitPattern: exchange)
    stream.pointee.connectStart = u.pointee.connectStart
    stream.pointee.http2.connection = Int32(bitPattern: u.pointee.slot)
    stream.pointee.http2.awaitsSettings = true
    pools.server(group, server).pointee.active += 1
    let c = http2[u.pointee.slot]
    c.pointee.exchanges.append(slot)
    c.pointee.awaitsSettings = true
    stream.transport.pointee.deadline = .max
    if u.pointee.phase == .busy {
      u.transport.pointee.deadline = .max
      limitWait(stream, &loop)
    }
    loop.armTimer(stream.transport, node(stream))
    return .dialing(stream)
  }

  /// SETTINGS are the first thing that a server sends: they have the time of a connect.
  func limitWait<E: Engine & ~Copyable>(_ stream: UpstreamPointer, _ loop: inout Loop<E>) {
    stream.transport.pointee.deadline =
      loop.engine.now + loop.plan.upstreams[Int(stream.pointee.group)].connectTimeout
    loop.armTimer(stream.transport, node(stream))
  }

  /// The server's SETTINGS allow it: the place becomes a stream. - Returns: false if there is none left.
  mutating func openAwaited(_ stream: UpstreamPointer) -> Bool {
    let c = connection(of: stream)
    guard let place = c.pointee.session.openStream(HTTP2Connection.tag(key(stream))) else {
      return false
    }
    stream.pointee.http2.awaitsSettings = false
    stream.pointee.http2.place = Int32(place)
    stream.pointee.http2.id = c.pointee.session.id(place)
    stream.pointee.phase = .busy
    return true
  }

  /// A tunnel is done with its stream. One whose two sides have ended in order needs no reset.
  mutating func releaseTunnel<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, isCut: Bool, _ loop: inout Loop<E>
  ) {
    let isWhole = u.pointee.http2.hasEnded && u.pointee.outgoing.isEmpty
    release(u, keep: isWhole && !isCut, isLarge: false, &loop)
  }

  /// Writes the head of an extended CONNECT. - Returns: false if it has no room.
  mutating func connectRequest(
    _ u: UpstreamPointer, _ forwarding: RequestForwarding, to name: UnsafeRawBufferPointer
  ) -> Bool {
    let id = u.pointee.http2.id
    let announces = announcesNoTable(u)
    let block = FieldBlockWriter.capacity(for: forwarding) + name.count
    let written = u.pointee.outgoing.write(
      capacity: HTTP2ResponseWriter.capacity(block: block)
    ) { room in
      HTTP2ResponseWriter.writeHead(
        id, endsStream: false, announcesNoTable: announces, into: room
      ) { $0.connectRequest(forwarding, to: name) }
    }
    return written > 0
  }
}
