// How many send frames a worker can ever hold at once. The slab of an engine is sized by it, so that
// no request is refused for a frame; where one is missing all the same, that is an error value
// (`framesExhausted`) at each place that asks for one.

package import Configuration

/// The sum behind `EngineOptions.frames`.
///
/// A frame is in exactly one of these places, each of which holds one at most:
///
/// | place | frames |
/// |---|---|
/// | a client's connection: `unsent`, and the send in flight; with HTTP/2 its output | 3 |
/// | an exchange: `held` | 1 |
/// | a connection to a server: `outgoing`, and the send in flight | 2 |
/// | with TLS: what its session says, in `unsent` behind a send in flight | 1 |
/// | a request between two connections (`Relay.carried`) | 1 a worker |
///
/// One send a socket is in flight (`Transport.send`), and a zero-copy send completes with its last
/// notification. A server's connection keeps
/// its frames while it is joined after its exchange has gone on to another one: it is counted by its slot
/// in the slab of connections to servers, not by its exchange. So one client with its exchange and one
/// server's connection hold six, and a retry two more in another slot.
package enum FrameBudget {
  /// - Parameters:
  ///   - connections: slots for clients.
  ///   - exchanges: slots for exchanges, each of which has one connection to a server at most.
  ///   - idleUpstreams: slots for connections to servers beyond one per client.
  ///   - withTLS: some of these have TLS.
  package static func frames(
    connections: Int, exchanges: Int, idleUpstreams: Int, withTLS: Bool = false
  ) -> Int {
    // Those of HTTP/2 have a slot beside those of their streams.
    let upstreams = exchanges + exchanges / 8 + idleUpstreams
    return 3 * connections + exchanges + (withTLS ? 3 : 2) * upstreams + 1
  }

  /// Connections to servers that may be idle or on their way into the pool: as many as `Worker` adds to
  /// its slab.
  package static func idleUpstreams(_ configuration: ProxyConfiguration) -> Int {
    configuration.upstreams.reduce(0) { $0 + $1.servers.count * ($1.idleConnections + 1) }
  }
}
