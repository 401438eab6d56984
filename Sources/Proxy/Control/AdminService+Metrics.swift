// The figures as a scraper reads them: names by the conventions of Prometheus (a prefix, base units, `_total` for
// what only grows), few labels, and no label whose values a client chooses. What has a dimension of its own is
// summed over the workers; what only makes sense by worker is by worker.

import Admin
import Configuration
import Glibc
import Metrics
import MillraceEngine

private typealias Family = MetricSeriesFamily
private typealias Label = MetricSeriesFamily.Label

extension AdminService {
  /// All families. - Parameter configuration: the one in force.
  func families() -> [MetricSeriesFamily] {
    let figures = FigureTable(reading())
    let configuration = life.configuration
    var families = processFamilies() + [informationFamily(figures)]
    // Failed handshakes are told by cause, below.
    families += WorkerMetric.allCases.filter { $0 != .handshakeFailures }.map {
      figures.counter($0.family)
    }
    families += PublishedMetric.allCases.filter(\.isReported).map { figures.byWorker($0.family) }
    families += figures.families(ListenerMetric.allCases.map(\.column.family))
    families += figures.families(
      ServerMetric.allCases.map(\.column.family).filter { $0.kind == .counter })
    families += serverFamilies(figures, configuration)
    families += figures.families(RouteMetric.columns.map(\.family))
    families += UpstreamMetric.allCases.map {
      figures.histogram($0.name, $0.exposedName, $0.help)
    }
    families += figures.families([EndingMetric.columns[0].family])
    families += figures.families([EndingMetric.columns[EndingMetric.handshakes].family])
    families.append(
      figures.histogram(
        "audit_commit", "audit_commit_duration_seconds",
        "Time from the write of a batch of records until it is durable."))
    return families + limitFamilies(configuration, figures)
  }

  private func gauge(_ name: String, _ help: String, _ value: Int) -> MetricSeriesFamily {
    var family = Family("millrace_" + name, .gauge, help)
    family.add(.number(Double(value)))
    return family
  }

  private func informationFamily(_ figures: FigureTable) -> MetricSeriesFamily {
    var family = Family(
      "millrace_build_info", .gauge, "1, with the version and the engine as labels.")
    family.add(
      .number(1),
      [
        Label("version", ProductVersion.number), Label("engine", figures.notes["engine"] ?? ""),
      ])
    return family
  }

  private func limitFamilies(
    _ configuration: ProxyConfiguration, _ figures: FigureTable
  ) -> [MetricSeriesFamily] {
    let limits = configuration.limits
    var features = Family(
      "millrace_engine_feature_enabled", .gauge,
      "Whether the engine uses a feature of the kernel: 1, or 0 (off, or refused).")
    for (name, state) in figures.engineFeatures {
      features.add(.number(state == "on" ? 1 : 0), [Label("feature", name)])
    }
    var refused = Family(
      "millrace_admin_refused_peers_total", .counter,
      "Connections to the admin socket refused because of the peer's user and groups.")
    refused.add(.count(UInt64(refusedPeers)))
    return [
      gauge(
        "connections_limit", "Client connections that the process accepts (limits.connections).",
        limits.connections),
      gauge(
        "exchanges_limit", "Active requests of all workers (limits.streams for each).",
        limits.exchanges * board.count),
      gauge("workers", "Worker threads.", board.count),
      gauge(
        "leases_limit", "Receive buffers of all workers.", engineLimit("leases", figures)),
      gauge("frames_limit", "Send frames of all workers.", engineLimit("frames", figures)),
      gauge("config_generation", "1, and one more with each reload.", life.generation),
      gauge("ready", "Whether new requests are accepted: 1, or 0.", life.phase == .serving ? 1 : 0),
      refused, features,
    ]
  }

  /// How many of something the engines of all workers have; 0 before they have started.
  private func engineLimit(_ name: String, _ figures: FigureTable) -> Int {
    (figures.notes["limit." + name].flatMap { Int($0) } ?? 0) * board.count
  }

