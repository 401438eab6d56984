// What the admin service answers, asked without a socket.

import Admin
import Configuration
import Logging
import Metrics
import MillraceEngine
import Synchronization
import Testing

@testable import Proxy

enum ProxyConfigurationSample {
  /// Two upstreams and two routes, one of a listener.
  static let two = ProxyConfiguration(
    listeners: [
      ListenerConfiguration(name: "edge", address: .ip(host: "127.0.0.1", port: 8080))
    ],
    routes: [
      RouteConfiguration(listener: 0, host: "shop.example", path: .prefix("/api"), upstream: 1),
      RouteConfiguration(path: .exact("/a"), upstream: 0), RouteConfiguration(upstream: 0),
    ],
    upstreams: [
      UpstreamConfiguration(
        name: "web", servers: [ServerConfiguration(address: .ip(host: "10.0.0.1", port: 80))]),
      UpstreamConfiguration(
        name: "api", servers: [ServerConfiguration(address: .unix(path: "/run/api.sock"))]),
    ],
    admin: AdminConfiguration())
}

@Suite("The admin service")
struct AdminServiceTests {
  private let service: AdminService
  private let metrics: ProxyMetrics

  init() throws {
    let board = ControlBoard(count: 1)
    // No worker runs: none is waited for.
    board.controls[0].finished.store(true, ordering: .releasing)
    metrics = try ProxyMetrics(ProxyConfigurationSample.two, workers: 1)
    _ = Unmanaged.passRetained(metrics.board)
    service = try AdminService(
      ProcessLife(ProxyConfigurationSample.two), metrics, board, Logger(label: "test"))
  }

  private func get(_ path: String, accept: String = "") -> AdminResponse {
    service.respond(to: AdminRequest(method: "GET", path: path, accept: accept))
  }

  private func post(_ path: String, _ content: String) -> AdminResponse {
    service.respond(to: AdminRequest(method: "POST", path: path, content: Array(content.utf8)))
  }

  @Test("readiness and the right to drain follow the process's life")
  func life() {
    #expect(get("/ready").status == 503 && get("/health").status == 200)
    #expect(post("/drain", "").status == 409)
    service.life.enter(.serving)
    #expect(get("/ready").status == 200)
    #expect(service.life.takeDrainRequest() == nil)
    #expect(service.life.askToDrain(for: .upgrade(process: 7)))
    #expect(!service.life.askToDrain())
    #expect(service.life.takeDrainRequest() == .upgrade(process: 7))
    #expect(service.life.takeDrainRequest() == nil)
    service.life.enter(.draining)
    #expect(get("/ready").status == 503 && post("/drain", "").status == 409)
    service.life.installed(ProxyConfigurationSample.two, generation: 2)
    #expect(service.life.generation == 2)
  }

  @Test("a server's state is set by upstream and address, a socket's too")
  func server() {
    #expect(post("/server", #"{"server":"api/unix:/run/api.sock","state":"drain"}"#).status == 200)
    #expect(metrics.switches.admission(upstream: "api", server: "unix:/run/api.sock") == .drain)
    #expect(metrics.switches.admission(upstream: "web", server: "10.0.0.1:80") == .up)
    for content in ["", "[]", #"{"server":1,"state":"up"}"#, #"{"server":"api"}"#] {
      #expect(post("/server", content).status == 400, "\(content)")
    }
    #expect(post("/server", #"{"server":"web/","state":"up"}"#).status == 404)
  }

  @Test("without somebody who reloads it says so")
  func reload() {
    #expect(post("/reload", "").status == 501)
  }

  @Test("metrics have no two families of one name, and no name twice with the same labels")
  func families() {
    let families = service.families()
    #expect(Set(families.map(\.name)).count == families.count)
    for family in families {
      #expect(family.name.hasSuffix("_total") == (family.kind == .counter), "\(family.name)")
      #expect(!family.help.isEmpty && family.help.hasSuffix("."), "\(family.name)")
      let labels = family.series.map { $0.labels.map { "\($0.name)=\($0.value)" } }
      #expect(Set(labels).count == labels.count, "\(family.name)")
    }
    #expect(get("/metrics").type.contains("version=0.0.4"))
    #expect(get("/metrics", accept: "application/openmetrics-text").type.contains("openmetrics"))
  }

  @Test("the status page is one document whose policy lets it load nothing")
  func page() {
    let page = get("/")
    let text = String(decoding: page.content, as: UTF8.self)
    #expect(
      page.status == 200 && page.fields[0].hasPrefix("Content-Security-Policy: default-src 'none'"))
    #expect(!text.contains("http://") || text.contains("http://www.w3.org/2000/svg"))
    #expect(!text.contains("https://") && !text.contains("innerHTML") && !text.contains("src="))
  }

  @Test("a route is named by what it matches")
  func routes() {
    let labels = ProxyConfigurationSample.two.routes.map {
      $0.label(listener: $0.listener.map { _ in "edge" })
    }
    #expect(labels == ["edge|shop.example/api/*", "*/a", "*/*"])
  }
}
