// TLS between a connection and its requests: the handshake with or without an earlier session,
// plaintext out of what came, records out of what leaves. The session works on memory that it is lent
// for a call; nothing here outlives its turn but what waits to be sent.

import Glibc
import HTTP1
import MillraceEngine
import TLS

extension LoadWorker where E: ~Copyable {
  /// Memory for plaintext, and for records: several of them at once.
  static var scratchBytes: Int { 4 * 16_640 }

  mutating func beginHandshake(
    _ c: LoadConnectionPointer, _ lane: UnsafeMutablePointer<Lane>
  ) -> Bool {
    guard let context = lane.pointee.context,
      var session = TLSSession(client: context, host: hosts[lane.pointee.server])
    else { return false }
    if let ticket = lane.pointee.ticket { session.offer(ticket) }
    c.pointee.tls = consume session
    c.pointee.phase = .handshaking
    c.pointee.deadline = engine.now + timeout
    decrypt(c, UnsafeRawBufferPointer(start: nil, count: 0))
    return true
  }

  /// Decrypts what came from the wire and uses the plaintext.
  mutating func decrypt(_ c: LoadConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    var offset = 0
    while true {
      let transfer = c.pointee.tls!.receive(
        UnsafeRawBufferPointer(rebasing: bytes[offset...]), plaintext: plaintext, output: wire)
      offset += transfer.consumed
      if transfer.output > 0 {
        guard ensurePending(c), c.pointee.pending!.canTakeOne() else {
          return end(c, .tls, "no send frame is free")
        }
        c.pointee.pending!.append(UnsafeRawBufferPointer(rebasing: wire[..<transfer.output]))
      }
      if transfer.handshakeCompleted {
        tally.handshakes += 1
        if c.pointee.resumed() { tally.handshakesResumed += 1 }
        if speaksHTTP2 && !c.pointee.hasChosenHTTP2() {
          return end(c, .tls, "the server does not speak HTTP/2 (ALPN h2 was not chosen)")
        }
        opened(c)
      }
      if transfer.plaintext > 0 {
        read(c, UnsafeRawBufferPointer(rebasing: plaintext[..<transfer.plaintext]))
      }
      guard c.pointee.phase != .ending, c.pointee.tls != nil else { return }
      switch transfer.progress {
      case .wantsInput: return flush(c)
      case .plaintextFull, .outputFull: continue
      case .peerClosed: return streamEnded(c, 0)
      case .failed: return end(c, .tls, c.pointee.whyFailed())
      }
    }
  }

  /// Encrypts plaintext behind what is about to be sent.
  @inline(__always)
  mutating func seal(_ c: LoadConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Bool {
    if bytes.count <= Self.inlinePlaintext {
      let transfer = c.pointee.tls!.send(bytes, output: wire)
      c.pointee.pending!.append(UnsafeRawBufferPointer(rebasing: wire[..<transfer.output]))
      return transfer.consumed == bytes.count && transfer.progress == .wantsInput
    }
    return sealLarge(c, bytes)
  }

  /// The same in memory of its own, which travels with the frame.
  private mutating func sealLarge(
    _ c: LoadConnectionPointer, _ bytes: UnsafeRawBufferPointer
  ) -> Bool {
    var sent = 0
    while sent < bytes.count {
      var area = engine.lease() ?? engine.coldMemory(Self.scratchBytes)
      // Slow readers make the leases small, and a frame holds few slices.
      if area.count < Self.scratchBytes { area = engine.coldMemory(Self.scratchBytes) }
      let whole = (area.count / Self.recordBytes) * TLSSession.recordPlaintextMaximum
      let part = UnsafeRawBufferPointer(
        rebasing: bytes[sent..<min(bytes.count, sent + whole)])
      let transfer = c.pointee.tls!.send(part, output: area.mutableBytes)
      guard transfer.consumed == part.count else { return false }
      sent += transfer.consumed
      area.truncate(to: transfer.output)
      c.pointee.pending!.append(area)
    }
    return true
  }

  private static var recordBytes: Int {
    TLSSession.recordPlaintextMaximum + TLSSession.recordOverheadMaximum
  }

  /// Plaintext whose record fits the inline part of a frame, behind others of a pipeline or not.
  private static var inlinePlaintext: Int { 3_000 }

  /// Ends the session in order: OpenSSL gives up one that ends otherwise, and with it every
  /// connection's right to resume it (SSL_free(3)). The words themselves are of no use to a server
  /// that has closed already.
  mutating func closeTLS(_ c: LoadConnectionPointer) {
    if c.pointee.tls != nil { _ = c.pointee.tls!.close(output: wire) }
  }

  /// Keeps what the server has given to resume with, for the next connection of the lane.
  mutating func keepSession(_ c: LoadConnectionPointer) {
    c.pointee.hasKeptSession = true
    if let ticket = c.pointee.makeTicket() { lanes[Int(c.pointee.lane)].ticket = ticket }
  }
}

extension LoadConnection {
  // For a session that is stored in an optional, which can only be used in place.

  mutating func resumed() -> Bool { tls!.hasResumed() }

  mutating func makeTicket() -> ClientTicket? { tls == nil ? nil : tls!.makeTicket() }

  /// The transport has ended. - Returns: whether the peer had said so inside TLS.
  mutating func endTLS() -> Bool { tls!.receiveEnd() == .peerClosed }

  mutating func whyFailed() -> String { tls!.whyFailed() }

  mutating func hasChosenHTTP2() -> Bool { tls!.hasChosen("h2") }
}

extension TLSSession {
  /// Whether ALPN chose this protocol.
  mutating func hasChosen(_ name: StaticString) -> Bool {
    withALPN { chosen in
      chosen.count == name.utf8CodeUnitCount
        && memcmp(chosen.baseAddress!, name.utf8Start, chosen.count) == 0
    }
  }

  mutating func whyFailed() -> String {
    if let failure { return "\(failure)" }
    return "the session failed"
  }
}
