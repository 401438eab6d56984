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
