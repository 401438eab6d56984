import Configuration
import MillraceEngine
import TLS

@testable import Proxy

/// A plan that is never freed, for tests of what only reads one.
func lastingPlan(
  _ configuration: ProxyConfiguration, listenerAddresses: [SocketAddress],
  serverAddresses: [[[SocketAddress]]], contexts: [TLSContext?]
) -> Plan {
  guard let metrics = try? ProxyMetrics(configuration, workers: 1) else {
    preconditionFailure("no memory for metrics")
  }
  let generation = PlanGeneration(
    configuration, listenerAddresses: listenerAddresses, serverAddresses: serverAddresses,
    contexts: contexts, metrics: metrics)
  return Unmanaged.passRetained(generation).takeUnretainedValue().plan
}
