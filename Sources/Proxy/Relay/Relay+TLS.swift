// TLS between a client's transport and its exchanges: what each step of its session means for the
// connection. The steps themselves are the transport's.

import Exchange
import Glibc
import Logging
import MillraceEngine
import TLS
import Transport

extension Relay where E: ~Copyable {
  /// Room for plaintext when no large buffer is free: one record.
  private static var coldPlaintext: Int { 16_384 }

  // MARK: In

  /// Decrypts what came from the wire and uses the plaintext; what the session cannot take yet is
  /// kept.
  mutating func decrypt(
    _ d: DownstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>,
    _ slice: consuming BufferSlice
  ) {
    if !channel.pointee.isStalled {
      let used = decrypt(d, channel, slice.bytes)
      // The session may have ended, and its slot with it.
      guard d.transport.pointee.isStalled else { return }
      slice.dropPrefix(used)
    }
    if !channel.pointee.hold(slice, &loop.engine) { loseSession(d) }
  }

  /// Makes room for what the session has to say.
  private mutating func flushSession(_ d: DownstreamPointer) {
    if d.pointee.isHTTP2 { downstreams.flushHTTP2(d, &loop) } else { flush(d) }
  }

  /// Feeds the session until its input is used up, it stalls, or the connection ends.
  /// - Returns: bytes that are done with.
  private mutating func decrypt(
    _ d: DownstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>,
    _ bytes: UnsafeRawBufferPointer
  ) -> Int {
    let t = d.transport
    var offset = 0
    while true {
      if t.pointee.unsent.isFull() { flushSession(d) }
      var area = loop.engine.lease() ?? loop.engine.coldMemory(Self.coldPlaintext)
      let step = t.pointee.decrypt(
        channel, UnsafeRawBufferPointer(rebasing: bytes[offset...]),
        plaintext: area.mutableBytes, scratch: downstreams.scratch, &loop.engine)
      offset += step.consumed
      if step.stallBegan { loop.counters.tlsStalls += 1 }
      if step.outcome == .outputLost {
        loop.counters.framesExhausted += 1
        loseSession(d)
        return offset
      }
      if step.handshakeCompleted {
        loop.counters.handshakes += 1
        loop.counters.countHandshake(
          listener: loop.plan.row(ofListener: d.pointee.listener),
          isTLS13: channel.pointee.session.version == .tls13)
        if channel.pointee.session.withALPN({ Self.isHTTP2($0) }), !beginHTTP2(d) {
          return offset
        }
      }
      if step.plaintext > 0 {
        area.truncate(to: step.plaintext)
        input(d, area)
      }
      guard t.pointee.closing == .open else { return offset }
      switch step.outcome {
      case .wantsInput, .stalled, .outputLost: return offset
      case .goesOn: break
      case .mustFlush: flushSession(d)
      case .peerFinished:
        t.pointee.peerHasFinished = true
        downstreamEnded(d, 0)
        return offset
      case .failed:
        tlsFailed(d, channel)
        return offset
      }
    }
  }

  /// A send has ended: the session goes on with what is kept.
  mutating func resumeDecrypting(
    _ d: DownstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>
  ) {
    let t = d.transport
    guard channel.pointee.isStalled, t.pointee.closing == .open else { return }
    if let slice = channel.pointee.resume() {
      decrypt(d, channel, slice)
    } else {
      // The session may still have output of its own to give.
      _ = decrypt(d, channel, UnsafeRawBufferPointer(start: nil, count: 0))
    }
    guard t.pointee.closing == .open else { return }
    flush(d)
    if t.pointee.isStalled { return }
    if t.pointee.readClosed { return downstreamEnded(d, 0) }
    downstreams.arm(d, &loop)
  }

  private static func isHTTP2(_ name: UnsafeRawBufferPointer) -> Bool {
    name.count == 2 && name[0] == UInt8(ascii: "h") && name[1] == UInt8(ascii: "2")
  }

  // MARK: Ends

  private mutating func tlsFailed(
    _ d: DownstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>
  ) {
    let isEstablished = channel.pointee.isEstablished
    if !isEstablished {
      loop.counters.handshakeFailures += 1
      let row = loop.plan.row(ofListener: d.pointee.listener)
      loop.counters[listener: row, .handshakeFailures] += 1
      loop.counters.countHandshakeFailure(channel.pointee.session.failure?.kind)
    }
    if let failure = channel.pointee.session.failure {
      if failure.kind == .tooManyMessages { loop.counters.tlsFloods += 1 }
      logTLSFailure(d, failure)
      if failure.isPlainHTTP, !isEstablished, d.pointee.http1.exchange < 0,
        !d.transport.pointee.sending
      {
        return refusePlainHTTP(d)
      }
    }
    if d.pointee.isHTTP2 { endExchanges(d) { $0.downstreamGone() } }
    if let x = exchange(of: d) {
      _ = perform(x, x.pointee.state.downstreamGone())
    } else {
      // The alert is in the frame; the peer may still be sending its part of the handshake.
      downstreams.close(d, linger: true, &loop)
    }
  }

  /// Answers plain HTTP on a TLS port in plain text, as nginx does, and ends the connection. Only
  /// before the session has sent anything: what follows its bytes would be no status line.
  private mutating func refusePlainHTTP(_ d: DownstreamPointer) {
    downstreams.dropTLS(d)
    reject(d, .badRequest, status: 400, label: "plain_http_on_tls_port")
  }

  /// Ends a connection whose session has said what cannot be sent, or holds too much.
  private mutating func loseSession(_ d: DownstreamPointer) {
    guard d.transport.pointee.closing == .open else { return }
    if d.pointee.isHTTP2 { return http2Gone(d, .downstreamUnsendable) }
    if let x = exchange(of: d) {
      _ = perform(x, x.pointee.state.downstreamGone(.downstreamUnsendable))
    } else {
      loop.counters.downstreamAborts += 1
      downstreams.join(d, resets: true, &loop)
    }
  }
}
