// TLS between a downstream transport and its exchanges: ciphertext in, plaintext out, and back.
// The session works on memory that it is lent for a call; nothing here outlives its turn but what
// waits to be sent.

import Glibc
import Logging
import MillraceEngine
import TLS

extension Worker where E: ~Copyable {
  /// Room for plaintext when no large buffer is free: one record.
  private static var coldPlaintext: Int { 16_384 }

  /// Room at the end of an output buffer that is not worth a record of its own.
  private static var worthwhileRoom: Int { 2048 }

  /// Decrypts what came from the wire and uses the plaintext.
  mutating func decrypt(_ d: DownstreamPointer, _ slice: consuming BufferSlice) {
    var offset = 0
    while true {
      var area = engine.lease() ?? engine.coldMemory(Self.coldPlaintext)
      let transfer = d.pointee.tls!.receive(
        UnsafeRawBufferPointer(rebasing: slice.bytes[offset...]), plaintext: area.mutableBytes,
        output: tlsScratch)
      offset += transfer.consumed
      if transfer.output > 0 { appendWire(d, transfer.output) }
      if transfer.handshakeCompleted {
        counters.handshakes += 1
        d.pointee.handshaken = true
      }
      if transfer.plaintext > 0 {
        area.truncate(to: transfer.plaintext)
        downstreamInput(d, area)
      }
      guard Self.transport(d).pointee.closing == .open else { return }
      switch transfer.progress {
      case .wantsInput: return
      case .plaintextFull, .outputFull: continue
      case .peerClosed: return downstreamEnded(d, 0)
      case .failed: return tlsFailed(d)
      }
    }
  }

  /// Copies session output (handshake messages, alerts) behind what already waits.
  private mutating func appendWire(_ d: DownstreamPointer, _ count: Int) {
    let t = Self.transport(d)
    guard ensurePending(t) else { return }
    t.pointee.pending!.append(UnsafeRawBufferPointer(rebasing: tlsScratch[..<count]))
    t.pointee.pendingBytes += count
  }

  private mutating func tlsFailed(_ d: DownstreamPointer) {
    if !d.pointee.handshaken { counters.handshakeFailures += 1 }
    if let failure = d.pointee.tls!.whyFailed() {
      logTLSFailure(d, failure)
      if failure.isPlainHTTP, !d.pointee.handshaken, d.pointee.exchange < 0,
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

  /// Puts close_notify behind what is to be sent.
  mutating func sayGoodbye(_ d: DownstreamPointer) {
    guard d.pointee.handshaken else { return }
    let transfer = d.pointee.tls!.close(output: tlsScratch)
    if transfer.output > 0 { appendWire(d, transfer.output) }
  }

  /// Encrypts a frame of plaintext into the transport's frame, which is empty.
  mutating func encrypt(_ d: DownstreamPointer, _ frame: consuming SendFrame) -> Bool {
    let t = Self.transport(d)
    guard ensurePending(t) else { return false }
    let records = frame.segmentCount + frame.count / TLSSession.recordPlaintextMaximum + 1
    let wire = frame.count + records * TLSSession.recordOverheadMaximum
    if wire <= t.pointee.pending!.inlineRoom() {
      let segments = frame.segmentCount
      for i in 0..<segments {
        let segment = frame.segment(i)
        var failed = false
        let written = t.pointee.pending!.write(capacity: 1) { room in
          let transfer = d.pointee.tls!.send(segment, output: room)
          if case .failed = transfer.progress { failed = true }
          return transfer.output
        }
        if failed { return false }
        if written > 0 { t.pointee.pendingBytes += written }
      }
      return true
    }
    return encryptLarge(d, frame, wire)
  }

  /// The same through large buffers, each filled over several segments.
  private mutating func encryptLarge(
    _ d: DownstreamPointer, _ frame: consuming SendFrame, _ wire: Int
  ) -> Bool {
    let t = Self.transport(d)
    var left = wire
    var area = engine.lease() ?? engine.coldMemory(left)
    var used = 0
    let segments = frame.segmentCount
    for i in 0..<segments {
      let segment = frame.segment(i)
      var sent = 0
      while sent < segment.count {
        let record = min(segment.count - sent, TLSSession.recordPlaintextMaximum)
        if used > 0 && area.count - used < record + TLSSession.recordOverheadMaximum
          && area.count - used < Self.worthwhileRoom
        {
          // A record that does not fit what is left would be kept back in part by the session.
          t.pointee.pendingBytes += used
          area.truncate(to: used)
          t.pointee.pending!.append(area)
          area = engine.lease() ?? engine.coldMemory(max(left, Self.coldPlaintext * 2))
          used = 0
        }
        let room = UnsafeMutableRawBufferPointer(rebasing: area.mutableBytes[used...])
        let transfer = d.pointee.tls!.send(
          UnsafeRawBufferPointer(rebasing: segment[sent...]), output: room)
        sent += transfer.consumed
        used += transfer.output
        left -= transfer.output
        if case .failed = transfer.progress { return false }
        if sent < segment.count {
          t.pointee.pendingBytes += used
          area.truncate(to: used)
          t.pointee.pending!.append(area)
          area = engine.lease() ?? engine.coldMemory(max(left, Self.coldPlaintext * 2))
          used = 0
        }
      }
    }
    t.pointee.pendingBytes += used
    area.truncate(to: used)
    t.pointee.pending!.append(area)
    assert(!d.pointee.tls!.keepsOutput(), "a record was kept back")
    return true
  }
}

extension SendFrame {
  /// `inlineRemaining` for a frame that is stored in an optional.
  @inline(__always)
  mutating func inlineRoom() -> Int { inlineRemaining }
}
