// What a right configuration becomes: every key reaches its place in the value, and what is not
// written has the documented default.

import Configuration
import Testing

@Suite("A right configuration")
struct LoadTests {
  @Test("the smallest one sends everything to its one upstream, with every default")
  func smallest() throws {
    let result = load(minimal())
    #expect(result.problems == [])
    let configuration = try #require(result.configuration)
    #expect(configuration.engine == .automatic)
    #expect(configuration.workers == .automatic)
    #expect(configuration.pin == .automatic)
    #expect(configuration.audit == nil)
    #expect(configuration.listeners.count == 1)
    #expect(configuration.listeners[0].name == "127.0.0.1:8080")
    #expect(configuration.listeners[0].address == .ip(host: "127.0.0.1", port: 8080))
    #expect(configuration.listeners[0].tls == nil)
    #expect(configuration.listeners[0].timeouts.headNanoseconds == 10_000_000_000)
    #expect(configuration.listeners[0].timeouts.bodyNanoseconds == 30_000_000_000)
    #expect(configuration.listeners[0].timeouts.idleNanoseconds == 60_000_000_000)
    let upstream = configuration.upstreams[0]
    #expect(upstream.name == "web")
    #expect(upstream.servers.map(\.address) == [.ip(host: "127.0.0.1", port: 3000)])
    #expect(upstream.servers[0].weight == 1)
    #expect(upstream.balance == .roundRobin)
    #expect(
      upstream.retries
        == RetryConfiguration(attempts: 1, onConnectFailure: true, onResetBeforeResponse: true))
    #expect(upstream.timeouts.connectNanoseconds == 1_000_000_000)
    #expect(upstream.timeouts.responseNanoseconds == 30_000_000_000)
    #expect(upstream.timeouts.idleNanoseconds == 4_000_000_000)
    #expect(upstream.idleConnections == 2048)
    #expect(upstream.source == SourceConfiguration())
    #expect(configuration.placement == .off)
    #expect(configuration.limits.connections == 65536)
    #expect(configuration.limits.requestHead == 65536)
    #expect(configuration.limits.requestTarget == 8192)
    #expect(configuration.limits.requestFields == 100)
    #expect(configuration.drain.deadlineNanoseconds == 30_000_000_000)
    #expect(configuration.drain.tunnelsNanoseconds == nil)
    #expect(configuration.routes.count == 1)
    #expect(configuration.routes[0].listener == nil)
    #expect(configuration.routes[0].host == nil)
    #expect(configuration.routes[0].path == .any)
    #expect(configuration.routes[0].upstream == 0)
  }

  static let everything = """
    engine: {kind: io_uring, sqpoll: true, quiet_sends: false, sqpoll_cpu: 0, batch_completions: 16}
    workers: 3
    pin: off
    listeners:
      - name: edge
        address: :8443
        protocol: http
        http_versions: [http/1.1]
        tls:
          certificates:
            - {certificate: a.pem, key: a.key}
            - {certificate: b.pem, key: b.key}
          minimum_version: "1.3"
          record_layer: openssl
        timeouts: {head: 250ms, body: 2m, idle: 1h}
      - address: "[0:0::1]:8080"
      - address: unix:/run/in.sock
    routes:
      - match: {listener: edge, host: Shop.Example, path: /api/}
        upstream: api
      - match: {host: "*.shop.example", path_exact: /x/}
        upstream: web
      - match: {path: /}
        upstream: web
    upstreams:
      api:
        protocol: http/1.1
        servers:
          - 10.0.0.1:8080
          - {address: Api.Internal:8080, weight: 2}
          - "[fe80::1]:1"
        balance: least_requests
        retries: {attempts: 2, on: [connect_failure]}
        timeouts: {connect: 2s, response: 3s, idle: 4s}
        idle_connections: 5
      web: {servers: ["unix:/run/web.sock"], balance: random_two, source_address: "FE80::9", source_ports: 20000-20001}
    audit:
      directory: /var/log/millrace
      durability: interval
      interval: 100ms
      when_full: drop
      segment: {size: 128MiB, age: 2h}
      redact_query: true
    limits: {connections: 10, request_head: 16KiB, request_target: 4096, request_fields: 50}
    drain: {deadline: 5s, tunnels: 6h}
    reload: {watch: true}
    placement: cpu
    """

  @Test("every key reaches its place in the value")
  func everyKey() throws {
    let result = load(Self.everything)
    #expect(result.problems == [])
    let it = try #require(result.configuration)
    #expect(it.engine == .uring)
    #expect(it.engineSettings.features == ["sqpoll": true, "quiet_sends": false])
    #expect(it.engineSettings.submissionThreadCPU == 0)
    #expect(it.engineSettings.batchCompletions == 16)
    #expect(it.engineSettings.batchMicroseconds == nil)
    #expect(it.workers == .count(3))
    #expect(it.pin == .off)
    #expect(it.placement == .cpu)
    #expect(it.listeners.map(\.name) == ["edge", "[0:0::1]:8080", "unix:/run/in.sock"])
    #expect(
      it.listeners.map(\.address) == [
        .ip(host: "::", port: 8443), .ip(host: "::1", port: 8080), .unix(path: "/run/in.sock"),
      ])
    let tls = try #require(it.listeners[0].tls)
    #expect(tls.minimumVersion == .tls13)
    #expect(tls.recordLayer == .openSSL)
    #expect(tls.certificates.map(\.certificatePath) == ["a.pem", "b.pem"])
    #expect(tls.certificates.map(\.keyPath) == ["a.key", "b.key"])
    #expect(
      it.listeners[0].timeouts
        == DownstreamTimeouts(
          headNanoseconds: 250_000_000, bodyNanoseconds: 120_000_000_000,
          idleNanoseconds: 3_600_000_000_000))
    #expect(it.routes.map(\.listener) == [0, nil, nil])
    #expect(it.routes.map(\.host) == ["shop.example", "*.shop.example", nil])
    #expect(it.routes.map(\.path) == [.prefix("/api"), .exact("/x/"), .any])
    #expect(it.routes.map(\.upstream) == [0, 1, 1])
    #expect(it.upstreams.map(\.name) == ["api", "web"])
    #expect(it.upstreams.map(\.balance) == [.leastRequests, .randomTwo])
    #expect(it.upstreams[0].servers.map(\.weight) == [1, 2, 1])
    #expect(it.upstreams[0].servers[1].address == .ip(host: "api.internal", port: 8080))
    #expect(
      it.upstreams[0].retries
        == RetryConfiguration(attempts: 2, onConnectFailure: true, onResetBeforeResponse: false))
    #expect(
      it.upstreams[0].timeouts
        == UpstreamTimeouts(
          connectNanoseconds: 2_000_000_000, responseNanoseconds: 3_000_000_000,
          idleNanoseconds: 4_000_000_000))
    #expect(it.upstreams[0].idleConnections == 5)
    #expect(it.upstreams[0].source == SourceConfiguration())
    #expect(it.upstreams[1].source.address == "fe80::9")
    #expect(it.upstreams[1].source.ports == 20_000...20_001)
    #expect(
      it.limits
        == LimitsConfiguration(
          connections: 10, requestHead: 16384, requestTarget: 4096, requestFields: 50))
    #expect(it.drain.deadlineNanoseconds == 5_000_000_000)
    #expect(it.drain.tunnelsNanoseconds == 21_600_000_000_000)
    let audit = try #require(it.audit)
    #expect(audit.directory == "/var/log/millrace")
    #expect(audit.durability == .interval)
    #expect(audit.intervalNanoseconds == 100_000_000)
    #expect(audit.whenFull == .drop)
    #expect(audit.segmentSize == 128 << 20)
    #expect(audit.segmentAgeNanoseconds == 7_200_000_000_000)
    #expect(audit.redactQuery)
    #expect(it.reload == ReloadConfiguration(watch: true))
  }

  @Test("what can be wrong later knows where it was written")
  func locations() throws {
    let it = try #require(load(Self.everything).configuration)
    #expect(it.listeners[0].addressLocation.description == "listeners[0].address (m.yaml:6:14)")
    let pair = try #require(it.listeners[0].tls?.certificates[1])
    #expect(
      pair.certificateLocation.description
        == "listeners[0].tls.certificates[1].certificate (m.yaml:12:25)")
    #expect(pair.keyLocation.description == "listeners[0].tls.certificates[1].key (m.yaml:12:37)")
    #expect(it.routes[1].location.description == "routes[1] (m.yaml:21:5)")
    #expect(it.upstreams[0].location.description == "upstreams.api (m.yaml:26:3)")
    #expect(
      it.upstreams[0].servers[1].location.description
        == "upstreams.api.servers[1].address (m.yaml:30:19)")
    #expect(it.audit?.directoryLocation.description == "audit.directory (m.yaml:38:14)")
  }

  @Test("an audit log needs its directory and nothing else")
  func auditDefaults() throws {
    let audit = try #require(load(minimal("audit: {directory: d}")).configuration?.audit)
    #expect(audit.durability == .beforeResponse)
    #expect(audit.whenFull == .reject)
    #expect(audit.intervalNanoseconds == 200_000_000)
    #expect(audit.segmentSize == 67_108_864)
    #expect(audit.segmentAgeNanoseconds == 3_600_000_000_000)
    #expect(!audit.redactQuery)
    let place = audit.directoryLocation
    #expect(audit == AuditConfiguration(directory: "d", directoryLocation: place))
  }

  @Test(
    "pin takes the booleans that editors make of on and off",
    arguments: [
      ("on", Pinning.on), ("true", .on), ("off", .off), ("False", .off), ("auto", .automatic),
    ])
  func pinning(written: String, expected: Pinning) {
    #expect(load(minimal("pin: \(written)")).configuration?.pin == expected)
  }

  @Test(
    "a TLS version may stand without its quotes",
    arguments: [("1.2", ListenerTLS.Version.tls12), ("1.3", .tls13), ("\"1.2\"", .tls12)])
  func tlsVersion(written: String, expected: ListenerTLS.Version) throws {
    let tls = "tls: {certificates: [{certificate: a, key: b}], minimum_version: \(written)}"
    let it = try #require(load(minimal(listener: tls)).configuration)
    #expect(it.listeners[0].tls?.minimumVersion == expected)
  }

  @Test("a small head makes the target's default small, so that one limit can be set alone")
  func smallHead() throws {
    let it = try #require(load(minimal("limits: {request_head: 4KiB}")).configuration)
    #expect(it.limits.requestHead == 4096)
    #expect(it.limits.requestTarget == 4096)
  }

  @Test("two listeners with port 0 are two free ports")
  func freePorts() {
    let text = """
      listeners: [{name: a, address: "127.0.0.1:0"}, {name: b, address: "127.0.0.1:0"}]
      upstreams: {web: {servers: ["127.0.0.1:1"]}}
      """
    #expect(lines(text) == [])
  }

  @Test("a byte order mark, Windows line ends and a document mark change nothing")
  func disguises() throws {
    let plain = try #require(load(minimal("workers: 2")).configuration)
    for text in [
      "\u{FEFF}" + minimal("workers: 2"), "---\n" + minimal("workers: 2") + "\n...\n",
      minimal("workers: 2").split(separator: "\n").joined(separator: "\r\n"),
    ] {
      let other = try #require(load(text).configuration)
      #expect(other.workers == plain.workers)
      #expect(other.listeners[0].address == plain.listeners[0].address)
    }
    let wide = "\u{FEFF}\(minimal("workers: 2"))".utf16.flatMap {
      [UInt8($0 & 0xFF), UInt8($0 >> 8)]
    }
    let result = ProxyConfiguration.load(bytes: wide, file: "m.yaml") { _ in nil }
    #expect(result.configuration?.workers == .count(2))
  }
}
