// The grammar of addresses, for files and flags alike.

import Configuration
import Testing

@Suite("Addresses")
struct AddressTests {
  @Test(
    "a right address is read, and its description is read back to the same",
    arguments: [
      ("0.0.0.0:8443", EndpointAddress.ip(host: "0.0.0.0", port: 8443), "0.0.0.0:8443"),
      (":8443", .ip(host: "::", port: 8443), "[::]:8443"),
      ("[::]:8080", .ip(host: "::", port: 8080), "[::]:8080"),
      ("[0:0:0:0:0:0:0:1]:0", .ip(host: "::1", port: 0), "[::1]:0"),
      ("[2001:DB8::A]:65535", .ip(host: "2001:db8::a", port: 65535), "[2001:db8::a]:65535"),
      ("unix:/run/x.sock", .unix(path: "/run/x.sock"), "unix:/run/x.sock"),
      ("LocalHost:3000", .ip(host: "localhost", port: 3000), "localhost:3000"),
      ("my_app.internal:1", .ip(host: "my_app.internal", port: 1), "my_app.internal:1"),
    ])
  func right(text: String, expected: EndpointAddress, description: String) throws {
    let address = try EndpointAddress.parse(text)
    #expect(address == expected)
    #expect(address.description == description)
    #expect(try EndpointAddress.parse(address.description) == address)
  }

