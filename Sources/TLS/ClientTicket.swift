// What a client keeps of a session so that its next one need not begin from nothing. For clients of
// this project's own: load generators, tests and simulations.

import COpenSSL

/// A session that a client may resume (RFC 8446, section 2.2; RFC 5077).
package final class ClientTicket {
  let session: OpaquePointer

  init(session: OpaquePointer) { self.session = session }

  deinit { SSL_SESSION_free(session) }
}

extension TLSSession {
  /// What the server has given to resume with so far; nil if it has given nothing.
  package mutating func makeTicket() -> ClientTicket? {
    guard let session = SSL_get1_session(ssl) else { return nil }
    guard SSL_SESSION_is_resumable(session) == 1 else {
      SSL_SESSION_free(session)
      return nil
    }
    return ClientTicket(session: session)
  }

  /// Offers to resume. Before the first `receive`; the server may refuse, and then the handshake is
  /// a full one.
  package mutating func offer(_ ticket: ClientTicket) {
    SSL_set_session(ssl, ticket.session)
  }

  /// Whether the handshake resumed an earlier session.
  package mutating func hasResumed() -> Bool { SSL_session_reused(ssl) == 1 }
}
