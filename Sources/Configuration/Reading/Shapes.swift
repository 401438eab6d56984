// Every key of the configuration, in the order in which the documentation explains them. A key that
// is not here is unknown; one that is named `unavailable` belongs to another version and says what
// works instead.

package enum Shapes {
  /// 1 ms…24 h: shorter is below the timer wheel's tick, longer is no timeout but a leak.
  private static let timeout = ValueShape.duration(
    DurationUnit.millisecond...(24 * DurationUnit.hour))
  /// The same, or 0 for never.
  private static let interval = ValueShape.duration(0...(24 * DurationUnit.hour))
  private static let name = ValueShape.text(maximum: 128, example: "edge")
  /// PATH_MAX without its terminating zero (linux/limits.h).
  static let filePath = 4095

  package static let root = MappingShape(
    "a configuration",
    [
      KeyShape("engine", .either([.choice(engineKind), .mapping(engine)]), default: "auto"),
      KeyShape(
        "workers",
        .either([.integer(WorkerCount.range), .choice(Choice("a number of workers", ["auto"]))]),
        default: "auto"),
      KeyShape("pin", .choice(pinning), default: "auto"),
      KeyShape(
        "placement", .choice(Choice("a placement mode", ["off", "cpu", "queue"])),
        default: "off"),
      KeyShape("listeners", .list(.mapping(listener), count: 1...256), required: true),
      KeyShape("routes", .list(.mapping(route), count: 1...1024)),
      KeyShape("upstreams", .named(upstream, count: 1...1024), required: true),
      KeyShape("audit", .mapping(audit)),
      KeyShape("access_log", .mapping(accessLog)),
      KeyShape("tracing", .mapping(tracing)),
      KeyShape("admin", .mapping(admin)),
      KeyShape("limits", .mapping(limits)),
      KeyShape(
        "via",
        .either([
          .choice(via), .text(maximum: ViaSetting.pseudonymBytesMaximum, example: "edge-1"),
        ]),
        default: "on"),
      KeyShape("drain", .mapping(drain)),
      KeyShape("reload", .mapping(reload)),
    ])

  static let via = Choice("a Via setting", ["on", "off"])
  private static let pinning = Choice(
    "a pinning mode", ["auto", "on", "off"], meant: ["no": "off", "never": "off", "yes": "on"])

  private static let engineKind = Choice("an engine", ["auto", "io_uring", "epoll"])

  package static let engine = MappingShape(
    "an engine",
    [KeyShape("kind", .choice(engineKind), default: "auto")]
      + EngineSettings.switches.map {
        KeyShape($0.name, .boolean, default: $0.isStandard ? "true" : "false")
      } + [
        KeyShape("sqpoll_idle", .integer(1...60_000), default: "50"),
        KeyShape("sqpoll_cpu", .integer(0...1023)),
        KeyShape("batch_completions", .integer(1...4096), default: "8"),
        KeyShape("batch_microseconds", .integer(1...100_000), default: "50"),
        KeyShape("busy_poll_microseconds", .integer(1...100_000), default: "50"),
        KeyShape("busy_poll_budget", .integer(1...64), default: "8"),
        KeyShape("coalesce_microseconds", .integer(0...10_000), default: "2000"),
      ])

  package static let listener = MappingShape(
    "a listener",
    [
      KeyShape("name", name),
      KeyShape("address", .address(example: "0.0.0.0:8443"), required: true),
      KeyShape("mode", .fileMode, default: "\"0666\""),
      KeyShape(
        "protocol",
        .choice(
          Choice(
            "a protocol", ["http", "relay"],
            // nginx, HAProxy, Envoy.
            meant: ["tcp": "relay", "stream": "relay", "tcp_proxy": "relay", "https": "http"])),
        default: "http"),
      KeyShape("upstream", .text(maximum: 128, example: "mail")),
      KeyShape("sni", .list(.mapping(relayName), count: 1...1024)),
      KeyShape(
        "http_versions",
        .list(
          .choice(
            Choice(
              "an HTTP version", HTTPVersionChoice.allCases.map(\.rawValue),
              unavailable: [
                Unavailable("http/2", instead: "write h2"),
                Unavailable("h2c", instead: "write h2, which without tls is by prior knowledge"),
                Unavailable("h3", instead: "write h2 or http/1.1"),
                Unavailable("http/3", instead: "write h2 or http/1.1"),
              ])), count: 1...8)),
      KeyShape("tls", .mapping(tls)),
      KeyShape(
        "underscores",
        .choice(Choice("an underscore policy", UnderscorePolicy.allCases.map(\.rawValue))),
        default: "pass"),
      KeyShape("access_log", .choice(accessLogSwitch), default: "on"),
      KeyShape("timeouts", .mapping(downstreamTimeouts)),
    ])

  package static let relayName = MappingShape(
    "an SNI name",
    [
      KeyShape("name", .text(maximum: 255, example: "shop.example"), required: true),
      KeyShape("upstream", .text(maximum: 128, example: "shop"), required: true),
    ])

  package static let tls = MappingShape(
    "the TLS of a listener",
    [
      KeyShape("certificates", .list(.mapping(certificate), count: 1...1024), required: true),
      KeyShape("minimum_version", .choice(tlsVersion), default: "\"1.2\""),
      KeyShape(
        "record_layer",
        .choice(Choice("a record layer", ListenerTLS.RecordLayer.allCases.map(\.rawValue))),
        default: "auto"),
    ])

  private static let tlsVersion = Choice(
    "a TLS version", ["1.2", "1.3"],
    unavailable: ["1.0", "1.1"].map {
      Unavailable(
        $0,
        because: "TLS \($0) is not supported: it is deprecated by RFC 8996",
        hint: "write \"1.2\" or \"1.3\"")
    })

  package static let certificate = MappingShape(
    "a certificate",
    [
      KeyShape("certificate", .text(maximum: filePath, example: "site.pem"), required: true),
      KeyShape("key", .text(maximum: filePath, example: "site.key"), required: true),
    ])

  package static let downstreamTimeouts = MappingShape(
    "the timeouts of a listener",
    [
      KeyShape("head", timeout, default: "10s"),
      KeyShape("body", timeout, default: "30s"),
      KeyShape("idle", timeout, default: "60s"),
      KeyShape("keep_alive_ping", interval, default: "0s"),
      KeyShape("keep_alive_ack", timeout, default: "15s"),
    ])

  package static let route = MappingShape(
    "a route",
    [
      KeyShape("match", .mapping(match)),
      KeyShape("upstream", .text(maximum: 128, example: "web"), required: true),
      KeyShape("access_log", .choice(accessLogSwitch), default: "on"),
    ],
    unavailable: ["redirect", "respond", "files"].map {
      Unavailable(
        $0, instead: "write upstream: NAME", standsFor: "upstream")
    })

  package static let match = MappingShape(
    "a match",
    [
      KeyShape("listener", name),
      KeyShape("host", .text(maximum: 255, example: "shop.example")),
      KeyShape("path", .text(maximum: 4096, example: "/api")),
      KeyShape("path_exact", .text(maximum: 4096, example: "/favicon.ico")),
    ],
    unavailable: [
      Unavailable("path_regex", instead: "write path (a prefix of whole segments) or path_exact")
    ])

  package static let upstream = MappingShape(
    "an upstream",
    [
      KeyShape(
        "protocol",
        .choice(
          Choice(
            "a protocol", UpstreamProtocol.allCases.map(\.rawValue),
            unavailable: [
              Unavailable("http/2", instead: "write h2 (with tls) or h2c (without)"),
              Unavailable("h3", instead: "write h2, or auto"),
              Unavailable("http/3", instead: "write h2, or auto"),
            ])),
        default: "http/1.1"),
      KeyShape(
        "servers",
        .list(.either([.address(example: "10.0.0.1:8080"), .mapping(server)]), count: 1...1024),
        required: true),
      KeyShape("tls", .mapping(upstreamTLS)),
      KeyShape("balance", .choice(balance), default: "round_robin"),
      KeyShape("retries", .mapping(retries)),
      KeyShape("timeouts", .mapping(upstreamTimeouts)),
      KeyShape(
        "upgrades", .list(.text(maximum: 64, example: "websocket"), count: 0...8),
        default: "[websocket]"),
      KeyShape("idle_connections", .integer(0...65536), default: "2048"),
      KeyShape(
        "default_host", .text(maximum: 255, example: "shop.example"),
        default: UpstreamConfiguration.fallbackHost),
      KeyShape("source_address", .text(maximum: 45, example: "10.0.0.9")),
      KeyShape("source_ports", .text(maximum: 11, example: "20000-29999")),
    ],
    unavailable: [
      Unavailable(
        "health", instead: "remove it; retries send a failed request to another server")
    ])

  package static let upstreamTLS = MappingShape(
    "the TLS of an upstream",
    [
      KeyShape("verify", .boolean, default: "true"),
      KeyShape("ca", .text(maximum: filePath, example: "ca.pem")),
      KeyShape(
        "server_name",
        .text(maximum: EndpointAddress.hostBytesMaximum, example: "api.internal")),
      KeyShape("certificate", .text(maximum: filePath, example: "client.pem")),
      KeyShape("key", .text(maximum: filePath, example: "client.key")),
      KeyShape("minimum_version", .choice(tlsVersion), default: "\"1.2\""),
      KeyShape(
        "alpn",
        .list(
          .choice(
            Choice(
              "a protocol for ALPN", ["http/1.1", "h2"],
              unavailable: ["http/2", "h3", "http/3"].map {
                Unavailable($0, instead: "remove the key: protocol says what is offered")
              })), count: 1...8),
        default: "[http/1.1]"),
    ])

  private static let balance = Choice(
    "a balance", Balance.allCases.map(\.rawValue),
    unavailable: [
      Unavailable("hash", instead: "write round_robin, least_requests or random_two")
    ],
    // nginx, HAProxy, Envoy, Caddy.
    meant: [
      "least_conn": "least_requests", "leastconn": "least_requests",
      "least_connections": "least_requests", "least_request": "least_requests",
      "roundrobin": "round_robin", "rr": "round_robin", "random": "random_two",
      "random_choose": "random_two", "p2c": "random_two",
    ])

  package static let server = MappingShape(
    "a server",
    [
      KeyShape("address", .address(example: "10.0.0.1:8080"), required: true),
      KeyShape("weight", .integer(1...256), default: "1"),
    ])

  package static let retries = MappingShape(
    "the retries of an upstream",
    [
      KeyShape("attempts", .integer(0...10), default: "1"),
      KeyShape(
        "on",
        .list(
          .choice(Choice("a retry condition", ["connect_failure", "reset_before_response"])),
          count: 1...8),
        default: "[connect_failure, reset_before_response]"),
    ])

  package static let upstreamTimeouts = MappingShape(
    "the timeouts of an upstream",
    [
      // The kernel's SYN retries end after 127 s (ip-sysctl, tcp_syn_retries 6).
      KeyShape(
        "connect", .duration(DurationUnit.millisecond...(2 * DurationUnit.minute)), default: "1s"),
      KeyShape("response", timeout, default: "30s"),
      KeyShape("idle", timeout, default: "4s"),
      KeyShape("tunnel", timeout, default: "1h"),
      KeyShape("keep_alive_ping", interval, default: "10s"),
      KeyShape("keep_alive_ack", timeout, default: "15s"),
    ])

  package static let audit = MappingShape(
    "the audit log",
    [
      KeyShape(
        "directory", .text(maximum: filePath, example: "/var/log/millrace"), required: true),
      KeyShape(
        "durability",
        .choice(
          Choice(
            "a durability", AuditConfiguration.Durability.allCases.map(\.rawValue),
            meant: [
              "always": "before_response", "sync": "before_response", "fsync": "before_response",
              "everysec": "interval", "async": "interval", "no": "none", "off": "none",
            ])),
        default: "before_response"),
      KeyShape(
        "interval", .duration(DurationUnit.millisecond...DurationUnit.minute), default: "200ms"),
      KeyShape(
        "when_full",
        .choice(
          Choice(
            "a when_full policy", AuditConfiguration.WhenFull.allCases.map(\.rawValue),
            meant: [
              "wait": "block", "stall": "block", "refuse": "reject", "fail": "reject",
              "discard": "drop", "ignore": "drop",
            ])),
        default: "reject"),
      KeyShape("hold", .duration(0...DurationUnit.second), default: "5ms"),
      KeyShape("segment", .mapping(segment)),
      KeyShape("redact_query", .boolean, default: "false"),
    ])

  package static let segment = MappingShape(
    "a segment",
    [
      KeyShape("size", .size((1 << 20)...(4 << 30)), default: "64MiB"),
      KeyShape("age", .duration(DurationUnit.second...(168 * DurationUnit.hour)), default: "1h"),
    ])

  package static let admin = MappingShape(
    "the admin server",
    [
      KeyShape(
        "address", .address(example: "127.0.0.1:9901"),
        default: "unix:\(AdminConfiguration.standardPath)")
    ])

  package static let limits = MappingShape(
    "the limits",
    [
      // 1048576 is the kernel's default fs.nr_open, the most files that a process can have.
      KeyShape("connections", .integer(1...1_048_576), default: "65536"),
      KeyShape("streams", .integer(1...1_048_576)),
      KeyShape("request_head", .size((1 << 10)...(1 << 20)), default: "64KiB"),
      KeyShape("request_target", .size(256...(64 << 10)), default: "8KiB"),
      KeyShape("request_fields", .integer(8...1000), default: "100"),
    ],
    unavailable: [
      Unavailable(
        "requests_per_second",
        instead: "remove it; limits.connections limits the number of connections")
    ])

  package static let reload = MappingShape(
    "the reload", [KeyShape("watch", .boolean, default: "false")])

  package static let drain = MappingShape(
    "the drain",
    [
      KeyShape("deadline", .duration(0...(24 * DurationUnit.hour)), default: "30s"),
      KeyShape("tunnels", .duration(0...(720 * DurationUnit.hour))),
    ])
}
