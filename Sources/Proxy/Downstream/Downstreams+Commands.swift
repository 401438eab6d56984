// What an exchange asks of its client's stream. These are the commands that each protocol answers in its
// own way: with HTTP/1.1 a connection has one stream, an abort is a reset of the socket, and the end of an
// exchange may be the connection's.

import Exchange
import Glibc
import HTTP
import HTTP1
import HTTP2
import MillraceEngine
import Transport

/// What came of giving output to a connection.
enum Sending {
  /// It is with the transport now. - wire: the bytes that it has become there.
  case given(wire: Int)
  /// The transport still has what it was given before.
  case busy
  case failed(Failure.Kind)
}

extension Downstreams {
  // MARK: Writing a response

  /// Writes the head of a response that comes from a server. - Returns: false if it has no room.
  @inline(__always)
  mutating func respond<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ response: ResponseView, _ message: inout ServerStream,
    method: HTTPMethod, into output: inout SendBuffer, _ loop: inout Loop<E>
  ) -> Bool {
    if message.isHTTP2 {
      return http2.writeHead(
        response, to: &output, &message.http2,
        announcesNoTable: http2[stream.connection].pointee.session.announcesNoTable,
        method: method, &loop)
    }
    return http1.writeHead(
      response, to: &output, closes: self[stream].pointee.http1.closeAfterResponse, message,
      method: method, &loop)
  }

  /// Writes an interim head, if there is room.
  mutating func respondInterim<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ response: ResponseView, _ message: borrowing ServerStream,
    into output: inout SendBuffer, _ loop: inout Loop<E>
  ) {
    if message.isHTTP2 {
      return http2.writeInterimHead(
        response, to: &output, message.http2,
        announcesNoTable: http2[stream.connection].pointee.session.announcesNoTable, &loop)
    }
    http1.writeInterimHead(response, to: &output, &loop)
  }

  /// Writes a response of the proxy's own: a short text with the reason.
  /// - Parameter grpc: what a call of gRPC is told instead; nil: it is none.
  /// - Returns: bytes of its content; nil if it has no room.
  mutating func reply<E: Engine & ~Copyable>(
    _ stream: StreamReference, status: UInt16, label: StaticString, grpc: GRPCStatus? = nil,
    _ message: inout ServerStream, isHead: Bool, into output: inout SendBuffer,
    _ loop: inout Loop<E>
  ) -> Int? {
    if message.isHTTP2 {
      return replyInHTTP2(
        stream, status: status, label: label, grpc: grpc, &message.http2, isHead: isHead,
        into: &output, &loop)
    }
    return http1.writeReply(
      status: status, label: label, to: &output,
      closes: self[stream].pointee.http1.closeAfterResponse, version: message.version,
      isHead: isHead, &loop)
  }

  /// Chooses how the content of the response leaves. - Parameter framing: in which it comes.
  @inline(__always)
  mutating func prepareContent(
    _ stream: StreamReference, _ framing: BodyFraming, _ message: inout ServerStream
  ) {
    guard framing == .chunked || framing == .untilClose, !message.isHTTP2 else { return }
    message.sendsChunks = message.version == .http11
    // To HTTP/1.0 its end is the connection's.
    if !message.sendsChunks { announceLast(stream) }
  }

  /// Bytes of content that may be written in one piece now; 0: none before a window opens.
  @inline(__always)
  mutating func contentLimit(_ stream: StreamReference, _ message: borrowing ServerStream) -> Int {
    message.isHTTP2 ? windowInHTTP2(stream, message.http2) : .max
  }

  /// Writes content, up to `contentLimit`. - Returns: false if it has no room, and then the message
  /// cannot go on: `SendBuffer.hasRoomForChunk` tells before.
  @inline(__always)
  mutating func content(
    _ stream: StreamReference, _ slice: consuming BufferSlice, _ message: inout ServerStream,
    into output: inout SendBuffer
  ) -> Bool {
    if message.isHTTP2 { return contentInHTTP2(stream, slice, &message.http2, into: &output) }
    return output.appendContent(slice, chunked: message.sendsChunks)
  }

  /// Writes the end of the content, with its trailers. - Returns: false if it has no room.
  @inline(__always)
  mutating func endContent<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ trailers: inout BodyDecoder, _ message: inout ServerStream,
    into output: inout SendBuffer, _ loop: inout Loop<E>
  ) -> Bool {
    if message.isHTTP2 {
      return endContentInHTTP2(stream, trailers, &message.http2, into: &output, &loop)
    }
    guard message.sendsChunks else { return true }
    return loop.prepare(&output) && output.appendContentEnd(&trailers)
  }

  /// The same with trailers that are lines already.
  mutating func endContent<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ trailers: consuming BufferSlice?, _ message: inout ServerStream,
    into output: inout SendBuffer, _ loop: inout Loop<E>
  ) -> Bool {
    if message.isHTTP2 {
      return endContentInHTTP2(stream, trailers, &message.http2, into: &output, &loop)
    }
    guard message.sendsChunks else { return true }
    guard loop.prepare(&output) else { return false }
    return output.appendContentEnd(trailers)
  }

  // MARK: Sending

  /// Gives what is written to the transport, where that has room. It leaves when the connection is
  /// flushed.
  @inline(__always)
  mutating func send<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ output: inout SendBuffer, _ message: inout ServerStream,
    _ loop: inout Loop<E>
  ) -> Sending {
    if message.isHTTP2 { return sendInHTTP2(stream, &output, &message.http2, &loop) }
    let t = self[stream].transport
    guard t.pointee.unsent.isEmpty, t.pointee.closing == .open else {
      // What waits for a slow peer pins no hot buffer while they are few.
      if loop.engine.isLowOnBuffers { output.evacuate() }
      return .busy
    }
    if let channel = t.pointee.tls {
      guard let frame = output.take() else { return .busy }
      if let failure = encrypt(t, channel, frame, &loop) { return .failed(failure) }
    } else {
      t.pointee.unsent.replace(with: &output)
    }
    let wire = t.pointee.unsent.count
    if t.pointee.sending && loop.engine.isLowOnBuffers { t.pointee.unsent.evacuate() }
    return .given(wire: wire)
  }

  /// Encrypts a frame of plaintext into what is to be sent next, which is empty.
  /// - Returns: why that failed, or nil.
  mutating func encrypt<E: Engine & ~Copyable>(
    _ t: UnsafeMutablePointer<Transport>, _ channel: UnsafeMutablePointer<TLSChannel>,
    _ frame: consuming SendFrame, _ loop: inout Loop<E>
  ) -> Failure.Kind? {
    switch t.pointee.encrypt(channel, frame, &loop.engine) {
    case .done: return nil
    case .failed: return .downstreamReset
    case .noRoom: return .downstreamUnsendable
    case .noFrame:
      loop.counters.framesExhausted += 1
      return .downstreamUnsendable
    }
  }

  // MARK: Reading

  /// Reads no more of the request until it is resumed.
  mutating func pause<E: Engine & ~Copyable>(_ stream: StreamReference, _ loop: inout Loop<E>) {
    // A stream of HTTP/2 is stopped by its own window, and no other with it.
    if !self[stream].pointee.isHTTP2 { pause(self[stream], &loop) }
  }

  // MARK: The end

  /// No further request is read on the connection; a head that is still to be written says so.
  @inline(__always)
  func announceLast(_ stream: StreamReference) {
    // A no-op for HTTP/2, where a stream's end is not its connection's.
    self[stream].pointee.http1.closeAfterResponse = true
  }

  /// The response is delivered. - Parameters:
  ///   - linger: the request was not read to its end, or not understood.
  ///   - isLarge: the request's content was.
  mutating func finish<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ message: inout ServerStream, linger: Bool, isLarge: Bool,
    _ loop: inout Loop<E>
  ) {
    if message.isHTTP2 {
      if message.http2.isTunnel { endTunnel(stream, &message.http2) }
      return leave(stream, &message.http2, .internalError, &loop)
    }
    let d = self[stream]
    d.pointee.http1.exchange = -1
    if d.pointee.http1.closeAfterResponse {
      close(d, linger: linger || !d.transport.pointee.unread.isEmpty, &loop)
    } else {
      becomeIdle(d, largeRequest: isLarge, &loop)
    }
  }

  /// The response cannot be whole: its end must not be taken for one.
  /// - Parameter isPeers: the client has not taken what it was sent in time.
  mutating func reset<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ message: inout ServerStream, isPeers: Bool,
    _ loop: inout Loop<E>
  ) {
    if message.isHTTP2 {
      // The server's connection of a tunnel has failed: RFC 9113 8.5.
      let code: HTTP2ErrorCode = message.http2.isTunnel ? .connectError : .internalError
      return leave(stream, &message.http2, isPeers ? .cancel : code, &loop)
    }
    let d = self[stream]
    d.pointee.http1.exchange = -1
    join(d, resets: true, &loop)
  }

  /// The request was never begun, and its client has no more time.
  mutating func dismiss<E: Engine & ~Copyable>(
    _ stream: StreamReference, _ message: inout ServerStream, _ loop: inout Loop<E>
  ) {
    if message.isHTTP2 { return leave(stream, &message.http2, .refusedStream, &loop) }
    let d = self[stream]
    d.pointee.http1.exchange = -1
    close(d, linger: false, &loop)
  }
}
