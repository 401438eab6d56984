// Sessions with servers: made with the name that the server must prove, and resumed with what it gave to
// an earlier one. Tickets are kept by server and context, so that nothing is resumed that was verified in
// another way or not at all.

import Glibc
import MillraceEngine
import TLS
import Transport

extension Upstreams {
  /// A session for a new connection; nil if memory ran out.
  /// - Parameter offersHTTP1: and nothing else.
  func makeSession(
    _ context: TLSClientContext, _ server: ServerPlan, _ state: UnsafeMutablePointer<ServerState>,
    offersHTTP1: Bool
  ) -> TLSSession? {
    // The certificate must be for this name, which is asked for too (SNI).
    let host = String(decoding: server.host.raw, as: UTF8.self)
    guard var session = TLSSession(client: context, host: host, offersHTTP1: offersHTTP1)
    else { return nil }
    if let tickets = state.pointee.tickets { session.offer(from: tickets) }
    return session
  }

  /// Keeps what a server has given on a connection for the next one.
  @inline(__always)
  func keepTickets(_ u: UpstreamPointer) {
    if let channel = u.transport.pointee.tls { keepTickets(u, channel) }
  }

  @inline(never)
  private func keepTickets(_ u: UpstreamPointer, _ channel: UnsafeMutablePointer<TLSChannel>) {
    guard let given = channel.pointee.session.takeTickets() else { return }
    let state = server(of: u)
    if let kept = state.pointee.tickets { kept.add(given) } else { state.pointee.tickets = given }
  }

  /// A handshake has failed: what it may have been resumed with is not tried again.
  func dropTickets(_ u: UpstreamPointer) { server(of: u).pointee.tickets?.removeAll() }
}
