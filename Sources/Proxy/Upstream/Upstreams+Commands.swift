// What an exchange asks of its server's stream: the commands that each protocol answers in its own way.
// With HTTP/1.1 a connection has one stream.

import Exchange
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

extension Upstreams {
  /// Writes a request's head. - Returns: false if it has no room.
  @inline(__always)
  mutating func request(_ u: UpstreamPointer, _ forwarding: RequestForwarding) -> Bool {
    if u.pointee.kind == .stream {
      return http2.writeHead(forwarding, to: &u.pointee.outgoing, &u.pointee.http2)
    }
    return http1.writeHead(forwarding, to: &u.pointee.outgoing)
  }

  /// Writes request content. - Parameter framing: in which it came, and leaves.
  /// - Returns: false if it has no room, and then the message cannot go on.
  @inline(__always)
  mutating func content(
    _ u: UpstreamPointer, _ slice: consuming BufferSlice, _ framing: BodyFraming
  ) -> Bool {
    if u.pointee.kind == .stream { return contentInHTTP2(u, slice) }
    return u.pointee.outgoing.appendContent(slice, chunked: framing == .chunked)
  }

  /// Writes the end of the content, with its trailers. - Returns: false if it has no room.
  mutating func endContent(
    _ u: UpstreamPointer, _ trailers: inout BodyDecoder, _ framing: BodyFraming
  ) -> Bool {
    if u.pointee.kind == .stream {
      guard beginEnd(u) else { return true }
      return u.pointee.outgoing.appendEnd(
        stream: u.pointee.http2.id, announcesNoTable: announcesNoTable(u), trailers)
    }
    return framing != .chunked || u.pointee.outgoing.appendContentEnd(&trailers)
  }

  /// The same with trailers that are lines already.
  mutating func endContent(
    _ u: UpstreamPointer, _ trailers: consuming BufferSlice?, _ framing: BodyFraming
  ) -> Bool {
    if u.pointee.kind == .stream {
      guard beginEnd(u) else { return true }
      return u.pointee.outgoing.appendEnd(
        stream: u.pointee.http2.id, announcesNoTable: announcesNoTable(u), trailers)
    }
    guard framing == .chunked else { return true }
    return u.pointee.outgoing.appendContentEnd(trailers)
  }

  /// Gives what is written to the transport, where that has room. It leaves when the connection is
  /// flushed.
  @inline(__always)
  mutating func push<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ loop: inout Loop<E>
  ) -> RequestSending {
    if u.pointee.kind == .stream { return pushStream(u, &loop) }
    let t = u.transport
    guard !t.pointee.sending, !u.pointee.outgoing.isEmpty else { return .busy }
    guard let channel = t.pointee.tls else {
      // Nothing but a request was ever put there, and it has left.
      t.pointee.unsent.replace(with: &u.pointee.outgoing)
      return .given(wire: t.pointee.unsent.count)
    }
    return encrypt(u, channel, &loop)
  }

  private mutating func encrypt<E: Engine & ~Copyable>(
    _ u: UpstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>, _ loop: inout Loop<E>
  ) -> RequestSending {
    let before = u.transport.pointee.unsent.count
    guard let frame = u.pointee.outgoing.take() else { return .busy }
    // Behind what the session has said: the end of its handshake and the request leave together.
    switch u.transport.pointee.encrypt(channel, frame, &loop.engine) {
    case .done: return .given(wire: u.transport.pointee.unsent.count - before)
    case .noFrame: loop.counters.framesExhausted += 1
    case .noRoom, .failed: break
    }
    noteLost(u)
    return .lost
  }

  /// Stops reading from the server until the client has taken what it has; then it is read in pieces,
  /// as in `Downstreams.pauseInput`. The server owes nothing meanwhile.
  mutating func pause<E: Engine & ~Copyable>(_ u: UpstreamPointer, _ loop: inout Loop<E>) {
    u.transport.pointee.paused = true
    u.transport.pointee.deadline = .max
    // What a server sends beyond that is bounded by the window of the stream.
    if u.pointee.kind == .stream { return }
    u.transport.pointee.setMode(.once, &loop.engine)
  }
}
