// TLS between a downstream transport and its exchanges: ciphertext in, plaintext out, and back.
// The session works on memory that it is lent for a call; nothing here outlives its turn but what
// waits to be sent.
//
// TRAP: (file) `tls` is set while a connection with `isTLS` lives, and no other gets here;
// `pending` is set by `ensurePending`, or was looked at on the line before.

import Glibc
import Logging
import MillraceEngine
import TLS

extension Worker where E: ~Copyable {
  /// Room for plaintext when no large buffer is free: one record.
  private static var coldPlaintext: Int { 16_384 }

  /// Room at the end of an output buffer that is not worth a record of its own.
  private static var worthwhileRoom: Int { 2048 }

  // MARK: In

  /// Decrypts what came from the wire and uses the plaintext; what the session cannot take yet is
  /// held.
  mutating func decrypt(_ d: DownstreamPointer, _ slice: consuming BufferSlice) {
    if d.pointee.isStalled { return holdCiphertext(d, slice) }
    let used = decrypt(d, slice.bytes)
    guard d.pointee.isStalled else { return }
    slice.dropPrefix(used)
    holdCiphertext(d, slice)
  }

  /// Feeds the session until its input is used up, it stalls, or the connection ends.
  /// - Returns: bytes that are done with.
  private mutating func decrypt(_ d: DownstreamPointer, _ bytes: UnsafeRawBufferPointer) -> Int {
    let t = Self.transport(d)
    var offset = 0
    while true {
      if t.pointee.pending != nil, !t.pointee.pending!.canTakeOne() {
        // Asked before the session speaks: what it has said cannot be taken back.
        flushDownstream(d)
        if t.pointee.pending != nil {
          stall(d)
          return offset
        }
      }
      var area = engine.lease() ?? engine.coldMemory(Self.coldPlaintext)
      let transfer = d.pointee.tls!.receive(
        UnsafeRawBufferPointer(rebasing: bytes[offset...]), plaintext: area.mutableBytes,
        output: tlsScratch)
      offset += transfer.consumed
      if transfer.output > 0 && !appendWire(d, transfer.output) {
        loseSession(d)
        return offset
      }
      if transfer.handshakeCompleted {
        counters.handshakes += 1
        counters.countHandshake(d.pointee.listener, d.pointee.tls!.negotiated())
        d.pointee.handshaken = true
      }
      if transfer.plaintext > 0 {
        area.truncate(to: transfer.plaintext)
        downstreamInput(d, area)
      }
      guard t.pointee.closing == .open else { return offset }
      switch transfer.progress {
      case .wantsInput: return offset
      case .plaintextFull: break
      case .outputFull: flushDownstream(d)
      case .peerClosed:
        downstreamEnded(d, 0)
        return offset
      case .failed:
        tlsFailed(d)
        return offset
      }
      if d.pointee.isStalled { return offset }
    }
  }

  /// Copies session output (handshake messages, answers, alerts) behind what already waits. Behind a
  /// send in flight no more than one such output waits: the session stalls until it can leave.
  /// - Returns: false if no frame can take it. It must not be left out: the peer counts records.
  private mutating func appendWire(_ d: DownstreamPointer, _ count: Int) -> Bool {
    let t = Self.transport(d)
    guard ensurePending(t), t.pointee.pending!.canTakeOne() else { return false }
    t.pointee.pending!.append(UnsafeRawBufferPointer(rebasing: tlsScratch[..<count]))
    t.pointee.pendingBytes += count
    if t.pointee.sending && t.pointee.closing == .open { stall(d) }
    return true
  }

  // MARK: Stalling

  /// Stops reading and decrypting until what the session said has left. A peer that makes it speak and
  /// does not listen would otherwise fill memory with answers.
  private mutating func stall(_ d: DownstreamPointer) {
    guard !d.pointee.isStalled else { return }
    d.pointee.isStalled = true
    counters.tlsStalls += 1
    stopReceiving(Self.transport(d))
    // The end of the send in flight is waited for now, also of one whose success is silent.
    engine.expediteSends()
  }

  /// Keeps what arrives before the receive has stopped.
  private mutating func holdCiphertext(_ d: DownstreamPointer, _ slice: consuming BufferSlice) {
    guard slice.count > 0 else { return }
    guard d.pointee.ciphertext.count + slice.count <= Watermark.high else { return loseSession(d) }
    d.pointee.ciphertext.putBack(slice, &engine)
  }

  /// A send has ended: the session goes on with what is held.
  mutating func resumeDecrypting(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    guard d.pointee.isStalled, t.pointee.closing == .open else { return }
    d.pointee.isStalled = false
    if var slice = d.pointee.ciphertext.takeAll() {
      let used = decrypt(d, slice.bytes)
      if d.pointee.isStalled {
        slice.dropPrefix(used)
        holdCiphertext(d, slice)
      }
    } else {
      // The session may still have output of its own to give.
      _ = decrypt(d, UnsafeRawBufferPointer(start: nil, count: 0))
    }
    guard t.pointee.closing == .open else { return }
    flushDownstream(d)
    if d.pointee.isStalled { return }
    if t.pointee.readClosed { return downstreamEnded(d, 0) }
    armDownstream(d)
  }

