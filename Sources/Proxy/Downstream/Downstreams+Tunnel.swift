// What an exchange that becomes a tunnel asks of its client's stream: the head that accepts it, and the end
// of one side alone. With HTTP/2 the tunnel is the stream, and DATA frames carry it (RFC 8441 5).

import HTTP
import HTTP1
import HTTP2
import MillraceEngine
import Transport

extension Downstreams {
  /// Writes the head that accepts the switch to a protocol, from the server's 101, or what a server of
  /// HTTP/2 has instead.
  /// - Parameters:
  ///   - name: of the protocol.
  ///   - key: of the client's handshake, where the server has had no part in it.
  /// - Returns: false if it has no room.
  mutating func switchProtocols<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ response: ResponseView, to name: UnsafeRawBufferPointer,
    accepting key: WebSocketKey?, _ message: inout ServerStream, into output: inout SendBuffer,
    _ loop: inout Loop<E>
  ) -> Bool {
    let forwarding = ResponseForwarding(response, pseudonym: loop.plan.via.raw)
    guard message.isHTTP2 else {
      let capacity =
        HeadWriter.capacity(for: forwarding) + name.count + WebSocketKey.acceptBytes
      let isOwn = response.version == .http2
      if isOwn { response.leaveOut("sec-websocket-accept") }
      let written = output.write(capacity: capacity) { room in
        var w = HeadWriter(room)
        if isOwn {
          w.switchingResponse(forwarding, to: name, accepting: key)
        } else {
          w.switchingResponse(forwarding, to: name)
        }
        return w.overflowed ? -1 : w.count
      }
      return written > 0
    }
    // The client has no part in the handshake that this answers.
    response.leaveOut("sec-websocket-accept")
    message.http2.isTunnel = true
    let id = message.http2.id
    let announces = http2[stream.connection].pointee.session.announcesNoTable
    let capacity = HTTP2ResponseWriter.capacity(block: FieldBlockWriter.capacity(for: forwarding))
    let written = output.write(capacity: capacity) { room in
      HTTP2ResponseWriter.writeHead(
        id, endsStream: false, announcesNoTable: announces, into: room
      ) { $0.switchingResponse(forwarding) }
    }
    return written > 0
  }

  /// Ends this side of a connection once all that came for it has left; called again when a send has
  /// ended. A stream of HTTP/2 has said so by END_STREAM.
  mutating func endOwnSide<E: Engine & ~Copyable>(_ d: DownstreamPointer, _ loop: inout Loop<E>) {
    guard !d.pointee.isHTTP2 else { return }
    if d.transport.pointee.endOwnSide(scratch: scratch, &loop.engine) { send(d, .awaited, &loop) }
  }

  /// The two sides of a tunnel have ended in order: so does its stream.
  mutating func endTunnel(_ stream: StreamReference, _ message: inout HTTP2ServerStream) {
    let c = http2[stream.connection]
    guard message.place >= 0, message.hasWrittenEnd,
      c.pointee.session.hasRequestEnded(Int(message.place))
    else { return }
    c.pointee.session.end(Int(message.place))
    message.place = -1
  }
}
