// A name and the same name with the dot that makes it absolute are one to a route.

import Configuration
import MillraceEngine
import Testing

@testable import Proxy

@Suite("Hosts with a trailing dot")
struct HostRoutingTests {
  private func route(_ host: String, _ authority: String) -> Bool {
    let server = ServerConfiguration(address: .ip(host: "127.0.0.1", port: 1))
    let configuration = ProxyConfiguration(
      listeners: [
        ListenerConfiguration(name: "a", address: EndpointAddress.ip(host: "127.0.0.1", port: 2))
      ],
      routes: [RouteConfiguration(host: host, upstream: 0)],
      upstreams: [UpstreamConfiguration(name: "u", servers: [server])])
    let address = SocketAddress(unixPath: "/nowhere")!
    let plan = lastingPlan(
      configuration, listenerAddresses: [address], serverAddresses: [[[address]]], contexts: [nil])
    return Array(authority.utf8).withUnsafeBytes { authority in
      Array("/".utf8).withUnsafeBytes { path in
        Router.route(plan.routes, listener: 0, authority: authority, path: path) != nil
      }
    }
  }

  @Test(
    "one dot is no part of the name",
    arguments: [
      ("shop.example", "shop.example.", true), ("shop.example", "SHOP.example.:8080", true),
      ("shop.example", "shop.example..", false), ("shop.example", "shop.example.:", true),
      ("*.example", "a.example.", true), ("*.example", "example.", false),
      ("*.example", ".example.", false), ("[::1]", "[::1]", true), ("10.0.0.1", "10.0.0.1.", true),
      ("shop.example", ".", false), ("shop.example", "", false), ("shop.example", ".:80", false),
    ])
  func dots(host: String, authority: String, matches: Bool) {
    #expect(route(host, authority) == matches)
  }
}
