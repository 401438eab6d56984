// TLS towards a server: its handshake as a step in the life of a connection, and what each step of the
// session means for it. A server whose certificate is not trusted has not been reached.

import Exchange
import Glibc
import Logging
import MillraceEngine
import TLS
import Transport

extension Relay where E: ~Copyable {
  /// Decrypts what came from the wire and uses the plaintext; what the session cannot take yet is
  /// kept.
  mutating func decrypt(
    _ u: UpstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>,
    _ slice: consuming BufferSlice
  ) {
    if !channel.pointee.isStalled {
      let used = decrypt(u, channel, slice.bytes)
      // The session may have ended, and its slot with it.
      guard u.transport.pointee.isStalled else { return }
      slice.dropPrefix(used)
    }
    if !channel.pointee.hold(slice, &loop.engine) { loseSession(u) }
  }

  /// Lets the session speak that has got no input: a client's speaks first.
  mutating func decrypt(_ u: UpstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>) {
    _ = decrypt(u, channel, UnsafeRawBufferPointer(start: nil, count: 0))
  }

  /// Feeds the session until its input is used up, it stalls, or the connection ends.
  /// - Returns: bytes that are done with.
  private mutating func decrypt(
    _ u: UpstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>,
    _ bytes: UnsafeRawBufferPointer
  ) -> Int {
    let t = u.transport
    var offset = 0
    while true {
      if t.pointee.unsent.isFull() { upstreams.send(u, .awaited, &loop) }
      var area = loop.engine.lease() ?? loop.engine.coldMemory(TLSSession.recordPlaintextMaximum)
      let step = t.pointee.decrypt(
        channel, UnsafeRawBufferPointer(rebasing: bytes[offset...]),
        plaintext: area.mutableBytes, scratch: upstreams.scratch, &loop.engine)
      offset += step.consumed
      if step.stallBegan { loop.counters.tlsStalls += 1 }
      if step.outcome == .outputLost {
        loop.counters.framesExhausted += 1
        loseSession(u)
        return offset
      }
      if step.handshakeCompleted {
        countHandshake(u, channel)
        upstreams.keepTickets(u)
        upstreamEstablished(u)
      }
      if step.plaintext > 0 && t.pointee.closing == .open {
        area.truncate(to: step.plaintext)
        upstreamBytes(u, area)
      }
      guard t.pointee.closing == .open else { return offset }
      switch step.outcome {
      case .wantsInput:
        upstreams.send(u, .awaited, &loop)
        return offset
      case .stalled, .outputLost: return offset
      case .goesOn: break
      case .mustFlush: upstreams.send(u, .awaited, &loop)
      case .peerFinished:
        t.pointee.peerHasFinished = true
        settleUpstreamEnd(u)
        return offset
      case .failed:
        sessionFailed(u, channel)
        return offset
      }
    }
  }

  /// A send has ended: the session goes on with what is kept, and the request with what is left.
  mutating func tlsUpstreamSent(
    _ u: UpstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>
  ) {
    let t = u.transport
    if u.pointee.phase == .busy {
      if !u.pointee.outgoing.isEmpty || !t.pointee.unsent.isEmpty { flush(u) }
    } else {
      upstreams.send(u, .awaited, &loop)
    }
    requestTaken(u)
    resumeDecrypting(u, channel)
  }

  /// The session goes on with what is kept, if it was stalled.
  mutating func resumeDecrypting(
    _ u: UpstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>
  ) {
    let t = u.transport
    guard channel.pointee.isStalled, t.pointee.closing == .open else { return }
    if let slice = channel.pointee.resume() {
      decrypt(u, channel, slice)
    } else {
      decrypt(u, channel)
    }
    guard t.pointee.closing == .open, !t.pointee.isStalled else { return }
    if t.pointee.readClosed { return settleUpstreamEnd(u) }
    upstreams.arm(u, &loop)
  }

  // MARK: Ends

  private mutating func sessionFailed(
    _ u: UpstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>
  ) {
    let failure = channel.pointee.session.failure
    if failure?.kind == .tooManyMessages { loop.counters.tlsFloods += 1 }
    // Its alert leaves, if it can.
    upstreams.send(u, .awaited, &loop)
    let detail = failure.map { "\($0)" } ?? "-"
    if u.pointee.phase == .handshaking {
      let kind = failure.map { Failure.Kind(ofHandshake: $0.kind) } ?? .tlsFailed
      logTLSFailure(u, Failure(kind).label, detail)
      upstreams.dropTickets(u)
      return connectFailed(u, kind, timedOut: false)
    }
    if case .alertReceived? = failure?.kind, let x = exchange(of: u), isUnanswered(u, x) {
      // With TLS 1.3 a server says so only now that it wants (another) certificate of its client.
      logTLSFailure(u, Failure(.tlsFailed).label, detail)
      let d = downstream(of: x)
      _ = perform(x, x.pointee.state.fail(.tlsFailed))
      return flush(d)
    }
    logTLSFailure(u, failure?.label ?? "-", detail)
    upstreamEnded(u, -ECONNRESET)
  }

  /// Whether nothing but the end of its handshake has come on a connection.
  private func isUnanswered(_ u: UpstreamPointer, _ x: ExchangePointer) -> Bool {
    u.pointee.phase == .busy && !u.pointee.isReused && x.pointee.times.firstByte == 0
  }

  /// The server has ended its connection, or takes no more, in the middle of the handshake.
  /// - Parameter result: 0, or a negated errno.
  mutating func handshakeEnded(_ u: UpstreamPointer, _ result: Int32) {
    let t = u.transport
    let isOrderly = result == 0 || t.pointee.readClosed && t.pointee.endResult == 0
    logTLSFailure(
      u, Failure(.tlsFailed).label,
      isOrderly
        ? "TLS handshake: the server closed the connection"
        : "TLS handshake: the connection failed: \(String(cString: strerror(-result)))")
    connectFailed(u, .tlsFailed, timedOut: false)
  }

  // MARK: Counting

  /// A handshake is complete.
  private mutating func countHandshake(
    _ u: UpstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>
  ) {
    let row = upstreams.server(of: u).pointee.row
    let isTLS13 = channel.pointee.session.version == .tls13
    loop.counters.upstreamHandshakes += 1
    loop.counters[server: row, isTLS13 ? .handshakes13 : .handshakes12] += 1
    if channel.pointee.session.isResumed {
      loop.counters.upstreamHandshakesResumed += 1
      loop.counters[server: row, .handshakesResumed] += 1
    }
  }

  /// Ends a connection whose session has said what cannot be sent, or holds too much.
  private mutating func loseSession(_ u: UpstreamPointer) {
    guard u.transport.pointee.closing == .open else { return }
    upstreamUnusable(u)
  }
}
