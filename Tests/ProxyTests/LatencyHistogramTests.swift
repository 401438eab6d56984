// The buckets of times: the tree and the bounds that readers are told are the same.

import Exchange
import Metrics
import TLS
import Testing

@testable import Proxy

@Suite("Histograms of times")
struct LatencyHistogramTests {
  @Test("a time falls into the first bucket whose bound is not below it")
  func buckets() {
    for (i, bound) in LatencyHistogram.bounds.enumerated() {
      #expect(LatencyHistogram.bucket(bound) == i)
      #expect(LatencyHistogram.bucket(bound - 1) == i)
      #expect(LatencyHistogram.bucket(bound + 1) == i + 1)
    }
    #expect(LatencyHistogram.bucket(0) == 0 && LatencyHistogram.bucket(-1) == 0)
    #expect(LatencyHistogram.bucket(.max) == LatencyHistogram.buckets - 1)
    #expect(LatencyHistogram.bounds.count == LatencyHistogram.buckets - 1)
  }

  @Test("what is counted at the end of an exchange is read by upstream, route and reason")
  func exchanges() throws {
    let metrics = try ProxyMetrics(ProxyConfigurationSample.two, workers: 2)
    let (web, api) = (metrics.row(upstream: "web"), metrics.row(upstream: "api"))
    let route = metrics.row(route: "*/*", upstream: "web")
    for worker in 0..<2 {
      let counters = metrics.counters(worker)
      counters.countTimes(
        upstream: web, total: 2_000_000, firstByte: 1_000_000, connectMicroseconds: 300)
      counters.countTimes(upstream: api, total: -1, firstByte: -1, connectMicroseconds: -1)
      counters.countRoute(route, status: 200)
      counters.countRoute(route, status: 999)
      counters.countEnding(.complete)
      counters.countEnding(.noServer)
      counters.countHandshakeFailure(.notTLS)
      counters.countHandshakeFailure(nil)
      counters.countCommit(30_000_000_000)
    }
    let reading = try metrics.board.reader().read()
    let upstream = ["upstream": "web"]
    #expect(reading.sum("upstream_duration_bucket", ["nanoseconds": "2500000"]) == 2)
    #expect(reading.sum("upstream_duration_sum", upstream) == 4_000_000)
    #expect(reading.sum("upstream_first_byte_sum", upstream) == 2_000_000)
    #expect(reading.sum("upstream_connect_bucket", ["nanoseconds": "500000"]) == 2)
    #expect(reading.sum("upstream_duration_sum", ["upstream": "api"]) == 0)
    #expect(reading.sum("route_requests", ["class": "2xx", "upstream": "web"]) == 2)
    #expect(reading.sum("route_requests", ["class": "5xx", "route": "*/*"]) == 2)
    #expect(reading.sum("terminations", ["reason": "complete"]) == 2)
    #expect(reading.sum("terminations", ["reason": "no_server_available"]) == 2)
    #expect(reading.sum("tls_handshake_failures", ["reason": "not_tls"]) == 2)
    #expect(reading.sum("tls_handshake_failures", ["reason": "closed"]) == 2)
    #expect(reading.sum("audit_commit_bucket", ["nanoseconds": "more"]) == 2)
    #expect(reading.sum("terminations") == 4)
  }

  @Test("each reason has a label of its own")
  func labels() {
    let labels = Failure.Kind.allCases.map { EndingMetric.label($0) }
    #expect(Set(labels).count == labels.count)
    #expect(Failure.Kind.allCases.map { Int($0.rawValue) } == Array(labels.indices))
    #expect(HandshakeCause(.alertReceived(42)) == .alert && HandshakeCause(.unknownCA) == .other)
  }
}
