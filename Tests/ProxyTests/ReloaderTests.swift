// Asking for a reload, and what is answered: a process without workers, on a thread of its own.

import Configuration
import Glibc
import Logging
import MillraceEngine
import Synchronization
import TLS
import Testing

@testable import Proxy

@Suite("Asking for a reload")
struct ReloaderTests {
  /// A configuration that changes as a test says, and can be held while it is read.
  private final class Source: Sendable {
    let configuration: Mutex<(ProxyConfiguration?, [Problem])>
    let loads = Atomic<Int>(0)
    let gate = Mutex<Void>(())

    init(_ configuration: ProxyConfiguration) { self.configuration = Mutex((configuration, [])) }

    var source: ConfigurationSource {
      ConfigurationSource(path: nil) { [self] in
        loads.wrappingAdd(1, ordering: .relaxed)
        return gate.withLock { _ in configuration.withLock { ($0.0, $0.1) } }
      }
    }
  }

  private static func configuration(_ via: String) -> ProxyConfiguration {
    ProxyConfiguration(
      listeners: [
        ListenerConfiguration(address: .unix(path: "/tmp/millrace-reloader-\(getpid()).sock"))
      ],
      routes: [RouteConfiguration(upstream: 0)],
      upstreams: [
        UpstreamConfiguration(
          name: "web", servers: [ServerConfiguration(address: .ip(host: "127.0.0.1", port: 9))])
      ],
      via: .pseudonym(via))
  }

  private static func start(_ source: Source) throws -> Reloader {
    let running = configuration("first")
    let preflight = try #require(Preflight.run(running, binding: false).preflight)
    let tickets = TicketKeys(
      randomBytes: { $0.initializeMemory(as: UInt8.self, repeating: 1) }, now: 0)
    let metrics = try ProxyMetrics(running, workers: 1)
    let maker = PlanMaker(tickets: tickets, metrics: metrics)
    _ = maker.make(running, preflight, try maker.makeContexts(running, preflight))
    return try Reloader(
      ReloadParts(
        source: source.source, configuration: running, started: running, preflight: preflight,
        maker: maker, board: ControlBoard(count: 0),
        logger: Logger(label: "reload") { _ in SwiftLogNoOpLogHandler() }, descriptorLimit: 1024,
        users: [], notifier: nil))
  }

  private final class Answers: Sendable {
    let all = Mutex<[ReloadOutcome]>([])

    func wait(_ count: Int) -> [ReloadOutcome] {
      while all.withLock({ $0.count }) < count { usleep(1000) }
      return all.withLock { $0 }
    }

    var take: @Sendable (ReloadOutcome) -> Void {
      { outcome in self.all.withLock { $0.append(outcome) } }
    }
  }

  @Test("the answer is what came of it: in force, unchanged, rejected with the problems")
  func answers() throws {
    let source = Source(Self.configuration("first"))
    let reloader = try Self.start(source)
    let answers = Answers()
    reloader.request(reason: "test", answers.take)
    var found = answers.wait(1)
    guard case .unchanged = found[0].result else { throw Unexpected() }
    source.configuration.withLock { $0.0 = Self.configuration("second") }
    reloader.request(reason: "test", answers.take)
    found = answers.wait(2)
    guard case .installed(let changes) = found[1].result else { throw Unexpected() }
    #expect(changes == ["settings: via"])
    #expect(found[1].generation == 2 && reloader.generation == 2)
    var fixed = Self.configuration("third")
    fixed.workers = .count(7)
    source.configuration.withLock { $0.0 = fixed }
    reloader.request(reason: "test", answers.take)
    found = answers.wait(3)
    guard case .rejected = found[2].result else { throw Unexpected() }
    #expect(found[2].problems.map(\.location.keyPath) == ["workers"])
    #expect(found[2].generation == 2)
    let problem = Problem(
      location: SourceLocation(file: "m.yaml", line: 1), message: "x", hint: "y")
    source.configuration.withLock { $0 = (nil, [problem]) }
    reloader.request(reason: "test", answers.take)
    #expect(answers.wait(4)[3].problems == [problem])
    reloader.stop()
    reloader.request(reason: "test", answers.take)
    guard case .stopped = answers.wait(5)[4].result else { throw Unexpected() }
  }

  @Test("those that are asked for while one is at work are done together, once, behind it")
  func together() throws {
    let source = Source(Self.configuration("second"))
    let reloader = try Self.start(source)
    let answers = Answers()
    source.gate.withLock { _ in
      reloader.request(reason: "first", answers.take)
      while source.loads.load(ordering: .relaxed) == 0 { usleep(1000) }
      // It has read nothing yet: what is asked for now sees a later state.
      for _ in 0..<5 { reloader.request(reason: "more", answers.take) }
      source.configuration.withLock { $0.0 = Self.configuration("third") }
    }
    let found = answers.wait(6)
    #expect(source.loads.load(ordering: .relaxed) == 2)
    #expect(found.map(\.generation).allSatisfy { $0 == 2 })
    reloader.stop()
  }

  private struct Unexpected: Error {}
}
