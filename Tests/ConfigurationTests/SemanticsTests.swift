// The keys that decide what is said between the hops: via, underscores, default_host; and hosts with
// a trailing dot.

import Configuration
import Testing

@Suite("Keys of forwarding")
struct SemanticsTests {
  @Test(
    "via is on, off or a name",
    arguments: [
      ("", ViaSetting.standard), ("via: on", .standard), ("via: off", .off),
      ("via: true", .standard),
      ("via: false", .off), ("via: edge-1", .pseudonym("edge-1")), ("via: \"on\"", .standard),
      ("via: \"a.example:80\"", .pseudonym("a.example:80")),
      ("via: \"[::1]:80\"", .pseudonym("[::1]:80")), ("via: \"7\"", .pseudonym("7")),
    ])
  func via(line: String, setting: ViaSetting) throws {
    let result = load(minimal(line))
    #expect(result.problems == [])
    #expect(try #require(result.configuration).via == setting)
  }

  @Test(
    "via rejects invalid names",
    arguments: [
      (
        "via: a b",
        "via (m.yaml:3:6): is the text \"a b\""
      ), ("via: \"a,b\"", "via (m.yaml:3:6): is \"a,b\""), ("via: 7", "via (m.yaml:3:6): is"),
      ("via: \"(a)\"", "via (m.yaml:3:6): is \"(a)\""), ("via: \"\"", "via (m.yaml:3:6): is"),
      ("via: [on]", "via (m.yaml:3:6): is a list"),
    ])
  func wrongVia(line: String, start: String) {
    let found = lines(minimal(line))
    #expect(found.count == 1)
    let plain = start.replacing("is the text ", with: "is ")
    #expect(found.first?.hasPrefix(plain) == true, "\(found)")
  }

  @Test(
    "a name for Via has at most 128 bytes", arguments: [(127, true), (128, true), (129, false)])
  func longVia(count: Int, passes: Bool) {
    let found = lines(minimal("via: " + String(repeating: "v", count: count)))
    #expect(found.isEmpty == passes)
  }

  @Test(
    "a listener serves HTTP/1.1, with TLS HTTP/2 before it, or what it says, in that order",
    arguments: [
      ("", [HTTPVersionChoice.http11]), ("http_versions: [h2]", [.http2]),
      ("tls: {certificates: [{certificate: c.pem, key: k.pem}]}", [.http2, .http11]),
      (
        "tls: {certificates: [{certificate: c.pem, key: k.pem}]}, http_versions: [http/1.1]",
        [.http11]
      ),
      ("http_versions: [h2, http/1.1]", [.http2, .http11]),
      ("http_versions: [http/1.1, h2]", [.http11, .http2]),
    ])
  func versions(text: String, versions: [HTTPVersionChoice]) throws {
    let result = load(minimal(listener: text))
    #expect(result.problems == [])
    #expect(try #require(result.configuration).listeners[0].httpVersions == versions)
  }

  @Test("underscores pass or are dropped")
  func underscores() throws {
    for (text, policy) in [("", UnderscorePolicy.pass), ("underscores: drop", .drop)] {
      let result = load(minimal(listener: text))
      #expect(result.problems == [])
      #expect(try #require(result.configuration).listeners[0].underscores == policy)
    }
    let found = lines(minimal(listener: "underscores: keep"))
    #expect(found.count == 1 && found[0].contains("(pass or drop)"))
  }

  @Test(
    "default_host is a host with or without a port",
    arguments: [
      "shop.example", "shop.example:8080", "10.0.0.1", "10.0.0.1:80", "\"[::1]\"", "\"[::1]:80\"",
      "localhost",
    ])
  func defaultHost(text: String) throws {
    let result = load(minimal(upstream: "default_host: \(text)"))
    #expect(result.problems == [])
    let host = text.replacing("\"", with: "")
    #expect(try #require(result.configuration).upstreams[0].defaultHost == host)
  }

  @Test(
    "default_host rejects values that are not valid in a Host field",
    arguments: [
      "\":80\"", "a b", "http://a", "\"::1\"", "a/b", "\"a:\"", "unix:/x", "a..b", "\"a\\nb\"",
      "a:80:90", "\"a:99999\"",
    ])
  func wrongDefaultHost(text: String) {
    #expect(lines(minimal(upstream: "default_host: \(text)")).count == 1)
  }

  @Test(
    "a trailing dot in a route's host is ignored",
    arguments: [
      ("shop.example.", "shop.example"), ("\"*.Example.\"", "*.example"), ("a", "a"),
    ])
  func trailingDot(text: String, host: String) throws {
    let result = load(minimal("routes: [{match: {host: \(text)}, upstream: web}]"))
    #expect(result.problems == [])
    #expect(try #require(result.configuration).routes[0].host == host)
  }

  @Test("two dots at its end, or nothing but one, are refused", arguments: ["a..", "."])
  func wrongDots(text: String) {
    #expect(lines(minimal("routes: [{match: {host: \"\(text)\"}, upstream: web}]")).count == 1)
  }
}
