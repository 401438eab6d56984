import Configuration
import MillraceEngine
import Testing

@testable import Proxy

@Suite("Router")
struct RouterTests {
  private func plan(_ routes: [RouteConfiguration]) -> Plan {
    let server = ServerConfiguration(address: .ip(host: "127.0.0.1", port: 1))
    let upstreams = (0..<4).map { UpstreamConfiguration(name: "u\($0)", servers: [server]) }
    let listener = EndpointAddress.ip(host: "127.0.0.1", port: 2)
    let configuration = ProxyConfiguration(
      listeners: [ListenerConfiguration(name: "a", address: listener)], routes: routes,
      upstreams: upstreams)
    let address = SocketAddress(unixPath: "/nowhere")!
    return lastingPlan(
      configuration, listenerAddresses: [address],
      serverAddresses: Array(repeating: [[address]], count: 4), contexts: [nil])
  }

  private func route(
    _ plan: Plan, _ authority: String, _ path: String, listener: Int32 = 0
  ) -> Int32? {
    Array(authority.utf8).withUnsafeBytes { authority in
      Array(path.utf8).withUnsafeBytes { path in
        Router.route(plan.routes, listener: listener, authority: authority, path: path)
      }
    }
  }

  @Test("the first matching route wins")
  func firstMatch() {
    let plan = plan([
      RouteConfiguration(path: .prefix("/api"), upstream: 1), RouteConfiguration(upstream: 2),
      RouteConfiguration(path: .prefix("/api"), upstream: 3),
    ])
    #expect(route(plan, "a", "/api/x") == 1)
    #expect(route(plan, "a", "/x") == 2)
  }

  @Test(
    "a prefix is whole segments",
    arguments: [
      ("/api", true), ("/api/", true), ("/api/x", true), ("/apis", false), ("/ap", false),
      ("/x/api", false), ("/", false),
    ])
  func prefix(path: String, matches: Bool) {
    let plan = plan([RouteConfiguration(path: .prefix("/api"), upstream: 1)])
    #expect(route(plan, "a", path) == (matches ? 1 : nil))
  }

  @Test(
    "an exact path is the whole path",
    arguments: [("/x", true), ("/x/", false), ("/", false), ("/xy", false)])
  func exact(path: String, matches: Bool) {
    let plan = plan([RouteConfiguration(path: .exact("/x"), upstream: 1)])
    #expect(route(plan, "a", path) == (matches ? 1 : nil))
  }

  @Test(
    "a host is compared without case and without its port",
    arguments: [
      ("shop.example", true), ("SHOP.Example", true), ("shop.example:8443", true),
      ("shop.example:", true), ("xshop.example", false), ("shop.example.org", false),
      ("", false), (":80", false),
    ])
  func host(authority: String, matches: Bool) {
    let plan = plan([RouteConfiguration(host: "shop.example", upstream: 1)])
    #expect(route(plan, authority, "/") == (matches ? 1 : nil))
  }

  @Test(
    "a wildcard stands for at least one label",
    arguments: [
      ("a.example", true), ("a.b.example", true), ("example", false), (".example", false),
      ("aexample", false), ("a.example:80", true),
    ])
  func wildcard(authority: String, matches: Bool) {
    let plan = plan([RouteConfiguration(host: "*.example", upstream: 1)])
    #expect(route(plan, authority, "/") == (matches ? 1 : nil))
  }

  @Test("an IPv6 authority keeps its colons")
  func ipv6() {
    let plan = plan([RouteConfiguration(host: "[::1]", upstream: 1)])
    #expect(route(plan, "[::1]:8080", "/") == 1)
    #expect(route(plan, "[::1]", "/") == 1)
    #expect(route(plan, "[::2]", "/") == nil)
  }

  @Test("a route of another listener does not match")
  func listener() {
    let plan = plan([RouteConfiguration(listener: 1, upstream: 1)])
    #expect(route(plan, "a", "/", listener: 0) == nil)
    #expect(route(plan, "a", "/", listener: 1) == 1)
  }
}
