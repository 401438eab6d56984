// TLS between a downstream transport and its exchanges: what each step of its session means for the
// connection. The steps themselves are the transport's.

import Glibc
import Logging
import MillraceEngine
import TLS
import Transport

extension Worker where E: ~Copyable {
  /// Room for plaintext when no large buffer is free: one record.
  private static var coldPlaintext: Int { 16_384 }

  // MARK: In

  /// Decrypts what came from the wire and uses the plaintext; what the session cannot take yet is
  /// held.
  mutating func decrypt(
    _ d: DownstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>,
    _ slice: consuming BufferSlice
  ) {
    if !channel.pointee.isStalled {
      let used = decrypt(d, channel, slice.bytes)
      // The session may have ended, and its slot with it.
      guard Self.transport(d).pointee.isStalled else { return }
      slice.dropPrefix(used)
    }
    if !channel.pointee.hold(slice, &engine) { loseSession(d) }
  }

  /// Feeds the session until its input is used up, it stalls, or the connection ends.
  /// - Returns: bytes that are done with.
  private mutating func decrypt(
    _ d: DownstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>,
    _ bytes: UnsafeRawBufferPointer
  ) -> Int {
    let t = Self.transport(d)
    var offset = 0
    while true {
      if t.pointee.unsent.isFull() { flushDownstream(d) }
      var area = engine.lease() ?? engine.coldMemory(Self.coldPlaintext)
      let step = t.pointee.decrypt(
        channel, UnsafeRawBufferPointer(rebasing: bytes[offset...]),
        plaintext: area.mutableBytes, scratch: channels.scratch, &engine)
      offset += step.consumed
      if step.stallBegan { counters.tlsStalls += 1 }
      if step.outcome == .outputLost {
        counters.framesExhausted += 1
        loseSession(d)
        return offset
      }
      if step.handshakeCompleted {
        counters.handshakes += 1
        counters.countHandshake(
          listener: plan.row(ofListener: d.pointee.listener),
          isTLS13: channel.pointee.session.version == .tls13)
      }
      if step.plaintext > 0 {
        area.truncate(to: step.plaintext)
        downstreamInput(d, area)
      }
      guard t.pointee.closing == .open else { return offset }
      switch step.outcome {
      case .wantsInput, .stalled, .outputLost: return offset
      case .goesOn: break
      case .mustFlush: flushDownstream(d)
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

  /// A send has ended: the session goes on with what is held.
  mutating func resumeDecrypting(
    _ d: DownstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>
  ) {
    let t = Self.transport(d)
    guard channel.pointee.isStalled, t.pointee.closing == .open else { return }
    if let slice = channel.pointee.resume() {
      decrypt(d, channel, slice)
    } else {
      // The session may still have output of its own to give.
      _ = decrypt(d, channel, UnsafeRawBufferPointer(start: nil, count: 0))
    }
    guard t.pointee.closing == .open else { return }
    flushDownstream(d)
    if t.pointee.isStalled { return }
    if t.pointee.readClosed { return downstreamEnded(d, 0) }
    armDownstream(d)
  }

  // MARK: Ends

  private mutating func tlsFailed(
    _ d: DownstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>
  ) {
    let isEstablished = channel.pointee.isEstablished
    if !isEstablished {
      counters.handshakeFailures += 1
      counters[listener: plan.row(ofListener: d.pointee.listener), .handshakeFailures] += 1
    }
    if let failure = channel.pointee.session.failure {
      if failure.kind == .tooManyMessages { counters.tlsFloods += 1 }
      logTLSFailure(d, failure)
      if failure.isPlainHTTP, !isEstablished, d.pointee.exchange < 0,
        !Self.transport(d).pointee.sending
      {
        return refusePlainHTTP(d)
      }
    }
    if d.pointee.exchange >= 0 {
      counters.downstreamAborts += 1
      abortExchange(exchanges[UInt32(d.pointee.exchange)], .downstreamReset)
    } else {
      // The alert is in the frame; the peer may still be sending its part of the handshake.
      closeDownstream(d, linger: true)
    }
  }

  /// Ends a connection whose session has said what cannot be sent, or holds too much.
  private mutating func loseSession(_ d: DownstreamPointer) {
    guard Self.transport(d).pointee.closing == .open else { return }
    counters.downstreamAborts += 1
    if d.pointee.exchange >= 0 {
      abortExchange(exchanges[UInt32(d.pointee.exchange)], .resourcesExhausted)
    } else {
      abortDownstream(d)
    }
  }

  // MARK: Out

  /// Encrypts a frame of plaintext into the transport's frame, which is empty.
  /// - Returns: why that failed, or nil.
  mutating func encrypt(
    _ d: DownstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>,
    _ frame: consuming SendFrame
  ) -> Ending? {
    switch Self.transport(d).pointee.encrypt(channel, frame, &engine) {
    case .done: return nil
    case .failed: return .downstreamReset
    case .noRoom: return .resourcesExhausted
    case .noFrame:
      counters.framesExhausted += 1
      return .resourcesExhausted
    }
  }
}
