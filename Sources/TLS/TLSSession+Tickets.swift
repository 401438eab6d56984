// How a client's session offers to resume, and what it has been given to resume with the next time.

import COpenSSL

extension TLSSession {
  /// Offers to resume with the newest ticket, if there is one. Before the first `receive`; the server may
  /// refuse, and then the handshake is a full one.
  public mutating func offer(from tickets: ClientTickets) {
    guard let session = tickets.take() else { return }
    SSL_set_session(ssl, session)
    SSL_SESSION_free(session)
  }

  /// What the server has given since the last call; nil: nothing.
  public mutating func takeTickets() -> ClientTickets? {
    guard wires.pointee.tickets != nil else { return nil }
    defer { wires.pointee.tickets = nil }
    return wires.pointee.tickets
  }

  /// With TLS 1.2 OpenSSL reports no ticket that renews the one that was resumed with.
  mutating func noteRenewedTicket() {
    guard SSL_session_reused(ssl) == 1, SSL_version(ssl) != TLS1_3_VERSION,
      let session = SSL_get1_session(ssl)
    else { return }
    if ClientCallbacks.keep(session, wires) == 0 { SSL_SESSION_free(session) }
  }
}
