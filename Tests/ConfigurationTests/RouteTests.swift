// Routes: what they match, the names in them, and the ones that no request reaches.

import Configuration
import Testing

@Suite("Routes")
struct RouteTests {
  static func document(_ routes: String) -> String {
    """
    listeners: [{name: edge, address: ":8443"}, {name: inside, address: ":8080"}]
    upstreams: {api: {servers: [a.example:1]}, web: {servers: [b.example:1]}}
    routes: [\(routes)]
    """
  }

  @Test(
    "a wrong match is reported with the reason",
    arguments: [
      ("path: api", "is \"api\", but a path must start with /; write /api"),
      ("path: /a?b", "but ? and what follows are not part of a path"),
      ("path: \"/a#b\"", "but # and what follows are not part of a path"),
      ("path: \"/a b\"", "a character that is invalid in a request target"),
      ("path: /ä", "a character that is invalid in a request target"),
      ("path: \"/a%\"", "% must be followed by two hexadecimal digits"),
      ("path: \"/a%2\"", "% must be followed by two hexadecimal digits"),
      ("path: \"/a%g0\"", "% must be followed by two hexadecimal digits"),
      ("path: /a/../b", "clients resolve . and .. segments"),
      ("path: /.", "clients resolve . and .. segments"),
      ("path: \"/api/*\"", "write path: /api, which matches everything below it"),
      ("path: \"/*\"", "write path: /, which matches everything below it"),
      ("path: /a, path_exact: /a", "conflicts with path"),
      ("path_exact: a", "but a path must start with /"),
      ("path_regex: a.*", "path_regex is not available in this version; write path"),
      ("host: \"*\"", "is \"*\", which matches every host; remove the key"),
      ("host: \"a.*.b\"", "* is allowed only as the first label"),
      ("host: \"*a.b\"", "* is allowed only as the first label"),
      ("host: \"a.example:80\"", "a host must not have a scheme, port or path"),
      ("host: http://a.example", "a host must not have a scheme, port or path"),
      ("host: a_.example..", "the host ends in a dot"),
      ("host: \"*.\"", "the host is empty"),
      ("host: 1.2.3", "is not a valid IPv4 address"),
      ("host: \"[::1\"", "a host must not have a scheme, port or path"),
      (
        "listener: egde",
        "is \"egde\", but there is no listener with this name; did you mean edge?"
      ),
      ("listener: other-one", "there is no listener with this name; known: edge, inside"),
    ])
  func wrongMatch(match: String, expected: String) {
    let found = lines(Self.document("{match: {\(match)}, upstream: web}, {upstream: api}"))
    #expect(found.count == 1, "\(found)")
    #expect(found.first?.contains(expected) == true, "\(found)")
    #expect(found.first?.hasPrefix("routes[0].match.") == true)
  }

  @Test(
    "a right match is kept in the form that a router compares",
    arguments: [
      ("path: /", nil, .any), ("path: //", nil, .any), ("path: /a", nil, .prefix("/a")),
      ("path: /a/", nil, .prefix("/a")), ("path: /%7Ea//b", nil, .prefix("/%7Ea//b")),
      ("path_exact: /", nil, .exact("/")), ("path_exact: /a/", nil, .exact("/a/")),
      ("host: A.Example", "a.example", .any), ("host: \"*.A\"", "*.a", .any),
      ("host: 10.0.0.1", "10.0.0.1", .any), ("host: \"[0::1]\"", "[::1]", .any),
      ("path: /...", nil, .prefix("/...")),
    ] as [(String, String?, PathMatch)])
  func rightMatch(match: String, host: String?, path: PathMatch) throws {
    let result = load(Self.document("{match: {\(match)}, upstream: web}, {upstream: api}"))
    let it = try #require(result.configuration, "\(result.problems)")
    #expect(it.routes[0].host == host)
    #expect(it.routes[0].path == path)
  }

