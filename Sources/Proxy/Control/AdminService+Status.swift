// The status as JSON: what runs, on what, how it is doing, and how much of each limit is in use. The status page,
// `millrace ctl` and `millrace top` read nothing else.

import Admin
import Configuration
import Glibc
import Logging
import Metrics
import MillraceEngine

private typealias Member = JSONValue.Member

extension AdminService {
  func status() -> JSONValue {
    let figures = FigureTable(reading())
    let configuration = life.configuration
    let now = SystemClock.monotonicNanoseconds()
    return .object([
      Member("version", .text(ProductVersion.number)), Member("pid", .count(Int(getpid()))),
      Member("phase", .text(life.phase.rawValue)), Member("generation", .count(life.generation)),
      Member("started_seconds", .number(Double(life.startedMicroseconds) / 1_000_000)),
      Member("uptime_seconds", .number(Double(now - life.startedNanoseconds) / 1e9)),
      Member("now_nanoseconds", .integer(now)),
      Member("log_level", .text(logger.logLevel.rawValue)),
      Member("engine", engine(figures)), Member("process", process()),
      Member("totals", totals(figures)), Member("workers", workers(figures)),
      Member("listeners", .array(configuration.listeners.map { listener($0, figures) })),
      Member(
        "latency_bounds_seconds",
        .array(LatencyHistogram.bounds.map { .number(Double($0) / 1e9) })),
      Member("upstreams", .array(configuration.upstreams.map { upstream($0, figures) })),
      Member("routes", routes(figures)), Member("terminations", endings(figures)),
      Member("limits", limits(configuration, figures)),
      Member("audit", audit(configuration, figures)),
    ])
  }

  private func engine(_ figures: FigureTable) -> JSONValue {
    .object([
      Member("kind", .text(figures.notes["engine"] ?? "")),
      Member(
        "features",
        .array(
          figures.engineFeatures.map { name, state in
            let isKnown = state == "on" || state == "off"
            return .object([
              Member("name", .text(name)), Member("state", .text(isKnown ? state : "refused")),
              Member("why", isKnown ? .null : .text(state)),
            ])
          })),
    ])
  }

  private func process() -> JSONValue {
    .object([
      Member("cpu_seconds", .number(ProcessFigures.cpuSeconds())),
      Member("resident_bytes", .count(ProcessFigures.residentBytes())),
      Member("descriptors", .count(DescriptorLimit.open())),
      Member("descriptors_limit", .count(DescriptorLimit.raise())),
    ])
  }

  /// Everything that workers count, summed; gauges too.
  private func totals(_ figures: FigureTable) -> JSONValue {
    let names =
      WorkerMetric.allCases.map(\.family.name)
      + PublishedMetric.allCases.filter(\.isReported).map(\.family.name)
    return .object(names.map { Member($0, .count(figures.sum($0))) })
  }

  private func workers(_ figures: FigureTable) -> JSONValue {
    let names =
      ["requests", "responses", "accepted"]
      + PublishedMetric.allCases.filter(\.isReported).map(\.family.name)
    return .array(
      (0..<board.count).map { worker in
        .object(
          [Member("worker", .count(worker))]
            + names.map { name in
              let values = figures.byName[name]?.first?.values ?? []
              return Member(name, .count(worker < values.count ? values[worker] ?? 0 : 0))
            })
      })
  }

  private func classes(
    _ name: String, _ labels: [String: String], _ figures: FigureTable
  ) -> JSONValue {
    .object(
      RouteMetric.classes.map {
        Member($0, .count(figures.sum(name, labels.merging(["class": $0]) { $1 })))
      })
  }

  private func listener(
    _ listener: ListenerConfiguration, _ figures: FigureTable
  ) -> JSONValue {
    let address = listener.address.description
    let labels = ["listener": address]
    func count(_ name: String) -> JSONValue { .count(figures.sum("listener_" + name, labels)) }
    return .object([
      Member("name", .text(listener.name)), Member("address", .text(address)),
      Member("protocol", .text(listener.relay == nil ? "http" : "relay")),
      Member("tls", .boolean(listener.tls != nil)),
      Member("http_versions", .array(listener.httpVersions.map { .text($0.rawValue) })),
      Member("accepted", count("accepted")), Member("requests", count("requests")),
      Member("responses", classes("listener_responses", labels, figures)),
      Member("request_bytes", count("request_bytes")),
      Member("response_bytes", count("response_bytes")),
      Member("handshakes", count("handshakes")),
      Member("handshake_failures", count("handshake_failures")),
    ])
  }