  /// Lets go of what a connection that ends has held.
  mutating func dropCiphertext(_ d: DownstreamPointer) {
    d.pointee.isStalled = false
    _ = d.pointee.ciphertext.takeAll()
  }

  // MARK: Ends

  private mutating func tlsFailed(_ d: DownstreamPointer) {
    if !d.pointee.handshaken {
      counters.handshakeFailures += 1
      counters[listener: d.pointee.listener, .handshakeFailures] += 1
    }
    if let failure = d.pointee.tls!.whyFailed() {
      if failure.kind == .tooManyMessages { counters.tlsFloods += 1 }
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

  /// Puts close_notify behind what is to be sent. Where no frame can take it the connection ends
  /// without: nothing follows it, and to the peer such an end is a truncation, never a good one.
  mutating func sayGoodbye(_ d: DownstreamPointer) {
    guard d.pointee.handshaken else { return }
    let transfer = d.pointee.tls!.close(output: tlsScratch)
    if transfer.output > 0 { _ = appendWire(d, transfer.output) }
  }

  // MARK: Out

  /// Encrypts a frame of plaintext into the transport's frame, which is empty.
  /// - Returns: why that failed, or nil.
  mutating func encrypt(_ d: DownstreamPointer, _ frame: consuming SendFrame) -> Ending? {
    let t = Self.transport(d)
    guard ensurePending(t) else { return .resourcesExhausted }
    let records = frame.segmentCount + frame.count / TLSSession.recordPlaintextMaximum + 1
    let wire =
      frame.count + records * TLSSession.recordOverheadMaximum + TLSSession.answerMaximum
      + d.pointee.tls!.outputKept()
    guard wire <= t.pointee.pending!.inlineRoom() else { return encryptLarge(d, frame, wire) }
    let segments = frame.segmentCount
    for i in 0..<segments {
      let segment = frame.segment(i)
      var isWhole = true
      let written = t.pointee.pending!.write(capacity: 1) { room in
        let transfer = d.pointee.tls!.send(segment, output: room)
        isWhole = transfer.progress == .wantsInput
        return transfer.output
      }
      guard isWhole else { return .downstreamReset }
      if written > 0 { t.pointee.pendingBytes += written }
    }
    return nil
  }

  /// The same through large buffers, each filled over several segments.
  private mutating func encryptLarge(
    _ d: DownstreamPointer, _ frame: consuming SendFrame, _ wire: Int
  ) -> Ending? {
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
        // A record that does not fit what is left would be kept back in part by the session.
        let isFull =
          used > 0 && area.count - used < record + TLSSession.recordOverheadMaximum
          && area.count - used < Self.worthwhileRoom
        if !isFull {
          let room = UnsafeMutableRawBufferPointer(rebasing: area.mutableBytes[used...])
          let transfer = d.pointee.tls!.send(
            UnsafeRawBufferPointer(rebasing: segment[sent...]), output: room)
          if case .failed = transfer.progress { return .downstreamReset }
          sent += transfer.consumed
          used += transfer.output
          left -= transfer.output
        }
        guard sent < segment.count else { break }
        guard appendArea(t, area, used) else { return .resourcesExhausted }
        area = engine.lease() ?? engine.coldMemory(max(left, Self.coldPlaintext * 2))
        used = 0
      }
    }
    guard appendArea(t, area, used) else { return .resourcesExhausted }
    let kept = d.pointee.tls!.outputKept()
    guard kept > 0 else { return nil }
    // The answer to a KeyUpdate took the room of the last record's end.
    area = engine.coldMemory(kept)
    let rest = d.pointee.tls!.send(
      UnsafeRawBufferPointer(start: nil, count: 0), output: area.mutableBytes)
    guard rest.progress == .wantsInput else { return .downstreamReset }
    return appendArea(t, area, rest.output) ? nil : .resourcesExhausted
  }

  /// Puts a filled buffer behind what waits; false when the frame has no room for it.
  private func appendArea(
    _ t: UnsafeMutablePointer<Transport>, _ area: consuming BufferSlice, _ used: Int
  ) -> Bool {
    guard t.pointee.pending!.canTakeOne() else { return false }
    area.truncate(to: used)
    t.pointee.pending!.append(area)
    t.pointee.pendingBytes += used
    return true
  }
}

extension SendFrame {
  /// `inlineRemaining` for a frame that is stored in an optional.
  @inline(__always)
  mutating func inlineRoom() -> Int { inlineRemaining }
}
