// What OpenSSL tells of a session, a server's or a client's, while it works: alerts, secrets, messages.

import COpenSSL
import Glibc

/// What OpenSSL tells about a session while it works, noted in the session's wires.
enum SessionNotes {
  /// The wires of a session, by the SSL that OpenSSL calls back with.
  @inline(__always)
  static func wires(of ssl: OpaquePointer) -> UnsafeMutablePointer<SessionWires>? {
    // SAFETY: TLSSession put them there, and frees the SSL before them.
    SSL_get_ex_data(ssl, 0)?.assumingMemoryBound(to: SessionWires.self)
  }

  /// Notes the alerts that this side sends: they tell why it gave up, and that it refused a
  /// renegotiation. Counts what the peer sends besides application data.
  static let record: @convention(c) (OpaquePointer?, Int32, Int32) -> Void = { ssl, event, value in
    guard let ssl, let wires = wires(of: ssl) else { return }
    guard event & SSL_CB_ALERT != 0 else { return noteStep(ssl, event, wires) }
    // The level is in the high byte, the description in the low one (SSL_CTX_set_info_callback(3)).
    let description = UInt8(truncatingIfNeeded: value)
    let isFatal = Int32(value >> 8) == SSL3_AL_FATAL
    if event & SSL_CB_WRITE == 0 {
      if !isFatal { wires.pointee.countMessage() }
    } else if isFatal {
      wires.pointee.alertSent = description
    } else if description == UInt8(SSL_AD_NO_RENEGOTIATION) {
      wires.pointee.hasRefusedRenegotiation = true
    }
  }

  /// Notes the secret of what the server sends behind its Finished.
  static let secret: @convention(c) (OpaquePointer?, UnsafePointer<CChar>?) -> Void = { ssl, line in
    let label = "SERVER_TRAFFIC_SECRET_0 " as StaticString
    // SAFETY: a literal, whose bytes end in a zero.
    let start = UnsafeRawPointer(label.utf8Start).assumingMemoryBound(to: CChar.self)
    guard let ssl, let line, strncmp(line, start, label.utf8CodeUnitCount) == 0,
      // Between them stands the random number of the client.
      let space = strchr(line + label.utf8CodeUnitCount, Int32(UInt8(ascii: " ")))
    else { return }
    wires(of: ssl)?.pointee.records.follow(TrafficSecret(hexadecimal: space + 1))
  }

  /// Notes the records that OpenSSL writes with those keys, and what it says in them besides application data.
  static let message:
    @convention(c) (
      Int32, Int32, Int32, UnsafeRawPointer?, Int, OpaquePointer?, UnsafeMutableRawPointer?
    ) -> Void = { isWrite, _, type, bytes, count, ssl, _ in
      guard isWrite != 0, let ssl, let wires = wires(of: ssl) else { return }
      let content = UnsafeRawBufferPointer(start: bytes, count: count)
      switch type {
      case SSL3_RT_HEADER: wires.pointee.records.note(header: content)
      case SSL3_RT_ALERT, SSL3_RT_HANDSHAKE: wires.pointee.noteMessage(type, content, ssl)
      default: break
      }
    }

  /// Counts messages that come after the handshake. OpenSSL reports each when it has processed it
  /// and turns to its answer: the state is then still the one of the message.
  private static func noteStep(
    _ ssl: OpaquePointer, _ event: Int32, _ wires: UnsafeMutablePointer<SessionWires>
  ) {
    guard event & SSL_CB_LOOP != 0 else { return }
    switch SSL_get_state(ssl) {
    case TLS_ST_SR_KEY_UPDATE, TLS_ST_CR_KEY_UPDATE, TLS_ST_CR_SESSION_TICKET:
      wires.pointee.countMessage()
    default: break
    }
  }
}
