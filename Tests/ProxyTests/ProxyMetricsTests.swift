// What a worker counts of each listener and server, over plans that follow one another.

import Configuration
import Metrics
import MillraceEngine
import Testing

@testable import Proxy

private let millisecond: Int64 = 1_000_000

@Suite("Metrics of the proxy")
struct ProxyMetricsTests {
  private static func parts(_ flow: FlowWorld, _ port: UInt16) -> SimulatedWorkerParts {
    flow.configuration.upstreams = [
      UpstreamConfiguration(
        name: "web", servers: [ServerConfiguration(address: .ip(host: "127.0.0.1", port: port))])
    ]
    flow.configuration.upstreams[0].retries.attempts = 0
    return flow.parts
  }

  /// Sends a request on each of the plans that lead to these ports, one after another.
  private static func reading(_ flow: FlowWorld, _ ports: [UInt16]) throws -> MetricReading {
    _ = flow.run {
      func next(_ n: Int) {
        if n == ports.count { return flow.remote.drain() }
        flow.remote.replacePlan(parts(flow, ports[n]))
        flow.until(millisecond, { $0.counters.plansInstalled == n + 1 }) { _ in
          flow.connect().send(FlowWorld.get("/s"))
          flow.until(millisecond, { $0.counters.requests == n + 1 && $0.exchanges == 0 }) { _ in
            next(n + 1)
          }
        }
      }
      next(0)
    }
    return try #require(flow.remote.metrics).board.reader().read()
  }

  @Test(
    "the figures of a listener and of a server go on when the plan changes, and when it comes back")
  func rowsOutliveThePlan() throws {
    let flow = try FlowWorld()
    flow.morePorts = [3001]
    let reading = try Self.reading(flow, [3000, 3001, 3000])
    for (port, count) in [(3000, 2), (3001, 1)] as [(Int, UInt64)] {
      let labels = ["upstream": "web", "server": "127.0.0.1:\(port)"]
      #expect(reading.sum("server_requests", labels) == count)
      #expect(reading.sum("server_connects", labels) == count)
      #expect(reading.sum("server_responses", labels.merging(["class": "2xx"]) { $1 }) == count)
    }
    #expect(reading.samples.count { $0.name == "listener_requests" } == 1)
    #expect(reading.sum("listener_requests") == 3)
    #expect(reading.sum("listener_accepted") == 3)
  }

  @Test("servers for which no row is left are counted together")
  func rowsRunOut() throws {
    let flow = try FlowWorld()
    // Nobody listens there.
    let ports = (0..<40).map { UInt16(4000 + $0) }
    let reading = try Self.reading(flow, ports)
    let rows = reading.samples.filter { $0.name == "server_requests" }
    // One server at the start: twice as many rows and the spare ones, of which the last is shared.
    #expect(rows.count == 34)
    #expect(reading.sum("server_requests", ["server": "127.0.0.1:4000"]) == 1)
    #expect(reading.sum("server_requests", ["upstream": "other", "server": "other"]) == 8)
    #expect(reading.sum("server_requests") == 40)
    #expect(reading.sum("server_failures") == 40)
  }

  @Test("no two figures of a worker have one name, and each says what it is")
  func names() {
    let families =
      WorkerMetric.allCases.map(\.family) + PublishedMetric.allCases.map(\.family)
    #expect(Set(families.map(\.name)).count == families.count)
    for family in families { #expect(!family.help.isEmpty && !family.unit.isEmpty) }
  }
}