  @Test(
    "a wrong address says why",
    arguments: [
      ("", "without a port"), ("8443", "a port without a colon"), ("web", "without a port"),
      ("1.2.3.4", "without a port"), ("1.2.3.4:", "is not a valid port"),
      ("1.2.3.4:65536", "is not a valid port"), ("1.2.3.4:-1", "is not a valid port"),
      ("1.2.3.4:+1", "is not a valid port"), ("1.2.3.4:8 0", "is not a valid port"),
      ("1.2.3.4:http", "is not a valid port"), ("256.1.1.1:80", "is not a valid IPv4 address"),
      ("1.2.3:80", "is not a valid IPv4 address"), ("01.2.3.4:80", "is not a valid IPv4 address"),
      ("[::1]", "without a port"), ("[::1", "without a port"), ("[::1]8080", "without a port"),
      ("::1", "without brackets"), ("::1:8080", "without brackets"),
      ("[::g]:80", "is not a valid IPv6 address"),
      ("[fe80::1%eth0]:80", "is not a valid IPv6 address"),
      ("[1.2.3.4]:80", "is not a valid IPv6 address"), ("a:b:80", "more than one colon"),
      ("a b:80", "character \" \""), ("a..b:80", "two dots"), (".a:80", "two dots"),
      ("a.:80", "ends in a dot"), ("-a:80", "hyphen"), ("münchen.de:80", "non-ASCII"),
      ("http://a:80", "is a URL"), ("https://a", "is an https URL"), ("unix:x.sock", "absolute"),
      ("unix:", "absolute"), ("unix:/", "absolute"), ("unix:/a\u{0}b", "control character"),
      ("1.2.3.4\u{0}:80", "character"),
    ])
  func wrong(text: String, reason: String) throws {
    let error = try #require(throws: EndpointAddress.ParseError.self) {
      try EndpointAddress.parse(text)
    }
    #expect(error.message.contains(reason), "\(error.message)")
    #expect(!error.hint.isEmpty)
  }

  @Test(
    "a listener needs an IP address or a Unix socket, an upstream an address to connect to",
    arguments: [
      ("localhost:80", EndpointAddress.Role.listener, "write 127.0.0.1:80"),
      ("web.example:80", .listener, "write 0.0.0.0:80"),
      (":80", .upstream, "127.0.0.1:80"), ("0.0.0.0:80", .upstream, "127.0.0.1:80"),
      ("[::]:80", .upstream, "127.0.0.1:80"), ("10.0.0.1:0", .upstream, "10.0.0.1:3000"),
      ("[::1]:0", .upstream, "[::1]:3000"), ("web:0", .upstream, "web:3000"),
    ])
  func roles(text: String, role: EndpointAddress.Role, hint: String) throws {
    _ = try EndpointAddress.parse(text)
    let error = try #require(throws: EndpointAddress.ParseError.self) {
      try EndpointAddress.parse(text, as: role)
    }
    #expect(error.hint.contains(hint), "\(error.hint)")
  }

  @Test(
    "each role takes what the other refuses",
    arguments: [
      (":80", EndpointAddress.Role.listener), ("127.0.0.1:0", .listener),
      ("unix:/a", .listener), ("localhost:80", .upstream), ("unix:/a", .upstream),
    ])
  func rolesTake(text: String, role: EndpointAddress.Role) throws {
    #expect(try EndpointAddress.parse(text, as: role) == EndpointAddress.parse(text))
  }

  @Test("a socket path fits sockaddr_un at 106 and 107 bytes and not at 108")
  func unixPathLength() throws {
    for length in [106, 107] {
      let path = "/" + String(repeating: "s", count: length - 1)
      #expect(try EndpointAddress.parse("unix:\(path)") == .unix(path: path))
    }
    let error = try #require(throws: EndpointAddress.ParseError.self) {
      try EndpointAddress.parse("unix:/" + String(repeating: "s", count: 107))
    }
    #expect(error.message == "has a socket path of 108 bytes, but the kernel accepts 107")
  }

  @Test("labels hold 63 characters and names 253")
  func hostLength() throws {
    let label = String(repeating: "a", count: 63)
    let longest = "\(label).\(label).\(label).\(String(repeating: "a", count: 61))"
    #expect(longest.utf8.count == 253)
    _ = try EndpointAddress.parse("\(String(repeating: "a", count: 62)):1")
    _ = try EndpointAddress.parse("\(label):1")
    _ = try EndpointAddress.parse("\(longest):1")
    #expect(throws: EndpointAddress.ParseError.self) { try EndpointAddress.parse("\(label)a:1") }
    #expect(throws: EndpointAddress.ParseError.self) { try EndpointAddress.parse("\(longest)a:1") }
  }

  @Test(
    "what needs no resolving is known",
    arguments: [
      ("10.0.0.1:1", true), ("[::1]:1", true), ("unix:/a", true), ("a.example:1", false),
    ])
  func numeric(text: String, expected: Bool) throws {
    #expect(try EndpointAddress.parse(text).isNumeric == expected)
  }

  @Test(
    "two listeners cannot share what they listen on",
    arguments: [
      ("127.0.0.1:80", "127.0.0.1:80", "which another listener already uses"),
      ("[::1]:80", "[0:0::1]:80", "which another listener already uses"),
      (":80", "[::]:80", "which another listener already uses"),
      ("0.0.0.0:80", ":80", "accepts IPv4 too"), (":80", "0.0.0.0:80", "accepts IPv4 too"),
      ("unix:/a", "unix:/a", "which another listener already uses"),
    ])
  func overlaps(first: String, second: String, reason: String) throws {
    let text = """
      listeners: [{name: a, address: "\(first)"}, {name: b, address: "\(second)"}]
      upstreams: {web: {servers: ["127.0.0.1:1"]}}
      """
    let problems = load(text).problems
    #expect(problems.map(\.location.keyPath) == ["listeners[1].address"])
    #expect(problems.first?.message.contains(reason) == true, "\(problems)")
  }

  @Test(
    "neighbours are not mistaken for each other",
    arguments: [
      ("127.0.0.1:80", "127.0.0.1:81"), ("127.0.0.1:80", "127.0.0.2:80"),
      ("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "0.0.0.0:81"), ("unix:/a", "unix:/b"),
    ])
  func neighbours(first: String, second: String) {
    let text = """
      listeners: [{address: "\(first)"}, {address: "\(second)"}]
      upstreams: {web: {servers: ["127.0.0.1:1"]}}
      """
    #expect(lines(text) == [])
  }

  @Test("two listeners cannot share a name, written or not")
  func names() {
    let text = """
      listeners: [{name: a, address: ":1"}, {name: a, address: ":2"}, {name: ":1", address: ":3"}]
      upstreams: {web: {servers: ["127.0.0.1:1"]}}
      """
    #expect(
      lines(text) == [
        "listeners[1].name (m.yaml:1:46): is \"a\", which another listener already has (line 1);"
          + " give each listener a unique name"
      ])
  }
}
