import Configuration
import Testing

@testable import Proxy

@Suite("What a reload says that it has changed")
struct ReloadChangesTests {
  private static func server(_ port: UInt16, line: Int = 0) -> ServerConfiguration {
    ServerConfiguration(
      address: .ip(host: "127.0.0.1", port: port), location: SourceLocation(line: line))
  }

  private static var running: ProxyConfiguration {
    ProxyConfiguration(
      listeners: [
        ListenerConfiguration(name: "edge", address: .ip(host: "127.0.0.1", port: 8080)),
        ListenerConfiguration(name: "mail", address: .ip(host: "127.0.0.1", port: 25)),
      ],
      routes: [RouteConfiguration(listener: 0, path: .prefix("/a"), upstream: 0)],
      upstreams: [
        UpstreamConfiguration(name: "web", servers: [server(3000)]),
        UpstreamConfiguration(name: "mail", servers: [server(3025)]),
      ])
  }

  private static func changes(_ change: (inout ProxyConfiguration) -> Void) -> [String] {
    var (old, new) = (running, running)
    old.listeners[1].relay = RelayConfiguration(upstream: 1)
    new.listeners[1].relay = RelayConfiguration(upstream: 1)
    change(&new)
    return ReloadChanges.list(from: old, to: new)
  }

  @Test("places in the file and the order of upstreams are no change")
  func nothing() {
    #expect(Self.changes { _ in } == [])
    #expect(
      Self.changes {
        $0.listeners[0].addressLocation.line = 7
        $0.upstreams[0].location.line = 9
        $0.upstreams[0].servers = [Self.server(3000, line: 11)]
        $0.routes[0].location.line = 12
        $0.upstreams.swapAt(0, 1)
        $0.routes[0].upstream = 1
        $0.listeners[1].relay = RelayConfiguration(upstream: 0)
      } == [])
  }

  @Test("what comes, goes and changes is named")
  func names() {
    #expect(
      Self.changes {
        $0.listeners[0].name = "front"
        $0.listeners[1].timeouts.idleNanoseconds += 1
        $0.upstreams[0].servers.append(Self.server(3001))
        $0.upstreams.append(UpstreamConfiguration(name: "more", servers: [Self.server(3002)]))
      } == ["listeners: +front, ~mail, -edge", "upstreams: ~web, +more", "settings: routes"])
    #expect(Self.changes { $0.routes[0].upstream = 1 } == ["settings: routes"])
    #expect(
      Self.changes { $0.listeners[1].relay = RelayConfiguration(upstream: 0) }
        == ["listeners: ~mail"])
    #expect(
      Self.changes {
        $0.limits.connections -= 1
        $0.via = .off
        $0.drain.deadlineNanoseconds += 1
        $0.reload.watch = true
      } == ["settings: limits, via, drain, reload"])
  }
}
