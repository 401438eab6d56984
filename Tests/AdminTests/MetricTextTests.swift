// The two text formats of metrics.

import Admin
import Testing

@Suite("Metrics as text")
struct MetricTextTests {
  private let families: [MetricSeriesFamily] = {
    var requests = MetricSeriesFamily("m_requests_total", .counter, "Requests \\ of \"all\".")
    requests.add(.count(3), [.init("route", "a\"b\\c\nd"), .init("class", "2xx")])
    var duration = MetricSeriesFamily("m_duration_seconds", .histogram, "Time.")
    duration.add(.histogram(bounds: [0.001, 1], counts: [2, 0, 1], sum: 2.5))
    var up = MetricSeriesFamily("m_up", .gauge, "Up.")
    up.add(.number(1))
    return [requests, duration, up, MetricSeriesFamily("m_none", .gauge, "No series.")]
  }()

  @Test("0.0.4: every family has HELP and TYPE, labels are escaped, buckets are cumulated")
  func prometheus() {
    #expect(
      MetricText.prometheus.text(families) == """
        # HELP m_requests_total Requests \\\\ of "all".
        # TYPE m_requests_total counter
        m_requests_total{route="a\\"b\\\\c\\nd",class="2xx"} 3
        # HELP m_duration_seconds Time.
        # TYPE m_duration_seconds histogram
        m_duration_seconds_bucket{le="0.001"} 2
        m_duration_seconds_bucket{le="1"} 2
        m_duration_seconds_bucket{le="+Inf"} 3
        m_duration_seconds_sum 2.5
        m_duration_seconds_count 3
        # HELP m_up Up.
        # TYPE m_up gauge
        m_up 1

        """)
  }

  @Test("OpenMetrics: a counter's family has no suffix, a unit is named, the end is marked")
  func openMetrics() {
    let text = MetricText.openMetrics.text(families)
    #expect(text.hasPrefix("# HELP m_requests Requests \\\\ of \\\"all\\\".\n"))
    #expect(text.contains("# TYPE m_requests counter\nm_requests_total{"))
    #expect(text.contains("# UNIT m_duration_seconds seconds\n"))
    #expect(text.hasSuffix("m_up 1\n# EOF\n"))
  }

  @Test("a client gets OpenMetrics only if it asks for it")
  func negotiation() {
    #expect(MetricText(accept: "") == .prometheus)
    #expect(MetricText(accept: "text/plain;version=0.0.4") == .prometheus)
    #expect(
      MetricText(accept: "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        == .openMetrics)
  }
}