  /// What is told of servers as they are now: only of those that are configured.
  private func serverFamilies(
    _ figures: FigureTable, _ configuration: ProxyConfiguration
  ) -> [MetricSeriesFamily] {
    var states = Family(
      "millrace_server_state", .gauge,
      "1 for the state that a server is in, 0 for the others: up, down (connecting failed a moment ago), "
        + "drain, maintenance.")
    var active = Family(
      "millrace_server_active_requests", .gauge, "Requests that the server is serving.")
    var idle = Family(
      "millrace_server_idle_connections", .gauge, "Idle connections to the server.")
    var seen: Set<[String]> = []
    for upstream in configuration.upstreams {
      for server in upstream.servers {
        let address = server.address.description
        guard seen.insert([upstream.name, address]).inserted else { continue }
        let labels = [Label("upstream", upstream.name), Label("server", address)]
        let state = serverState(upstream.name, address, figures)
        for name in ServerStateName.allCases {
          states.add(
            .number(name == state ? 1 : 0), labels + [Label("state", name.rawValue)])
        }
        let key = ["upstream": upstream.name, "server": address]
        active.add(.count(figures.reading.sum("server_active", key) ?? 0), labels)
        idle.add(.count(figures.reading.sum("server_idle", key) ?? 0), labels)
      }
    }
    return [states, active, idle]
  }

  private func processFamilies() -> [MetricSeriesFamily] {
    // The names that all of Prometheus' own clients use.
    var cpu = Family(
      "process_cpu_seconds_total", .counter, "User and system CPU time of the process.")
    cpu.add(.number(ProcessFigures.cpuSeconds()))
    var memory = Family(
      "process_resident_memory_bytes", .gauge, "Resident memory of the process.")
    memory.add(.count(UInt64(ProcessFigures.residentBytes())))
    var open = Family("process_open_fds", .gauge, "Open file descriptors.")
    open.add(.count(UInt64(max(0, DescriptorLimit.open()))))
    var most = Family("process_max_fds", .gauge, "Limit of open file descriptors.")
    most.add(.count(UInt64(max(0, DescriptorLimit.raise()))))
    var start = Family(
      "process_start_time_seconds", .gauge, "Start of the process, in seconds since 1970.")
    start.add(.number(Double(life.startedMicroseconds) / 1_000_000))
    return [cpu, memory, open, most, start]
  }

  func serverState(
    _ upstream: String, _ server: String, _ figures: FigureTable
  ) -> ServerStateName {
    switch metrics.switches.admission(upstream: upstream, server: server) {
    case .drain: return .drain
    case .maintenance: return .maintenance
    case .up:
      let now = SystemClock.monotonicNanoseconds()
      let samples = figures.byName["server_down_until"] ?? []
      let isDown = samples.contains { sample in
        sample.labels["upstream"] == upstream && sample.labels["server"] == server
          && sample.values.contains { Int64(clamping: $0 ?? 0) > now }
      }
      return isDown ? .down : .up
    }
  }
}

/// A server's state as it is shown.
enum ServerStateName: String, CaseIterable {
  case up, down, drain, maintenance
}

/// A look at all figures, by name.
struct FigureTable {
  let reading: MetricReading
  let byName: [String: [MetricSample]]

  init(_ reading: MetricReading) {
    self.reading = reading
    byName = Dictionary(grouping: reading.samples) { $0.name }
  }

  var notes: [String: String] { reading.notes }

  /// Features of the engine in use, each with `on`, `off` or the cause of its refusal.
  var engineFeatures: [(name: String, state: String)] {
    notes.filter { $0.key.hasPrefix("feature.") }
      .map { (name: String($0.key.dropFirst(8)), state: $0.value) }.sorted { $0.name < $1.name }
  }

  func sum(_ name: String, _ labels: [String: String] = [:]) -> UInt64 {
    (byName[name] ?? []).reduce(0) { sum, sample in
      labels.allSatisfy { sample.labels[$0.key] == $0.value } ? sum &+ sample.sum : sum
    }
  }

