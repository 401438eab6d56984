// TLS between a connection and its requests: ciphertext in, plaintext out, and back. The session
// works on memory that it is lent for a call; nothing here outlives its turn but what waits to be
// sent.

import Glibc
import HTTP2
import MillraceEngine
import TLS

extension OriginWorker where E: ~Copyable {
  /// Decrypts what came from the wire and uses the plaintext.
  mutating func decrypt(_ c: OriginConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    var offset = 0
    while true {
      let transfer = c.pointee.tls!.receive(
        UnsafeRawBufferPointer(rebasing: bytes[offset...]), plaintext: plainScratch,
        output: tlsScratch)
      offset += transfer.consumed
      if transfer.output > 0, !appendWire(c, transfer.output) { return abort(c) }
      if transfer.handshakeCompleted {
        counters.handshakes += 1
        // Without ALPN the first bytes decide, as without TLS.
        if c.pointee.tls!.choseHTTP2(), !beginHTTP2(c) { return abort(c) }
      }
      if transfer.plaintext > 0 {
        input(c, UnsafeRawBufferPointer(rebasing: plainScratch[..<transfer.plaintext]))
      }
      guard c.pointee.closing == .open else { return }
      switch transfer.progress {
      case .wantsInput: return
      case .plaintextFull, .outputFull: continue
      case .peerClosed: return ended(c, 0)
      case .failed:
        if !c.pointee.tls!.isReady() { counters.handshakeFailures += 1 }
        // The alert is in the frame.
        c.pointee.closing = .flushing
        return
      }
    }
  }

  /// Copies session output (handshake messages, alerts) behind what already waits.
  private mutating func appendWire(_ c: OriginConnectionPointer, _ count: Int) -> Bool {
    guard ensureWire(c), c.pointee.wire!.canTakeOne() else { return false }
    c.pointee.wire!.append(UnsafeRawBufferPointer(rebasing: tlsScratch[..<count]))
    c.pointee.wireBytes += count
    return true
  }

  private mutating func ensureWire(_ c: OriginConnectionPointer) -> Bool {
    if c.pointee.wire != nil { return true }
    guard let frame = engine.frame() else { return false }
    c.pointee.wire = consume frame
    return true
  }

  /// Puts close_notify behind what is to be sent; false when that cannot be.
  mutating func sayGoodbye(_ c: OriginConnectionPointer) -> Bool {
    guard c.pointee.tls!.isReady() else { return true }
    guard encrypt(c) else { return false }
    let transfer = c.pointee.tls!.close(output: tlsScratch)
    return transfer.output == 0 || appendWire(c, transfer.output)
  }

  /// Encrypts what is to be said into the wire's frame; false when that cannot be.
  mutating func encrypt(_ c: OriginConnectionPointer) -> Bool {
    guard c.pointee.plainBytes > 0 else { return true }
    guard ensureWire(c), var frame = c.pointee.plain.take() else { return false }
    c.pointee.plainBytes = 0
    let records = frame.segmentCount + frame.count / TLSSession.recordPlaintextMaximum + 1
    let size = frame.count + records * TLSSession.recordOverheadMaximum
    if size <= c.pointee.wire!.freeInline() {
      var written = 0
      let isGood = c.pointee.wire!.write(capacity: size) { room in
        written = Self.seal(c, &frame, room)
        return written
      }
      c.pointee.wireBytes += max(0, written)
      return isGood >= 0
    }
    // Steady state finds a large buffer: one frame's plaintext is bounded to fit it.
    var area = engine.lease() ?? engine.coldMemory(size)
    if area.count < size { area = engine.coldMemory(size) }
    let written = Self.seal(c, &frame, area.mutableBytes)
    guard written >= 0 else { return false }
    area.truncate(to: written)
    c.pointee.wireBytes += written
    c.pointee.wire!.append(area)
    return true
  }

  /// Seals a frame's segments into room that is large enough for all. - Returns: bytes written, or
  /// -1 after a failure.
  private static func seal(
    _ c: OriginConnectionPointer, _ frame: inout SendFrame, _ room: UnsafeMutableRawBufferPointer
  ) -> Int {
    var used = 0
    for i in 0..<frame.segmentCount {
      let segment = frame.segment(i)
      var taken = 0
      while taken < segment.count {
        let transfer = c.pointee.tls!.send(
          UnsafeRawBufferPointer(rebasing: segment[taken...]),
          output: UnsafeMutableRawBufferPointer(rebasing: room[used...]))
        taken += transfer.consumed
        used += transfer.output
        if case .failed = transfer.progress { return -1 }
        if transfer.consumed == 0 { return -1 }
      }
    }
    return used
  }
}

extension TLSSession {
  // For a session in an optional, which can only be mutated in place.

  mutating func isReady() -> Bool { isHandshakeComplete }
  mutating func choseHTTP2() -> Bool { withALPN { $0.spells("h2") } }
}
