import Configuration
import MillraceEngine
import Testing

@testable import Proxy

@Suite("Where connections go that are passed on")
struct RelayRouterTests {
  private func listener(_ relay: RelayConfiguration) -> ListenerPlan {
    let server = ServerConfiguration(address: .ip(host: "127.0.0.1", port: 1))
    let upstreams = (0..<3).map { UpstreamConfiguration(name: "u\($0)", servers: [server]) }
    var listener = ListenerConfiguration(name: "a", address: .ip(host: "127.0.0.1", port: 2))
    listener.relay = relay
    let address = SocketAddress(unixPath: "/nowhere")!
    return lastingPlan(
      ProxyConfiguration(listeners: [listener], routes: [], upstreams: upstreams),
      listenerAddresses: [address], serverAddresses: Array(repeating: [[address]], count: 3),
      contexts: [nil]
    ).listeners[0]
  }

  @Test("the first name that matches, else the listener's upstream, else nowhere")
  func names() {
    let names = [
      RelayConfiguration.Name(name: "a.b", upstream: 1),
      RelayConfiguration.Name(name: "*.b", upstream: 2),
    ]
    let open = listener(RelayConfiguration(upstream: 0, names: names))
    #expect(RelayRouter.route(open, name: "a.b") == 1)
    #expect(RelayRouter.route(open, name: "x.a.b") == 2)
    #expect(RelayRouter.route(open, name: "b") == 0)
    #expect(RelayRouter.route(open, name: ".b") == 0)
    #expect(RelayRouter.route(open, name: "xb") == 0)
    #expect(RelayRouter.route(open, name: nil) == 0)
    let closed = listener(RelayConfiguration(upstream: nil, names: names))
    #expect(RelayRouter.route(closed, name: "a.b") == 1)
    #expect(RelayRouter.route(closed, name: "c") == nil)
    #expect(RelayRouter.route(closed, name: nil) == nil)
  }
}