  /// What the families are called that SIGUSR1's line calls by a shorter word.
  private static let names = [
    "accepted": "connections_accepted", "refused": "connections_refused",
    "accepted_elsewhere": "connections_accepted_elsewhere",
    "handed_over": "connections_handed_over", "handshakes": "tls_handshakes",
    "records": "audit_exchanges", "queues": "device_queues", "sq_full": "submission_queue_full",
    "cq_overflows": "completion_queue_overflows", "timers": "armed_timers",
    "listener_accepted": "listener_connections_accepted",
    "listener_handshakes": "listener_tls_handshakes",
    "listener_handshake_failures": "listener_tls_handshake_failures",
    "server_handshakes": "server_tls_handshakes",
    "server_handshakes_resumed": "server_tls_handshakes_resumed",
    "server_handshake_failures": "server_tls_handshake_failures",
    "upstream_handshakes": "upstream_tls_handshakes",
    "upstream_handshakes_resumed": "upstream_tls_handshakes_resumed",
    "upstream_handshake_failures": "upstream_tls_handshake_failures",
  ]

  private func exposed(_ family: MetricFamily) -> MetricSeriesFamily {
    MetricSeriesFamily(
      "millrace_" + (Self.names[family.name] ?? family.name)
        + (family.kind == .counter ? "_total" : ""),
      family.kind == .counter ? .counter : .gauge, family.help)
  }

  /// One series: the sum.
  func counter(_ family: MetricFamily) -> MetricSeriesFamily {
    var result = exposed(family)
    result.add(.count(sum(family.name)))
    return result
  }

  /// A series for each worker.
  func byWorker(_ family: MetricFamily) -> MetricSeriesFamily {
    var result = exposed(family)
    for sample in byName[family.name] ?? [] {
      for (worker, value) in sample.values.enumerated() {
        // A counter must not seem to fall: one that cannot be read now is left out.
        guard let value else { continue }
        result.add(.count(value), [MetricSeriesFamily.Label("worker", "\(worker)")])
      }
    }
    return result
  }

  /// Families whose rows have labels, each with all of its series; a family that has several columns is
  /// given several times.
  func families(_ families: [MetricFamily]) -> [MetricSeriesFamily] {
    var seen: Set<String> = []
    return families.filter { seen.insert($0.name).inserted }.map { family in
      var result = exposed(family)
      for sample in byName[family.name] ?? [] {
        result.add(.count(sample.sum), Self.labels(sample))
      }
      return result
    }
  }

  /// In a fixed order: what the row is of, then the column.
  private static func labels(_ sample: MetricSample) -> [MetricSeriesFamily.Label] {
    ["listener", "route", "upstream", "server", "class", "version", "reason"].compactMap { name in
      sample.labels[name].map { MetricSeriesFamily.Label(name, $0) }
    }
  }

  func histogram(_ name: String, _ exposed: String, _ help: String) -> MetricSeriesFamily {
    var result = MetricSeriesFamily("millrace_" + exposed, .histogram, help)
    for row in byName[name + "_sum"] ?? [] {
      let value = latency(name, row.labels)
      result.add(
        .histogram(
          bounds: LatencyHistogram.bounds.map { Double($0) / 1e9 }, counts: value.counts,
          sum: Double(value.nanoseconds) / 1e9),
        Self.labels(row))
    }
    return result
  }

  /// The buckets and the sum of one row. - Parameter labels: its own.
  func latency(
    _ name: String, _ labels: [String: String]
  ) -> (counts: [UInt64], nanoseconds: UInt64) {
    let rows = (byName[name + "_bucket"] ?? []).filter { sample in
      labels.allSatisfy { sample.labels[$0.key] == $0.value }
    }
    return (rows.map(\.sum), sum(name + "_sum", labels))
  }
}

/// What the kernel knows of this process.
enum ProcessFigures {
  static func cpuSeconds() -> Double {
    var usage = rusage()
    guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
    func seconds(_ time: timeval) -> Double {
      Double(time.tv_sec) + Double(time.tv_usec) / 1_000_000
    }
    return seconds(usage.ru_utime) + seconds(usage.ru_stime)
  }

  /// By /proc/self/statm; 0 without /proc.
  static func residentBytes() -> Int {
    guard let bytes = try? WholeFile.read("/proc/self/statm", atMost: 4096) else { return 0 }
    let fields = String(decoding: bytes, as: UTF8.self).split(separator: " ")
    return fields.count > 1 ? (Int(fields[1]) ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE))) : 0
  }
}
