// Which protocols an upstream lets through: what is read, and what is refused.

import Configuration
import Testing

@Suite("Upgrades of an upstream")
struct UpgradeTests {
  @Test("WebSocket passes unless the list says otherwise, for an hour without a byte")
  func defaults() throws {
    let upstream = try #require(load(minimal()).configuration?.upstreams[0])
    #expect(upstream.upgrades == ["websocket"])
    #expect(upstream.timeouts.tunnelNanoseconds == 3_600_000_000_000)
  }

  @Test(
    "names are read in lower case; a list may be empty",
    arguments: [
      ("[]", []), ("[WebSocket]", ["websocket"]), ("[tcp, websocket]", ["tcp", "websocket"]),
      ("[x!#$%&'*+-.^_`|~9]", ["x!#$%&'*+-.^_`|~9"]),
    ] as [(String, [String])])
  func names(written: String, names: [String]) {
    let result = load(minimal(upstream: "upgrades: \(written)"))
    #expect(result.problems == [])
    #expect(result.configuration?.upstreams[0].upgrades == names)
  }

  @Test(
    "what would carry HTTP past the routes is refused by name",
    arguments: ["h2c", "H2C", "h2", "h3", "HTTP"])
  func namesOfHTTP(written: String) throws {
    let found = load(minimal(upstream: "upgrades: [websocket, \(written)]")).problems
    #expect(found.count == 1)
    let problem = try #require(found.first)
    #expect(problem.location.keyPath == "upstreams.web.upgrades[1]")
    #expect(problem.message.contains("never forwarded"))
  }

  @Test(
    "what is no list of names is refused",
    arguments: [
      "websocket", "true", "[\"a b\"]", "[websocket/13]", "[websocket, WEBSOCKET]", "[\"\"]",
      "[{}]",
      "[a, b, c, d, e, f, g, h, i]", "[é]",
    ])
  func wrong(written: String) {
    let found = load(minimal(upstream: "upgrades: \(written)")).problems
    #expect(found.count == 1, "\(found)")
    #expect(found.first?.location.keyPath.hasPrefix("upstreams.web.upgrades") == true)
  }
}
