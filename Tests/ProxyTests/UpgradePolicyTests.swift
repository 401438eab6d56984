import Configuration
import HTTP
import HTTP1
import MillraceEngine
import Testing

@testable import Proxy

@Suite("What becomes of offers to switch protocols")
struct UpgradePolicyTests {
  private func choose(_ allowed: [String], _ head: String) -> UpgradeChoice? {
    var upstream = UpstreamConfiguration(
      name: "u", servers: [ServerConfiguration(address: .ip(host: "127.0.0.1", port: 1))])
    upstream.upgrades = allowed
    let listener = EndpointAddress.ip(host: "127.0.0.1", port: 2)
    let address = SocketAddress(unixPath: "/nowhere")!
    let plan = lastingPlan(
      ProxyConfiguration(
        listeners: [ListenerConfiguration(name: "a", address: listener)],
        routes: [RouteConfiguration(upstream: 0)], upstreams: [upstream]),
      listenerAddresses: [address], serverAddresses: [[[address]]], contexts: [nil])
    var parsed = RequestHead(fieldCapacity: 100)
    return Array("GET / HTTP/1.1\r\nHost: a\r\n\(head)\r\n\r\n".utf8).withUnsafeBytes { bytes in
      guard case .complete = parsed.parse(bytes, limits: HeadLimits()) else { return nil }
      return UpgradePolicy.choose(parsed.view(in: bytes), plan.upstreams[0])
    }
  }

  @Test("the first of the upstream's protocols that is offered is allowed")
  func allowed() {
    let offer = "Connection: Upgrade\r\nUpgrade: h2c, tcp, WebSocket/13"
    #expect(choose(["websocket"], offer) == .allowed(0))
    #expect(choose(["x", "websocket", "tcp"], offer) == .allowed(1))
    #expect(choose(["tcp"], offer) == .allowed(0))
  }

  @Test("what is not allowed is ignored, and a WebSocket refused")
  func others() {
    #expect(choose([], "Connection: Upgrade\r\nUpgrade: websocket") == .refused)
    #expect(choose(["tcp"], "Connection: Upgrade\r\nUpgrade: a, websocket") == .refused)
    #expect(choose(["websocket"], "Connection: Upgrade\r\nUpgrade: tcp") == .ignored)
    #expect(choose(["websocket"], "Connection: close\r\nUpgrade: websocket") == .ignored)
  }
}
