import Configuration
import Testing

@testable import Proxy

@Suite("What only a restart changes")
struct FixedSettingsTests {
  private static var running: ProxyConfiguration {
    ProxyConfiguration(
      listeners: [
        ListenerConfiguration(address: .ip(host: "127.0.0.1", port: 8080)),
        ListenerConfiguration(address: .unix(path: "/run/m.sock")),
      ],
      routes: [RouteConfiguration(path: .any, upstream: 0)],
      upstreams: [
        UpstreamConfiguration(
          name: "web", servers: [ServerConfiguration(address: .ip(host: "127.0.0.1", port: 3000))])
      ])
  }

  private static func audited(_ change: (inout AuditConfiguration) -> Void) -> ProxyConfiguration {
    var configuration = running
    var audit = AuditConfiguration(directory: "/a")
    change(&audit)
    configuration.audit = audit
    return configuration
  }

  private struct Change: CustomTestStringConvertible, Sendable {
    let key: String
    let change: @Sendable (inout ProxyConfiguration) -> Void
    init(_ key: String, _ change: @escaping @Sendable (inout ProxyConfiguration) -> Void) {
      self.key = key
      self.change = change
    }
    var testDescription: String { key }
  }

  private static let fixed: [Change] = [
    Change("engine") { $0.engine = $0.engine == .epoll ? .uring : .epoll },
    Change("workers") { $0.workers = .count(7) },
    Change("pin") { $0.pin = .off },
    Change("placement") { $0.placement = .cpu },
    Change("listeners[1].mode") { $0.listeners[1].mode = 0o600 },
    Change("audit") { $0.audit = AuditConfiguration(directory: "/a") },
    Change("limits.connections") { $0.limits.connections += 1 },
    Change("limits.streams") { $0.limits.streams = 9 },
    Change("limits.request_head") { $0.limits.requestHead += 1 },
    Change("limits.request_target") { $0.limits.requestTarget += 1 },
    Change("limits.request_fields") { $0.limits.requestFields += 1 },
  ]

  @Test("each is named, by its key in the file", arguments: fixed)
  private func named(_ change: Change) {
    var wanted = Self.running
    change.change(&wanted)
    #expect(FixedSettings.changes(from: Self.running, to: wanted) == [change.key])
    #expect(FixedSettings.changes(from: wanted, to: wanted) == [])
  }

  @Test("of an audit log too")
  func audit() {
    let running = Self.audited { _ in }
    func changes(_ change: (inout AuditConfiguration) -> Void) -> [String] {
      FixedSettings.changes(from: running, to: Self.audited(change))
    }
    #expect(changes { $0.directory = "/b" } == ["audit.directory"])
    #expect(changes { $0.durability = .none } == ["audit.durability"])
    #expect(changes { $0.intervalNanoseconds += 1 } == ["audit.interval"])
    #expect(changes { $0.whenFull = .drop } == ["audit.when_full"])
    #expect(changes { $0.holdNanoseconds += 1 } == ["audit.hold"])
    #expect(changes { $0.segmentSize += 4096 } == ["audit.segment.size"])
    #expect(changes { $0.segmentAgeNanoseconds += 1 } == ["audit.segment.age"])
    // What is read per request may change.
    #expect(changes { $0.redactQuery.toggle() } == [])
  }

  @Test(
    "timeouts, routes, upstreams and the drain are not among them, and several are told together")
  func free() {
    var wanted = Self.running
    wanted.listeners[0].timeouts.idleNanoseconds += 1
    wanted.listeners[0].name = "other"
    wanted.listeners[0].address = .ip(host: "127.0.0.1", port: 1)
    wanted.listeners[0].tls = ListenerTLS(certificates: [])
    wanted.listeners.remove(at: 1)
    wanted.listeners.append(ListenerConfiguration(address: .unix(path: "/run/other.sock")))
    wanted.limits.connections -= 1
    wanted.reload.watch = true
    wanted.routes = []
    wanted.upstreams[0].idleConnections = 3
    wanted.upstreams[0].servers.append(wanted.upstreams[0].servers[0])
    wanted.drain.deadlineNanoseconds += 1
    wanted.via = .off
    #expect(FixedSettings.changes(from: Self.running, to: wanted) == [])
    wanted.workers = .count(3)
    wanted.limits.streams = 4
    #expect(FixedSettings.changes(from: Self.running, to: wanted) == ["workers", "limits.streams"])
  }
}
