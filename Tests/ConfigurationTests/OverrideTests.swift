// Values that replace those of the file: where they go, that they are checked like the file's, and
// that a way that leads nowhere is said.

import Configuration
import Testing

@Suite("Overrides")
struct OverrideTests {
  static func load(_ text: String, _ arguments: [String]) -> LoadResult {
    let overrides = arguments.map { Override(argument: $0)! }
    return ProxyConfiguration.load(
      bytes: Array(text.utf8), file: "m.yaml", overrides: overrides, environment: { _ in nil })
  }

  @Test("they replace what is written and add what is not")
  func replace() throws {
    let result = Self.load(
      minimal("engine: epoll\naudit: {directory: /srv/a, durability: none}"),
      [
        "engine={kind: io_uring, sqpoll: true}", "listeners[0].address=\"[::1]:0\"",
        "audit.directory=/srv/b", "upstreams.web.servers=[127.0.0.1:1, 127.0.0.1:2]", "workers=3",
      ])
    let configuration = try #require(result.configuration, "\(result.problems)")
    #expect(configuration.engine == .uring)
    #expect(configuration.engineSettings.features == ["sqpoll": true])
    #expect(configuration.listeners[0].address.description == "[::1]:0")
    #expect(configuration.audit?.directory == "/srv/b")
    #expect(configuration.audit?.durability == AuditConfiguration.Durability.none)
    #expect(configuration.upstreams[0].servers.map(\.address.description).count == 2)
    #expect(configuration.workers == .count(3))
  }

  @Test("a key may hold dots and equals signs inside quotes")
  func quotedKey() throws {
    let text = """
      listeners: [{address: "127.0.0.1:8080"}]
      upstreams: {"a.b=c": {servers: ["127.0.0.1:3000"]}}
      """
    let result = Self.load(text, ["upstreams.\"a.b=c\".idle_connections=7"])
    #expect(try #require(result.configuration).upstreams[0].idleConnections == 7)
  }

  @Test(
    "problems are reported with the flag as their location",
    arguments: [
      ("listeners[3].name=x", "listeners[3].name (--set): has index 3, but the list has length 1"),
      ("engine.kind=epoll", "engine.kind (--set): looks for the key \"kind\" in the text \"auto\""),
      ("engine={kind: epol}", "engine.kind (--set): is "),
      ("workerz=2", "workerz (--set): is not a key of a configuration; did you mean workers?"),
      ("workers=0", "workers (--set): is 0"),
      ("[0]=1", "[0] (--set): is not a valid path"),
      ("workers=[1", "workers (--set): has a value that is not valid YAML"),
    ])
  func problems(argument: String, start: String) {
    let result = Self.load(minimal("engine: auto"), [argument])
    #expect(result.configuration == nil)
    #expect(
      result.problems.contains { $0.description.hasPrefix(start) },
      "\(result.problems.map(\.description))")
  }

  @Test("an argument without a path or an equals sign is none", arguments: ["", "=4", "workers"])
  func noOverride(argument: String) {
    #expect(Override(argument: argument) == nil)
  }
}
