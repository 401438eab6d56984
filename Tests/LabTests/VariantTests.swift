// Variants as they are written on a command line, and what becomes of them in the configuration.

import Configuration
import Testing

@testable import Lab

@Suite struct VariantTests {
  private func one(_ text: String) throws -> Variant { try Variant.list(text)[0] }

  @Test func anEngineAlone() throws {
    for engine in ["auto", "io_uring", "epoll"] {
      let variant = try one(engine)
      #expect(variant.name == engine && variant.engine == engine)
      #expect(variant.program == nil && variant.options.isEmpty)
      #expect(variant.overrides.map(\.path) == ["engine"])
      #expect(variant.overrides.map(\.value) == ["{kind: \(engine)}"])
    }
  }

  @Test func optionsAreSetUnsetAndGivenValues() throws {
    let variant = try one("io_uring+sqpoll-zero_copy_send+batch_completions=16")
    #expect(
      variant.options == [
        .init(name: "sqpoll", value: "true"), .init(name: "zero_copy_send", value: "false"),
        .init(name: "batch_completions", value: "16"),
      ])
    #expect(
      variant.overrides.map(\.value) == [
        "{kind: io_uring, sqpoll: true, zero_copy_send: false, batch_completions: 16}"
      ])
    #expect(variant.name == "io_uring+sqpoll-zero_copy_send+batch_completions=16")
  }

  @Test(arguments: Array(Variant.otherNames))
  func whatPeopleCallAnOptionIsItsName(_ pair: (key: String, value: String)) throws {
    #expect(try one("io_uring+\(pair.key)").options[0].name == pair.value)
    #expect(try one("io_uring-\(pair.value)").options[0].name == pair.value)
  }

  @Test func someOptionsAreTheConfigurationsOwn() throws {
    let overrides = try one("epoll+workers=2+sqpoll+pin").overrides
    #expect(overrides.map(\.path) == ["engine", "workers", "pin"])
    #expect(overrides.map(\.value) == ["{kind: epoll, sqpoll: true}", "2", "true"])
  }

  @Test func anotherBuildIsNamedByItsFile() throws {
    let variant = try one("io_uring@/opt/old-1.2/millrace+sqpoll")
    #expect(variant.program == "/opt/old-1.2/millrace")
    #expect(variant.name == "io_uring@millrace+sqpoll")
    #expect(variant.options.map(\.name) == ["sqpoll"])
  }

  @Test func whatComesAgainGetsANumber() throws {
    let list = try Variant.list("epoll, io_uring,epoll ,epoll,io_uring@/a/m,io_uring@/b/m")
    #expect(
      list.map(\.name) == [
        "epoll", "io_uring", "epoll#2", "epoll#3", "io_uring@m", "io_uring@m#2",
      ])
    #expect(Set(list.map(\.name)).count == list.count)
    #expect(list[2].overrides.map(\.value) == list[0].overrides.map(\.value))
  }

  @Test(arguments: [
    ("", "is not a valid engine"), ("epoll,", "is not a valid engine"),
    ("kqueue", "\"kqueue\" is not a valid engine"),
    ("+sqpoll", "is not a valid engine"), ("Epoll", "is not a valid engine"),
    ("epoll#2", "is not a valid engine"),
    ("io_uring+", "the invalid option \"+\""), ("io_uring++sqpoll", "option \"+\""),
    ("io_uring-", "option \"-\""), ("io_uring-sqpoll=1", "option \"-sqpoll=1\""),
    ("io_uring+=3", "option \"+=3\""), ("io_uring@", "has no program after @"),
    ("io_uring@+sqpoll", "has no program after @"),
  ])
  func whatCannotBeReadIsNamed(_ text: String, _ words: String) {
    do {
      _ = try Variant.list(text)
      Issue.record("\"\(text)\" was read")
    } catch {
      #expect(error.status == 2)
      #expect(error.what.hasPrefix("--variants: ") && error.what.contains(words), "\(error)")
      #expect(!error.hint.isEmpty)
    }
  }

  /// The option's words are the configuration's to check, and it says where they came from.
  @Test func theConfigurationChecksWhatAVariantSets() throws {
    let text = """
      listeners: [{address: "127.0.0.1:8080"}]
      upstreams: {a: {servers: ["127.0.0.1:3000"]}}
      """
    func load(_ variant: String) throws -> Configuration.LoadResult {
      ProxyConfiguration.load(
        bytes: Array(text.utf8), file: "m.yaml", overrides: try one(variant).overrides,
        environment: { _ in nil })
    }
    let good = try load("io_uring+sqpoll+workers=3")
    let configuration = try #require(good.configuration, "\(good.problems)")
    #expect(configuration.engine == .uring && configuration.workers == .count(3))
    #expect(configuration.engineSettings.features == ["sqpoll": true])
    for bad in [
      "io_uring+sqpol", "io_uring+sqpoll=perhaps", "io_uring+workers=-1", "epoll+sqpoll+sqpoll",
    ] {
      let result = try load(bad)
      #expect(result.configuration == nil, "\(bad)")
      #expect(!result.problems.isEmpty)
    }
  }
}
