// TLS towards the servers of an upstream: what is read, what is refused, and what is warned of.

import Configuration
import Testing

@Suite("TLS of an upstream")
struct UpstreamTLSTests {
  @Test("an upstream without the key is plain; an empty mapping has every default")
  func defaults() throws {
    let plain = try #require(load(minimal()).configuration)
    #expect(plain.upstreams[0].tls == nil)
    let result = load(minimal(upstream: "tls: {}"))
    #expect(result.problems == [])
    let tls = try #require(result.configuration?.upstreams[0].tls)
    #expect(tls.verify)
    #expect(tls.caPath == nil && tls.serverName == nil && tls.certificate == nil)
    #expect(tls.minimumVersion == .tls12)
    #expect(tls.alpn == ["http/1.1"])
    #expect(tls.caLocation.keyPath == "upstreams.web.tls.ca")
  }

  @Test("every key is read, with the places of those that name files")
  func all() throws {
    let result = load(
      minimal(
        upstream: "tls: {verify: true, ca: ca.pem, server_name: API.Internal, certificate: c.pem,"
          + " key: c.key, minimum_version: 1.3, alpn: [http/1.1]}"))
    #expect(result.problems == [])
    let tls = try #require(result.configuration?.upstreams[0].tls)
    #expect(tls.caPath == "ca.pem")
    #expect(tls.caLocation.keyPath == "upstreams.web.tls.ca" && tls.caLocation.line == 2)
    #expect(tls.serverName == "api.internal")
    let pair = try #require(tls.certificate)
    #expect(pair.certificatePath == "c.pem" && pair.keyPath == "c.key")
    #expect(pair.certificateLocation.keyPath == "upstreams.web.tls.certificate")
    #expect(pair.keyLocation.keyPath == "upstreams.web.tls.key")
    #expect(tls.minimumVersion == .tls13)
  }

  @Test(
    "a server name is a host name or an address, in one spelling",
    arguments: [
      ("a.b", "a.b"), ("A", "a"), ("127.0.0.1", "127.0.0.1"), ("\"::1\"", "::1"),
      ("\"0:0:0:0:0:0:0:1\"", "::1"), ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
    ])
  func names(written: String, name: String) {
    let result = load(minimal(upstream: "tls: {server_name: \(written)}"))
    #expect(result.problems == [])
    #expect(result.configuration?.upstreams[0].tls?.serverName == name)
  }

  @Test(
    "what is no name is refused",
    arguments: [
      "a:443", "\"*.a.b\"", "https://a", "a..b", "\"a.\"", "\"[::1]\"", "unix:/a", "münchen.de",
      "1.2.3",
    ])
  func wrongNames(written: String) throws {
    let found = load(minimal(upstream: "tls: {server_name: \(written)}")).problems
    #expect(found.count == 1)
    let problem = try #require(found.first)
    #expect(problem.location.keyPath == "upstreams.web.tls.server_name")
    #expect(problem.severity == .error)
  }

  @Test(
    "one wrong value gets one line",
    arguments: [
      (
        "tls: true", "tls",
        "is true, expected a mapping (the TLS of an upstream); write for example tls: {ca: ca.pem}"
      ),
      (
        "tls: {verfy: false}", "tls.verfy",
        "is not a key of the TLS of an upstream; did you mean verify?"
      ),
      (
        "tls: {verify: no}", "tls.verify",
        "is the text \"no\", expected true or false; write for example verify: true"
      ),
      (
        "tls: {certificate: c.pem}", "tls.key",
        "is missing, but certificate needs it; add key: client.key, or remove certificate"
      ),
      (
        "tls: {key: c.key}", "tls.certificate",
        "is missing, but key needs it; add certificate: client.pem, or remove key"
      ),
      (
        "tls: {minimum_version: 1.1}", "tls.minimum_version",
        "TLS 1.1 is not supported: it is deprecated by RFC 8996; write \"1.2\" or \"1.3\""
      ),
      (
        "tls: {alpn: [h2, http/1.1]}", "tls.alpn",
        "offers h2, http/1.1, and protocol http/1.1 needs http/1.1; write [http/1.1], or remove the key"
      ),
      (
        "protocol: h2, tls: {alpn: [http/1.1]}", "tls.alpn",
        "offers http/1.1, and protocol h2 needs h2; write [h2], or remove the key"
      ),
      (
        "protocol: auto, tls: {alpn: [h2]}", "tls.alpn",
        "offers h2, and protocol auto needs h2, http/1.1; write [h2, http/1.1], or remove the key"
      ),
      (
        "protocol: auto", "protocol",
        "is auto, which is decided within TLS, and the upstream has no tls;"
          + " add tls: {}, or write http/1.1 or h2c"
      ),
      (
        "protocol: h2c, tls: {}", "protocol",
        "is h2c, which has no TLS, and the upstream has tls; write h2, or remove tls"
      ),
      (
        "tls: {alpn: [http/1.1, http/1.1]}", "tls.alpn[1]",
        "is http/1.1, which is already in the list; keep one of the two"
      ),
      (
        "tls: {alpn: [spdy]}", "tls.alpn[0]",
        "is the text \"spdy\", which is not a protocol for ALPN (http/1.1 or h2); write one of them"
      ),
      ("tls: {alpn: []}", "tls.alpn", "is empty; write at least one, for example [h2]"),
    ])
  func wrong(extra: String, key: String, expected: String) throws {
    let problems = load(minimal(upstream: extra)).problems
    #expect(problems.count == 1)
    let problem = try #require(problems.first)
    #expect(problem.location.keyPath == "upstreams.web.\(key)")
    #expect(problem.description.hasSuffix("): " + expected), "\(problem)")
  }

  @Test("without verification there is a warning, and another one where ca loses its effect")
  func unverified() {
    let result = load(minimal(upstream: "tls: {verify: false}"))
    #expect(result.configuration?.upstreams[0].tls?.verify == false)
    #expect(result.problems.map(\.severity) == [.warning])
    #expect(result.problems.first?.location.keyPath == "upstreams.web.tls.verify")
    let both = load(minimal(upstream: "tls: {ca: ca.pem, verify: false}"))
    #expect(both.configuration != nil)
    #expect(
      both.problems.map(\.location.keyPath) == ["upstreams.web.tls.ca", "upstreams.web.tls.verify"])
    #expect(both.problems.allSatisfy { $0.severity == .warning })
  }

  @Test("a server on a Unix socket needs a server name")
  func unixSocket() throws {
    func document(_ tls: String) -> String {
      "listeners: [{address: 127.0.0.1:1}]\n"
        + "upstreams: {w: {servers: [\"a.b:1\", \"unix:/run/a.sock\"], tls: {\(tls)}}}"
    }
    #expect(lines(document("server_name: a.b")) == [])
    let found = load(document("")).problems
    #expect(found.map(\.location.keyPath) == ["upstreams.w.servers[1]"])
    #expect(found.first?.message.hasPrefix("is unix:/run/a.sock, which has no host name") == true)
    // One that was refused is not reported as missing.
    #expect(load(document("server_name: a:1")).problems.count == 1)
  }
}
