// Makes the plans of a process, one after the other: the first at the start, the next ones for each reload. What
// a plan shares with the one before is kept here: TLS contexts, and the numbers of addresses.

import Configuration
import MillraceEngine
import TLS

/// Used by one thread at a time.
final class PlanMaker {
  private let tickets: TicketKeys
  private let metrics: ProxyMetrics
  private var contexts = TLSContexts()
  private var addresses: [String: Int32] = [:]
  /// The number of the newest generation.
  private(set) var generation = 0

  init(tickets: TicketKeys, metrics: ProxyMetrics) {
    self.tickets = tickets
    self.metrics = metrics
  }

  /// The TLS contexts that a configuration's plan would have.
  func makeContexts(
    _ configuration: ProxyConfiguration, _ preflight: Preflight
  ) throws(TLSFailure) -> TLSContexts {
    try contexts.next(configuration, preflight.certificates, tickets)
  }

  /// Makes the next plan.
  func make(
    _ configuration: ProxyConfiguration, _ preflight: Preflight, _ contexts: TLSContexts,
    sockets: ListenerSockets? = nil
  ) -> PlanGeneration {
    self.contexts = contexts
    generation += 1
    let identities = zip(configuration.listeners, preflight.listenerAddresses).map {
      ListenerIdentity(socket: number($1), $0)
    }
    return PlanGeneration(
      configuration, number: generation, listenerAddresses: preflight.listenerAddresses,
      serverAddresses: preflight.serverAddresses, contexts: contexts.listeners,
      clientContexts: contexts.upstreams, identities: identities, sockets: sockets,
      metrics: metrics)
  }

  /// The same for one address for the life of the process.
  private func number(_ address: SocketAddress) -> Int32 {
    let text = address.description
    if let known = addresses[text] { return known }
    let number = Int32(addresses.count)
    addresses[text] = number
    return number
  }
}
