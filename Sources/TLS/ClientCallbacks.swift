// What OpenSSL tells a client while it works. No callback of this file runs for application data.

import COpenSSL

/// What OpenSSL tells a client while it works.
enum ClientCallbacks {
  /// A session that can be resumed has come.
  static let newSession: @convention(c) (OpaquePointer?, OpaquePointer?) -> Int32 = {
    ssl, session in
    guard let ssl, let session, let wires = SessionNotes.wires(of: ssl) else { return 0 }
    return keep(session, wires)
  }

  /// - Returns: 1 if the reference was taken over, else 0.
  static func keep(
    _ session: OpaquePointer, _ wires: UnsafeMutablePointer<SessionWires>
  ) -> Int32 {
    guard SSL_SESSION_is_resumable(session) == 1 else { return 0 }
    let tickets = wires.pointee.tickets ?? ClientTickets()
    wires.pointee.tickets = tickets
    tickets.put(session)
    return 1
  }
}
