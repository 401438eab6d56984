// What an exchange asks of its client's stream, where that is one of HTTP/2.
//
// TRAP: (file) the room of a frame has memory.

import Exchange
import Glibc
import HTTP
import HTTP1
import HTTP2
import MillraceEngine
import Transport

extension Downstreams {
  // MARK: Writing a response

  mutating func replyInHTTP2<E: Engine & ~Copyable>(
    _ stream: StreamReference, status: UInt16, label: StaticString, grpc: GRPCStatus?,
    _ message: inout HTTP2ServerStream, isHead: Bool, into output: inout SendBuffer,
    _ loop: inout Loop<E>
  ) -> Int? {
    let c = http2[stream.connection]
    message.isLocal = true
    // What was prepared before has been dropped, and its window with it.
    restoreWindow(c, &message)
    // One that is malformed is reset, which says the same to a call as to any other request.
    if let grpc, !message.isMalformed {
      return http2.writeGRPCReply(
        grpc, status: status, label: label, to: &output, &message,
        announcesNoTable: c.pointee.session.announcesNoTable, &loop)
    }
    let window = message.place < 0 ? 0 : c.pointee.session.window(Int(message.place))
    let content = http2.writeReply(
      status: status, label: label, to: &output, &message,
      announcesNoTable: c.pointee.session.announcesNoTable, isHead: isHead, window: window, &loop)
    if let content, content > 0 { takeWindow(c, content, &message) }
    return content
  }

  /// Bytes of content that both windows and a frame have room for.
  mutating func windowInHTTP2(_ stream: StreamReference, _ message: borrowing HTTP2ServerStream)
    -> Int
  {
    guard message.place >= 0 else { return 0 }
    let c = http2[stream.connection]
    return min(
      max(0, c.pointee.session.window(Int(message.place))), HTTP2ResponseWriter.pieceMaximum)
  }

  mutating func contentInHTTP2(
    _ stream: StreamReference, _ slice: consuming BufferSlice, _ message: inout HTTP2ServerStream,
    into output: inout SendBuffer
  ) -> Bool {
    let count = slice.count
    let isLast = message.remaining == Int64(count)
    let id = message.id
    guard output.appendData(slice, stream: id, ends: isLast) else { return false }
    takeWindow(http2[stream.connection], count, &message)
    if message.remaining >= 0 { message.remaining -= Int64(count) }
    if isLast { message.hasWrittenEnd = true }
    return true
  }

  /// Whether the end of a response is still to be written; from here on it is not.
  private mutating func beginEnd<E: Engine & ~Copyable>(
    _ message: inout HTTP2ServerStream, _ output: inout SendBuffer, _ loop: inout Loop<E>
  ) -> Bool? {
    if message.hasWrittenEnd { return false }
    guard loop.prepare(&output) else { return nil }
    message.hasWrittenEnd = true
    return true
  }

