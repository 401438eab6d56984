// What the load asks and of which listener, and how that is refused; the texts that go into a
// configuration.

import Configuration
import Glibc
import Testing

@testable import Lab

@Suite struct SetupTests {
  private static let text = """
    listeners:
      - {name: plain, address: "127.0.0.1:8080"}
      - {name: other, address: "127.0.0.1:8081"}
    upstreams: {web: {servers: ["127.0.0.1:3000"]}, "a.b": {servers: ["127.0.0.1:3001"]}}
    routes: [{match: {path: /}, upstream: web}]
    """

  /// A setup over a file that is there for the time of the test.
  private func setup(_ text: String = Self.text, origin: String? = nil) throws -> Setup {
    let path = "/tmp/millrace-setup-tests.\(getpid()).\(UInt32.random(in: 0 ... .max)).yaml"
    try TextFile.write(path, text)
    defer { unlink(path) }
    return try Setup.given(path, origin: origin)
  }

  private func asked(_ urls: String...) throws -> Setup {
    var setup = try setup()
    try setup.ask(urls)
    return setup
  }

  @Test func nothingAsksForTheRootOfTheFirstListener() throws {
    let setup = try asked()
    #expect(setup.paths == ["/"] && setup.listener == 0 && setup.host == nil)
    #expect(setup.urls(port: 99) == ["http://127.0.0.1:99/"])
  }

  @Test func aURLChoosesListenerAndHost() throws {
    let setup = try asked("http://shop.example:8081/a?b=c#d", "http://shop.example:8081/e")
    #expect(setup.listener == 1 && setup.host == "shop.example:8081")
    #expect(setup.paths == ["/a?b=c", "/e"])
    // A port that nobody has is the first listener's.
    let first = try asked("http://shop.example/a")
    #expect(first.listener == 0 && first.host == "shop.example")
  }

  @Test(arguments: [
    ("ftp://h/", "neither a path nor a URL"), ("", "neither a path nor a URL"),
    ("a/b", "neither a path nor a URL"), ("http://h:x/", "has an invalid port"),
    ("http://h:65536/", "has an invalid port"), ("http://h:0/", "has an invalid port"),
    ("http://h:/", "has an invalid port"), ("https://h/", "no listener of"),
  ])
  func whatCannotBeAskedIsNamed(_ url: String, _ words: String) throws {
    var setup = try setup()
    do {
      try setup.ask(["/good", url])
      Issue.record("\(url) was taken")
    } catch {
      #expect(error.status == 2 && error.what.hasPrefix("--url \(url)"), "\(error)")
      #expect(error.what.contains(words) && !error.hint.isEmpty, "\(error)")
    }
  }

  @Test(arguments: [
    ["http://a.example/", "http://b.example/"],
    ["http://127.0.0.1:8080/", "http://127.0.0.1:8081/"],
    ["http://a.example/", "/b"],
  ])
  func oneComparisonHasOneListenerAndHost(_ urls: [String]) throws {
    var setup = try setup()
    do {
      try setup.ask(urls)
      Issue.record("\(urls) were taken")
    } catch {
      #expect(error.status == 2)
      #expect(error.what == "--url \(urls[1]) has another listener or host than the first one")
    }
  }

  @Test(
    arguments: [
      ("http://127.0.0.1:8080/x", false, 8080, nil, "/x"), ("http://[::1]:81", false, 81, nil, "/"),
      ("http://localhost?q", false, 80, nil, "/?q"),
      ("https://[2001:db8::1]/", true, 443, "[2001:db8::1]", "/"),
      ("https://h.example:8443", true, 8443, "h.example:8443", "/"), ("/p?q", nil, 0, nil, "/p?q"),
    ] as [(String, Bool?, UInt16, String?, String)])
  func urlsHaveParts(_ text: String, _ tls: Bool?, _ port: UInt16, _ host: String?, _ path: String)
    throws
  {
    let url = try AskedURL(text)
    #expect(url.usesTLS == tls && url.port == port && url.fieldHost == host && url.path == path)
  }

  // MARK: The configuration

  @Test func upstreamsGiveWayToAnOrigin() throws {
    let own = try setup()
    #expect(own.overrides.isEmpty && own.workload.description.contains("its own upstreams"))
    let replaced = try setup(origin: "127.0.0.1:4567")
    let servers = replaced.configuration.upstreams.flatMap(\.servers).map(\.address.description)
    #expect(servers == ["127.0.0.1:4567", "127.0.0.1:4567"])
    #expect(replaced.text == Self.text, "the file's text stays as it is")
  }

  @Test func aConfigurationThatIsWrongIsTheUsersToSee() throws {
    for text in ["listeners: []", "listeners: [", "engin: epoll\n" + Self.text] {
      do {
        _ = try setup(text)
        Issue.record("\(text) was taken")
      } catch let error as CompareFailure {
        #expect(error.status == 2 && error.what.contains(".yaml:"), "\(error)")
      }
    }
    do {
      _ = try Setup.given("/nonexistent/m.yaml", origin: nil)
      Issue.record("no file was taken")
    } catch {
      #expect(error.status == 2)
      #expect(error.what == "cannot read /nonexistent/m.yaml: No such file or directory")
    }
  }

  @Test(arguments: ["/var/tmp/a", "C:\\x", "say \"x\"", "${HOME}/$$", "tab\\t", "ümläut: [x]"])
  func anyTextIsItselfInYAML(_ text: String) throws {
    let yaml = Self.text + "\naudit: {directory: \(Setup.yaml(text))}\n"
    let result = ProxyConfiguration.load(
      bytes: Array(yaml.utf8), file: "m.yaml", overrides: [], environment: { _ in "expanded" })
    #expect(try #require(result.configuration, "\(result.problems)").audit?.directory == text)
  }

  @Test func keysAreQuotedWhereTheyMustBe() {
    #expect(Setup.key("web-1_A") == "web-1_A")
    #expect(
      Setup.key("a b") == "\"a b\"" && Setup.key("") == "\"\"" && Setup.key("a.b") == "\"a.b\"")
  }
}
