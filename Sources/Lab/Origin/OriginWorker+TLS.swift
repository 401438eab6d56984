// TLS between a connection and its requests: what each step of its session means for the connection. The
// steps themselves are the transport's.

import HTTP2
import MillraceEngine
import TLS
import Transport

extension OriginWorker where E: ~Copyable {
  /// Decrypts what came from the wire and uses the plaintext; what the session cannot take yet is held.
  mutating func decrypt(
    _ c: OriginConnectionPointer, _ channel: UnsafeMutablePointer<TLSChannel>,
    _ slice: consuming BufferSlice
  ) {
    if !channel.pointee.isStalled {
      let used = decrypt(c, channel, slice.bytes)
      guard channel.pointee.isStalled else { return }
      slice.dropPrefix(used)
    }
    if !channel.pointee.hold(slice, &engine) { abort(c) }
  }

  /// - Returns: bytes that are done with.
  private mutating func decrypt(
    _ c: OriginConnectionPointer, _ channel: UnsafeMutablePointer<TLSChannel>,
    _ bytes: UnsafeRawBufferPointer
  ) -> Int {
    var offset = 0
    while true {
      if c.pointee.transport.unsent.isFull() { flush(c) }
      let step = c.pointee.transport.decrypt(
        channel, UnsafeRawBufferPointer(rebasing: bytes[offset...]), plaintext: plainScratch,
        scratch: channels.scratch, &engine)
      offset += step.consumed
      if step.outcome == .outputLost {
        abort(c)
        return offset
      }
      if step.handshakeCompleted {
        counters.handshakes += 1
        // Without ALPN the first bytes decide, as without TLS.
        if channel.pointee.session.withALPN({ $0.spells("h2") }), !beginHTTP2(c) {
          abort(c)
          return offset
        }
      }
      if step.plaintext > 0 {
        input(c, UnsafeRawBufferPointer(rebasing: plainScratch[..<step.plaintext]))
      }
      guard c.pointee.transport.closing == .open else { return offset }
      switch step.outcome {
      case .wantsInput, .stalled, .outputLost: return offset
      case .goesOn: break
      case .mustFlush: flush(c)
      case .peerFinished:
        c.pointee.transport.peerHasFinished = true
        ended(c, 0)
        return offset
      case .failed:
        if !channel.pointee.isEstablished { counters.handshakeFailures += 1 }
        // The alert is in the frame.
        c.pointee.transport.beginFlushing()
        return offset
      }
    }
  }

  /// A send has ended: the session goes on with what is held.
  mutating func resumeDecrypting(
    _ c: OriginConnectionPointer, _ channel: UnsafeMutablePointer<TLSChannel>
  ) {
    guard channel.pointee.isStalled, c.pointee.transport.closing == .open else { return }
    if let slice = channel.pointee.resume() {
      decrypt(c, channel, slice)
    } else {
      _ = decrypt(c, channel, UnsafeRawBufferPointer(start: nil, count: 0))
    }
    armReceive(c)
  }

  /// Puts close_notify behind what is to be sent; false when that cannot be.
  mutating func sendCloseNotify(
    _ c: OriginConnectionPointer, _ channel: UnsafeMutablePointer<TLSChannel>
  ) -> Bool {
    encrypt(c, channel)
      && c.pointee.transport.sendCloseNotify(channel, scratch: channels.scratch, &engine)
  }

  /// Encrypts what is to be said behind what waits; false when that cannot be.
  mutating func encrypt(
    _ c: OriginConnectionPointer, _ channel: UnsafeMutablePointer<TLSChannel>
  ) -> Bool {
    guard !c.pointee.plain.isEmpty, let frame = c.pointee.plain.take() else { return true }
    return c.pointee.transport.encrypt(channel, frame, &engine) == .done
  }
}