  mutating func endContentInHTTP2<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ trailers: borrowing BodyDecoder,
    _ message: inout HTTP2ServerStream, into output: inout SendBuffer, _ loop: inout Loop<E>
  ) -> Bool {
    guard let isDue = beginEnd(&message, &output, &loop) else { return false }
    guard isDue else { return true }
    return output.appendEnd(
      stream: message.id,
      announcesNoTable: http2[stream.connection].pointee.session.announcesNoTable, trailers)
  }

  mutating func endContentInHTTP2<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ trailers: consuming BufferSlice?,
    _ message: inout HTTP2ServerStream, into output: inout SendBuffer, _ loop: inout Loop<E>
  ) -> Bool {
    guard let isDue = beginEnd(&message, &output, &loop) else { return false }
    guard isDue else { return true }
    return output.appendEnd(
      stream: message.id,
      announcesNoTable: http2[stream.connection].pointee.session.announcesNoTable, trailers)
  }

  private mutating func takeWindow(
    _ c: UnsafeMutablePointer<HTTP2Connection>, _ count: Int, _ message: inout HTTP2ServerStream
  ) {
    c.pointee.session.takeWindow(Int(message.place), count)
    message.reserved += count
  }

  /// DATA that will not leave has taken no window.
  mutating func restoreWindow(
    _ c: UnsafeMutablePointer<HTTP2Connection>, _ message: inout HTTP2ServerStream
  ) {
    guard message.reserved > 0 else { return }
    c.pointee.session.restoreWindow(message.reserved)
    // Others may wait for what this one had taken and did not use.
    c.pointee.hasOpened = true
    message.reserved = 0
  }

  // MARK: Sending

  mutating func sendInHTTP2<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ output: inout SendBuffer, _ message: inout HTTP2ServerStream,
    _ loop: inout Loop<E>
  ) -> Sending {
    let c = http2[stream.connection]
    let count = output.count
    if !c.pointee.output.take(&output, of: message.key, &loop) {
      // If a frame is full it need not wait for the turn's end.
      flushHTTP2(self[stream], &loop)
      guard c.pointee.output.take(&output, of: message.key, &loop) else {
        if !message.isReady {
          message.isReady = true
          c.pointee.output.ready.append(message.key)
        }
        return .busy
      }
    }
    message.reserved = 0
    endStream(c, &message)
    return .given(wire: count)
  }

  /// The session forgets a stream whose last frame is on its way: the client may open another one in its
  /// place as soon as it has seen that frame.
  private mutating func endStream(
    _ c: UnsafeMutablePointer<HTTP2Connection>, _ message: inout HTTP2ServerStream
  ) {
    guard message.place >= 0 else { return }
    if message.isMalformed {
      c.pointee.session.refuseMalformed(Int(message.place))
    } else if message.hasWrittenEnd {
      // The client's side of a tunnel may still be open.
      if message.isTunnel && !c.pointee.session.hasRequestEnded(Int(message.place)) { return }
      c.pointee.session.end(Int(message.place), isWork: !message.isLocal)
    } else {
      return
    }
    message.place = -1
  }

  // MARK: The end

  /// A stream is done with, or is not to be gone on with.
  /// - Parameter code: what it is reset with if its response has not been given out to its end.
  mutating func leave<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ message: inout HTTP2ServerStream, _ code: HTTP2ErrorCode,
    _ loop: inout Loop<E>
  ) {
    let d = self[stream]
    let c = http2[stream.connection]
    restoreWindow(c, &message)
    if message.place >= 0 {
      c.pointee.session.reset(Int(message.place), code)
      message.place = -1
    }
    if let index = c.pointee.exchanges.firstIndex(of: message.key.slot) {
      c.pointee.exchanges.remove(at: index)
    }
    // What the session has to say of it leaves before the turn ends.
    noteOutput(d)
    guard c.pointee.exchanges.isEmpty, d.transport.pointee.closing == .open else { return }
    if c.pointee.isEnding { return closeWhenSent(d) }
    d.pointee.phase = .idle
    loop.adoptPlan(&d.pointee.use)
    c.pointee.idleUntil =
      loop.engine.now + loop.plan.listeners[Int(d.pointee.listener)].idleTimeout
    d.transport.pointee.deadline = c.pointee.idleUntil
  }

  /// Closes a connection once what there is has been handed over.
  mutating func closeWhenSent(_ d: DownstreamPointer) {
    let c = http2[d.pointee.slot]
    guard d.transport.pointee.closing == .open, !c.pointee.isClosing else { return }
    c.pointee.isClosing = true
    c.pointee.session.refuseStreams()
    addResumable(d)
  }

  /// Sends what there is: the frames of the streams, and those of the session.
  mutating func flushHTTP2<E: Engine & ~Copyable>(_ d: DownstreamPointer, _ loop: inout Loop<E>) {
    let c = http2[d.pointee.slot]
    let t = d.transport
    guard t.pointee.closing == .open || t.pointee.closing == .flushing else { return }
    // One frame goes out, one waits for the transport, and one is being filled.
    for _ in 0..<2 {
      guard c.pointee.handOver(t, &loop) else {
        c.pointee.output.isLost = true
        return addResumable(d)
      }
      guard !t.pointee.unsent.isEmpty, !t.pointee.sending else { break }
      t.pointee.deadline = min(
        c.pointee.idleUntil,
        loop.engine.now + loop.plan.listeners[Int(d.pointee.listener)].bodyTimeout)
      send(d, .awaited, &loop)
      if t.pointee.sending { c.pointee.output.tookOff() }
    }
    if t.pointee.sending && !(t.pointee.unsent.isEmpty && c.pointee.output.frames.isEmpty) {
      loop.coalescing.hurry()
    }
    if c.pointee.isClosing, t.pointee.closing == .open, c.pointee.output.frames.isEmpty,
      !c.pointee.session.hasControl
    {
      close(d, linger: true, &loop)
    }
  }
}
