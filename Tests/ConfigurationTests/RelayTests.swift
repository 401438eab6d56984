// Listeners whose connections are passed on as they are: what is read, and what is refused.

import Configuration
import Testing

private func document(_ listener: String, _ extra: String = "") -> String {
  """
  listeners: [{address: "127.0.0.1:8080", \(listener)}]
  upstreams: {a: {servers: ["127.0.0.1:1"]}, b: {servers: ["127.0.0.1:2"]}}
  \(extra)
  """
}

@Suite("Listeners that relay")
struct RelayTests {
  @Test("an upstream, and names that choose another one")
  func all() throws {
    let result = load(
      document(
        "protocol: relay, upstream: a, sni: [{name: Shop.Example., upstream: b},"
          + " {name: \"*.x.y\", upstream: a}]"))
    #expect(result.problems == [])
    let configuration = try #require(result.configuration)
    let relay = try #require(configuration.listeners[0].relay)
    #expect(relay.upstream == 0)
    #expect(relay.names.map(\.name) == ["shop.example", "*.x.y"])
    #expect(relay.names.map(\.upstream) == [1, 0])
    // No listener speaks HTTP, so that no route is needed.
    #expect(configuration.routes == [])
  }

  @Test("names alone are enough, and an upstream alone")
  func parts() throws {
    let byName = load(document("protocol: relay, sni: [{name: x.y, upstream: b}]")).configuration
    let relay = try #require(byName?.listeners[0].relay)
    #expect(relay.upstream == nil && relay.names.count == 1)
    #expect(load(minimal(listener: "protocol: relay, upstream: web")).problems == [])
    #expect(load(minimal()).configuration?.listeners[0].relay == nil)
  }

  @Test("an upstream that no name leads to is a warning")
  func unused() {
    let found = load(document("protocol: relay, upstream: a")).problems
    #expect(found.map(\.location.keyPath) == ["upstreams.b"])
    #expect(found.map(\.severity) == [.warning])
  }

  @Test(
    "what does not fit together is refused where it stands",
    arguments: [
      ("protocol: relay", "listeners[0]"),
      ("protocol: relay, upstream: c", "listeners[0].upstream"),
      ("protocol: relay, upstream: a, http_versions: [h2]", "listeners[0].http_versions"),
      ("protocol: relay, upstream: a, underscores: drop", "listeners[0].underscores"),
      (
        "protocol: relay, upstream: a, tls: {certificates: [{certificate: a, key: b}]}",
        "listeners[0].tls"
      ),
      ("protocol: relay, sni: [{name: x.y, upstream: c}]", "listeners[0].sni[0].upstream"),
      ("protocol: relay, sni: [{name: \"x:1\", upstream: a}]", "listeners[0].sni[0].name"),
      ("protocol: relay, sni: [{name: x.y}]", "listeners[0].sni[0].upstream"),
      (
        "protocol: relay, sni: [{name: x.y, upstream: a}, {name: X.y, upstream: b}]",
        "listeners[0].sni[1].name"
      ),
      ("protocol: relay, sni: []", "listeners[0].sni"),
    ])
  func wrong(listener: String, keyPath: String) {
    let found = load(document(listener)).problems.filter { $0.severity == .error }
    #expect(found.map(\.location.keyPath) == [keyPath], "\(found)")
  }

  @Test("the keys of a relay say what they are for on a listener of HTTP")
  func onHTTP() {
    let routes = "routes: [{match: {path: /a}, upstream: a}, {upstream: b}]"
    for listener in ["upstream: a", "sni: [{name: x.y, upstream: a}]"] {
      let found = load(document(listener, routes)).problems
      #expect(found.count == 1)
      #expect(found.first?.message.contains("protocol: relay only") == true)
    }
  }
}
