// TLS between a connection and its requests: the handshake with or without an earlier session, and what
// each step of the session means for the connection. The steps themselves are the transport's.

import Glibc
import HTTP1
import MillraceEngine
import TLS
import Transport

extension LoadWorker where E: ~Copyable {
  /// Memory for plaintext, and for frames of HTTP/2: several records at once.
  static var scratchBytes: Int { 4 * 16_640 }

  mutating func beginHandshake(
    _ c: LoadConnectionPointer, _ lane: UnsafeMutablePointer<Lane>
  ) -> Bool {
    guard let context = lane.pointee.context,
      var session = TLSSession(client: context, host: hosts[lane.pointee.server])
    else { return false }
    if let ticket = lane.pointee.ticket { session.offer(ticket) }
    guard channels.open(session, on: &c.pointee.transport),
      let channel = c.pointee.transport.tls
    else { return false }
    c.pointee.phase = .handshaking
    c.pointee.deadline = engine.now + timeout
    _ = decrypt(c, channel, UnsafeRawBufferPointer(start: nil, count: 0))
    return true
  }

  /// Decrypts what came from the wire and uses the plaintext; what the session cannot take yet is held.
  mutating func decrypt(
    _ c: LoadConnectionPointer, _ channel: UnsafeMutablePointer<TLSChannel>,
    _ slice: consuming BufferSlice
  ) {
    if !channel.pointee.isStalled {
      let used = decrypt(c, channel, slice.bytes)
      guard channel.pointee.isStalled, c.pointee.phase != .ending else { return }
      slice.dropPrefix(used)
    }
    if !channel.pointee.hold(slice, &engine) { end(c, .tls, "the server sends but does not read") }
  }

  /// - Returns: bytes that are done with.
  private mutating func decrypt(
    _ c: LoadConnectionPointer, _ channel: UnsafeMutablePointer<TLSChannel>,
    _ bytes: UnsafeRawBufferPointer
  ) -> Int {
    var offset = 0
    while true {
      if c.pointee.transport.unsent.isFull() { flush(c) }
      let step = c.pointee.transport.decrypt(
        channel, UnsafeRawBufferPointer(rebasing: bytes[offset...]), plaintext: plaintext,
        scratch: channels.scratch, &engine)
      offset += step.consumed
      if step.outcome == .outputLost {
        end(c, .tls, "no send frame is free")
        return offset
      }
      if step.handshakeCompleted {
        tally.handshakes += 1
        if channel.pointee.session.isResumed { tally.handshakesResumed += 1 }
        if speaksHTTP2 && !channel.pointee.session.withALPN({ $0.spells("h2") }) {
          end(c, .tls, "the server does not support HTTP/2 (ALPN did not select h2)")
          return offset
        }
        opened(c)
      }
      if step.plaintext > 0 {
        read(c, UnsafeRawBufferPointer(rebasing: plaintext[..<step.plaintext]))
      }
      guard c.pointee.phase != .ending else { return offset }
      switch step.outcome {
      case .wantsInput:
        flush(c)
        return offset
      case .stalled, .outputLost: return offset
      case .goesOn: break
      case .mustFlush: flush(c)
      case .peerFinished:
        c.pointee.transport.peerHasFinished = true
        streamEnded(c, 0)
        return offset
      case .failed:
        let failure = channel.pointee.session.failure
        end(c, .tls, failure.map { "\($0)" } ?? "the session failed")
        return offset
      }
    }
  }

  /// A send has ended: the session goes on with what is held.
  mutating func resumeDecrypting(
    _ c: LoadConnectionPointer, _ channel: UnsafeMutablePointer<TLSChannel>
  ) {
    if let slice = channel.pointee.resume() {
      decrypt(c, channel, slice)
    } else {
      _ = decrypt(c, channel, UnsafeRawBufferPointer(start: nil, count: 0))
    }
    arm(c)
  }

  /// Whether the end of the transport is one of the session too.
  mutating func endsInOrder(_ c: LoadConnectionPointer) -> Bool {
    guard let channel = c.pointee.transport.tls else { return true }
    return channel.pointee.session.receiveEnd() == .peerClosed
  }

  /// Ends the session in order: OpenSSL gives up one that ends otherwise, and with it every
  /// connection's right to resume it (SSL_free(3)). The words themselves are of no use to a server
  /// that has closed already.
  mutating func closeTLS(_ c: LoadConnectionPointer) {
    if let channel = c.pointee.transport.tls {
      _ = channel.pointee.session.close(output: channels.scratch)
    }
  }

  /// Keeps what the server has given to resume with, for the next connection of the lane.
  mutating func keepSession(_ c: LoadConnectionPointer) {
    c.pointee.hasKeptSession = true
    guard let channel = c.pointee.transport.tls else { return }
    if let ticket = channel.pointee.session.makeTicket() {
      lanes[Int(c.pointee.lane)].ticket = ticket
    }
  }
}