  @Test(
    "an action of another version is refused by name, and not called a missing upstream",
    arguments: ["redirect", "respond", "files"])
  func actions(action: String) {
    #expect(
      lines(Self.document("{\(action): x}, {upstream: web}, {upstream: api}")) == [
        "routes[0].\(action) (m.yaml:3:11): \(action) is not available in this version;"
          + " write upstream: NAME"
      ])
  }

  @Test("a route without an upstream is rejected")
  func noUpstream() {
    #expect(
      lines(Self.document("{match: {path: /a}}")) == [
        "routes[0].upstream (m.yaml:3:10): is missing; add upstream: web"
      ])
  }

  @Test("several upstreams require routes")
  func noRoutes() {
    let text = """
      listeners: [{address: ":1"}]
      upstreams: {api: {servers: [a.example:1]}, web: {servers: [b.example:1]}}
      """
    #expect(
      lines(text) == [
        "routes (m.yaml:1:1): is missing, but is required with more than one upstream"
          + " (there are 2);"
          + " add routes: [{match: {path: /}, upstream: api}]"
      ])
  }

  @Test("an empty list of routes is not the same as none")
  func emptyRoutes() {
    #expect(
      lines(minimal("routes: []")) == [
        "routes (m.yaml:3:9): is empty; write at least one, for example [{upstream: web}]"
      ])
  }

  @Test(
    "a route that an earlier one leaves nothing for is a warning",
    arguments: [
      ("", ""), ("", "path: /a"), ("path: /a", "path: /a"), ("path: /a", "path: /a/b"),
      ("path: /a", "path_exact: /a"), ("path_exact: /a", "path_exact: /a"),
      ("host: a.b", "host: a.b"), ("host: \"*.b\"", "host: a.b"), ("host: \"*.b\"", "host: c.a.b"),
      ("host: \"*.b\"", "host: \"*.a.b\""), ("host: a.b", "host: a.b, path: /x"),
      ("listener: edge", "listener: edge"), ("path: /a", "listener: edge, path: /a"),
      ("host: A.b", "host: a.B"),
    ])
  func unreachable(first: String, second: String) {
    let result = load(
      Self.document("{match: {\(first)}, upstream: web}, {match: {\(second)}, upstream: api}"))
    let warnings = result.problems.filter { $0.location.keyPath == "routes[1]" }
    #expect(
      warnings.map(\.message) == [
        "is never reached: routes[0] (line 3) matches all of its requests"
      ])
    #expect(warnings.map(\.severity) == [.warning])
    #expect(result.configuration != nil)
  }

  @Test(
    "a route that some request reaches gives no warning",
    arguments: [
      ("path: /a", "path: /ab"), ("path: /a", ""), ("path: /a/b", "path: /a"),
      ("path_exact: /a", "path: /a"), ("host: \"*.b\"", "host: b"), ("host: \"*.b\"", "host: ab"),
      ("host: \"*.a.b\"", "host: \"*.b\""), ("host: a.b", ""), ("listener: edge", ""),
      ("listener: edge", "listener: inside"), ("host: a.b, path: /x", "host: a.b"),
      ("host: a.b", "path: /x"),
    ])
  func reachable(first: String, second: String) {
    let text = Self.document(
      "{match: {\(first)}, upstream: web}, {match: {\(second)}, upstream: api}")
    let found = load(text).problems.filter { $0.location.keyPath.hasPrefix("routes") }
    #expect(found == [])
  }

  @Test("an unused upstream and an unused listener are warnings")
  func unused() {
    #expect(
      lines(Self.document("{match: {listener: edge}, upstream: api}")) == [
        "listeners[1].address (m.yaml:1:69): warning: is not used: no route matches requests from"
          + " \"inside\"; add a route for it, or remove it",
        "upstreams.web (m.yaml:2:44): warning: is not used by any route;"
          + " add a route with upstream: web, or remove it",
      ])
  }

  @Test("a configuration made of flags can be asked for warnings too")
  func fromFlags() {
    let server = ServerConfiguration(address: .ip(host: "127.0.0.1", port: 1))
    var it = ProxyConfiguration(
      listeners: [ListenerConfiguration(address: .ip(host: "::", port: 80))],
      routes: [RouteConfiguration(upstream: 0)],
      upstreams: [UpstreamConfiguration(name: "web", servers: [server])])
    #expect(it.warnings() == [])
    #expect(it.listeners[0].name == "[::]:80")
    it.routes = []
    #expect(it.warnings().count == 2)
  }
}