  private func latency(
    _ name: String, _ labels: [String: String], _ figures: FigureTable
  ) -> JSONValue {
    let (counts, nanoseconds) = figures.latency(name, labels)
    return .object([
      Member("counts", .array(counts.map { .count($0) })),
      Member("sum_seconds", .number(Double(nanoseconds) / 1e9)),
    ])
  }

  private func upstream(_ upstream: UpstreamConfiguration, _ figures: FigureTable) -> JSONValue {
    let labels = ["upstream": upstream.name]
    return .object([
      Member("name", .text(upstream.name)), Member("balance", .text(upstream.balance.rawValue)),
      Member("protocol", .text(upstream.speaks.rawValue)),
      Member("tls", .boolean(upstream.tls != nil)),
      Member("responses", classes("route_requests", labels, figures)),
      Member("duration", latency(UpstreamMetric.duration.name, labels, figures)),
      Member("first_byte", latency(UpstreamMetric.firstByte.name, labels, figures)),
      Member("connect", latency(UpstreamMetric.connect.name, labels, figures)),
      Member("servers", .array(upstream.servers.map { server($0, upstream.name, figures) })),
    ])
  }

  private func server(
    _ server: ServerConfiguration, _ upstream: String, _ figures: FigureTable
  ) -> JSONValue {
    let address = server.address.description
    let labels = ["upstream": upstream, "server": address]
    func count(_ name: String) -> JSONValue { .count(figures.sum("server_" + name, labels)) }
    return .object(
      [
        Member("address", .text(address)), Member("weight", .count(server.weight)),
        Member("state", .text(serverState(upstream, address, figures).rawValue)),
        Member("responses", classes("server_responses", labels, figures)),
      ]
        + [
          "active", "idle", "requests", "connects", "connect_failures", "reuses", "failures",
          "retries", "request_bytes", "response_bytes", "handshakes", "handshake_failures",
        ].map { Member($0, count($0)) })
  }

  private func routes(_ figures: FigureTable) -> JSONValue {
    var seen: Set<[String]> = []
    var routes: [JSONValue] = []
    for sample in figures.byName["route_requests"] ?? [] {
      let route = sample.labels["route"] ?? ""
      let upstream = sample.labels["upstream"] ?? ""
      guard seen.insert([route, upstream]).inserted else { continue }
      routes.append(
        .object([
          Member("route", .text(route)), Member("upstream", .text(upstream)),
          Member(
            "responses",
            classes("route_requests", ["route": route, "upstream": upstream], figures)),
        ]))
    }
    return .array(routes)
  }

  /// Those that have happened.
  private func endings(_ figures: FigureTable) -> JSONValue {
    .object(
      (figures.byName["terminations"] ?? []).filter { $0.sum > 0 }.map {
        Member($0.labels["reason"] ?? "", .count($0.sum))
      })
  }

  private func limits(
    _ configuration: ProxyConfiguration, _ figures: FigureTable
  ) -> JSONValue {
    func limit(_ use: UInt64, _ limit: Int?) -> JSONValue {
      .object([
        Member("use", .count(use)), Member("limit", limit.map { .count($0) } ?? .null),
      ])
    }
    func engine(_ name: String) -> Int? {
      figures.notes["limit." + name].flatMap { Int($0) }.map { $0 * board.count }
    }
    return .object([
      Member("connections", limit(figures.sum("connections"), configuration.limits.connections)),
      Member(
        "exchanges", limit(figures.sum("exchanges"), configuration.limits.exchanges * board.count)),
      Member("frames", limit(figures.sum("frames"), engine("frames"))),
      Member("leases", limit(figures.sum("leases"), engine("leases"))),
      Member("cold_bytes", limit(figures.sum("cold_bytes"), nil)),
    ])
  }

  private func audit(
    _ configuration: ProxyConfiguration, _ figures: FigureTable
  ) -> JSONValue {
    guard let audit = configuration.audit else { return .null }
    func count(_ name: String) -> JSONValue { .count(figures.sum(name)) }
    return .object([
      Member("directory", .text(audit.directory)),
      Member("durability", .text(audit.durability.rawValue)),
      Member("when_full", .text(audit.whenFull.rawValue)),
      Member("records", count("audit_records")), Member("commits", count("audit_commits")),
      Member("rejects", count("audit_rejects")), Member("drops", count("audit_drops")),
      Member("waits", count("audit_waits")), Member("unanswered", count("unanswered_by_audit")),
      Member("commit", latency("audit_commit", [:], figures)),
    ])
  }
}
