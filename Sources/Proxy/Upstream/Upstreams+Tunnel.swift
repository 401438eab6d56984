// What an exchange that may become a tunnel asks of its server's connection beside the commands of every
// exchange: a request that offers to switch protocols, and the end of one side alone.

import HTTP
import HTTP1
import MillraceEngine
import Transport

extension Upstreams {
  /// Writes the head of a request that offers to switch to a protocol.
  /// - Parameters:
  ///   - offered: the protocol, as the client has named it.
  ///   - key: of a handshake of WebSocket that the client has left to this proxy.
  /// - Returns: false if it has no room.
  mutating func upgradeRequest(
    _ u: UpstreamPointer, _ forwarding: RequestForwarding,
    offering offered: UnsafeRawBufferPointer, _ key: WebSocketKey?
  ) -> Bool {
    let capacity = HeadWriter.capacity(for: forwarding, offering: offered)
    let written = u.pointee.outgoing.write(capacity: capacity) { room in
      var w = HeadWriter(room)
      w.upgradeRequest(forwarding, offering: offered, key)
      return w.overflowed ? -1 : w.count
    }
    return written > 0
  }

  /// Ends this side of a connection once all that came for it has left; called again when a send has
  /// ended. A stream of HTTP/2 has said so by END_STREAM.
  mutating func endOwnSide<E: Engine & ~Copyable>(_ u: UpstreamPointer, _ loop: inout Loop<E>) {
    let t = u.transport
    guard u.pointee.kind != .stream, u.pointee.phase == .busy, u.pointee.outgoing.isEmpty else {
      return
    }
    if t.pointee.endOwnSide(scratch: scratch, &loop.engine) { send(u, .awaited, &loop) }
  }
}
