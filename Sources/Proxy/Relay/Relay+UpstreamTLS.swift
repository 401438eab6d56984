// TLS towards a server: its handshake as a step in the life of a connection, and what each step of the
// session means for it. A server whose certificate is not believed has not been reached.

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
      if step.handshakeCompleted { upstreamEstablished(u) }
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
    if let failure = channel.pointee.session.failure { logTLSFailure(u, failure) }
    // Its alert leaves, if it can.
    upstreams.send(u, .awaited, &loop)
    if u.pointee.phase == .handshaking {
      connectFailed(u, .tlsFailed, timedOut: false)
    } else {
      upstreamEnded(u, -ECONNRESET)
    }
  }

  /// Ends a connection whose session has said what cannot be sent, or holds too much.
  private mutating func loseSession(_ u: UpstreamPointer) {
    guard u.transport.pointee.closing == .open else { return }
    upstreamUnusable(u)
  }
}
