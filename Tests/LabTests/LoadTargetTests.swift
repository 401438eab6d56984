// URLs of the command line: what is understood, and what is said about the rest.

import Lab
import Testing

@Suite struct LoadTargetTests {
  @Test(arguments: [
    ("http://127.0.0.1:8080/a?b=1", false, "127.0.0.1", 8080, "/a?b=1", "127.0.0.1:8080"),
    ("https://Shop.Example", true, "shop.example", 443, "/", "shop.example"),
    ("https://shop.example:443/x", true, "shop.example", 443, "/x", "shop.example"),
    ("http://[::1]:81?q", false, "::1", 81, "/?q", "[::1]:81"),
    ("http://[2001:db8::1]/", false, "2001:db8::1", 80, "/", "[2001:db8::1]"),
    ("localhost:3000/p#frag", false, "localhost", 3000, "/p", "localhost:3000"),
    ("HTTP://h/%20", false, "h", 80, "/%20", "h"),
  ])
  func aURLHasItsParts(
    _ text: String, _ tls: Bool, _ host: String, _ port: UInt16, _ target: String,
    _ authority: String
  ) throws {
    let found = try LoadTarget(text)
    #expect(found.usesTLS == tls && found.host == host && found.port == port)
    #expect(found.target == target)
    #expect(found.authority == authority)
  }

  @Test func aUNIXSocketHasAPathAndATarget() throws {
    let found = try LoadTarget("unix:/run/app.sock:/healthz?x")
    #expect(found.socketPath == "/run/app.sock" && found.target == "/healthz?x")
    #expect(try LoadTarget("unix:/run/app.sock").target == "/")
  }

  @Test(arguments: [
    ("ftp://h/", "scheme"), ("http://", "no host"), ("http://h:0/", "port"),
    ("http://h:70000/", "port"), ("http://h:x/", "port"), ("http://::1/", "more than one colon"),
    ("http://[::1/", "unclosed"), ("http://[::1]x/", "after the bracket"),
    ("http://u:p@h/", "user"), ("http://h/a b", "0x20"), ("http://h/ä", "0xc3"),
    ("unix:run.sock", "absolute"),
  ])
  func whatIsWrongIsNamed(_ text: String, _ word: String) {
    let error = #expect(throws: LoadTarget.ParseError.self) { try LoadTarget(text) }
    #expect(error?.message.contains(word) == true, "\(String(describing: error))")
    #expect(error?.hint.isEmpty == false)
  }

  @Test func aNameThatDoesNotExistIsTheResolversError() throws {
    let target = try LoadTarget("http://does-not-exist.invalid/")
    let error = #expect(throws: LoadTarget.ParseError.self) { try target.resolve() }
    #expect(error?.message.contains("cannot be resolved") == true)
  }
}
