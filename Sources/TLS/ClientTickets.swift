// What one server has given to resume with, kept by a client that makes many connections to it. A session
// gathers what it is given, and whoever made the connection moves that to where the next one looks.

import COpenSSL

/// Sessions of one server that can be resumed (RFC 8446, section 2.2; RFC 5077), a few at most. For one
/// thread, and for sessions of one context and one host name alone: a resumed handshake verifies no
/// certificate.
public final class ClientTickets {
  /// As many connections can begin at once with a ticket each. A server gives one or two for each
  /// connection, and a session takes 1 to 2 KiB with its certificates.
  static let maximum = 8

  /// The newest is the last.
  private var sessions: [OpaquePointer] = []

  public init() {}

  deinit { removeAll() }

  public var count: Int { sessions.count }

  /// Takes over a reference to a session. The oldest one makes room.
  func put(_ session: OpaquePointer) {
    if sessions.contains(session) { return SSL_SESSION_free(session) }
    if sessions.count == Self.maximum { SSL_SESSION_free(sessions.removeFirst()) }
    sessions.append(session)
  }

  /// A reference to the newest session. One of TLS 1.3 is gone with that: a ticket that is used twice
  /// tells who looks on that it was the same client (RFC 8446, appendix C.4).
  func take() -> OpaquePointer? {
    while let session = sessions.last {
      guard SSL_SESSION_is_resumable(session) == 1 else {
        SSL_SESSION_free(sessions.removeLast())
        continue
      }
      guard SSL_SESSION_get_protocol_version(session) != TLS1_3_VERSION else {
        return sessions.removeLast()
      }
      SSL_SESSION_up_ref(session)
      return session
    }
    return nil
  }

  /// Takes over what another one has.
  public func add(_ others: ClientTickets) {
    for session in others.sessions { put(session) }
    others.sessions = []
  }

  /// Forgets all of them: the server may not have them any more.
  public func removeAll() {
    for session in sessions { SSL_SESSION_free(session) }
    sessions = []
  }
}

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
