// A thousand changes of the plan under load, on the engines of the kernel: real sockets, a worker on a
// thread of its own, clients and a server on others.

import Configuration
import Glibc
import Logging
import MillraceEngine
import Synchronization
import Testing

@testable import Proxy

@Suite("Plans under load", .serialized)
struct PlanLoadTests {
  static let changes = 1000

  @Test(
    "clients see nothing of a thousand plans, and none of them stays in memory",
    arguments: [EngineKind.uring, .epoll])
  func thousand(_ kind: EngineKind) throws {
    let servers = [try EchoServer(), try EchoServer()]
    guard let worker = try RunningWorker(kind, servers.map(\.port)) else {
      // Only where the kernel refuses the engine altogether.
      #expect(kind == .uring)
      return
    }
    let clients = (0..<4).map { _ in LoopingClient(port: worker.port) }
    for n in 0..<Self.changes {
      try worker.replacePlan(ports: servers.map(\.port), which: n % 3)
      // As fast as the worker takes them: each of them is installed.
      worker.waitForPlan(n + 1)
    }
    // The last users of the last but one have moved once each has had another answer.
    let answers = clients.map(\.answers)
    while !zip(clients, answers).allSatisfy({ $0.answers > $1 + 2 || $0.failure != nil }) {
      usleep(1000)
    }
    // Whoever held one of them would hold its memory. (The heap itself is that of other tests too.)
    let left = worker.generations.dropLast().filter { $0.generation != nil }.count
    #expect(left == 0)
    #expect(worker.generations.last?.generation != nil)
    for client in clients {
      client.stop()
      #expect(client.failure == nil)
      #expect(client.answers > 0)
    }
    #expect(worker.plansInstalled == Self.changes)
    worker.drain()
    #expect(worker.generations.last?.generation == nil)
    for server in servers { server.stop() }
  }
}

/// Answers each request head with "ok", a connection per thread.
private final class EchoServer: Sendable {
  let port: UInt16
  private let listener: Int32
  private let thread: LoadThreads

  init() throws {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = loopback(0)
    withBytes(of: &address) { #expect(bind(socket, $0, $1) == 0) }
    #expect(listen(socket, 64) == 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        #expect(getsockname(socket, $0, &length) == 0)
      }
    }
    port = UInt16(bigEndian: address.sin_port)
    listener = socket
    let threads = LoadThreads()
    thread = threads
    threads.start {
      while true {
        let connection = accept(socket, nil, nil)
        if connection < 0 { return }
        threads.start {
          var buffer = [UInt8](repeating: 0, count: 4096)
          let answer = Array("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".utf8)
          while recv(connection, &buffer, buffer.count, 0) > 0 {
            if send(connection, answer, answer.count, Int32(MSG_NOSIGNAL)) != answer.count { break }
          }
          close(connection)
        }
      }
    }
  }

  func stop() {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
    thread.join()
  }
}

/// Sends one request after another on one connection.
private final class LoopingClient: Sendable {
  private let count = Atomic<Int>(0)
  private let stopping = Atomic<Bool>(false)
  private let problem = Mutex<String?>(nil)
  private let thread = LoadThreads()

  var answers: Int { count.load(ordering: .relaxed) }
  var failure: String? { problem.withLock { $0 } }

  init(port: UInt16) {
    thread.start { [self] in
      let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      defer { close(socket) }
      var address = loopback(port)
      var isConnected = false
      withBytes(of: &address) { isConnected = connect(socket, $0, $1) == 0 }
      guard isConnected else { return problem.withLock { $0 = "no connection" } }
      let request = Array("GET /s HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
      var buffer = [UInt8](repeating: 0, count: 4096)
      while !stopping.load(ordering: .relaxed) {
        guard send(socket, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
          return problem.withLock { $0 = "the connection ended" }
        }
        let got = recv(socket, &buffer, buffer.count, 0)
        let text = String(decoding: buffer[..<max(0, got)], as: UTF8.self)
        guard text.hasPrefix("HTTP/1.1 200 ") && text.hasSuffix("ok") else {
          return problem.withLock { $0 = "answered \(text.debugDescription)" }
        }
        count.wrappingAdd(1, ordering: .relaxed)
      }
    }
  }

  func stop() {
    stopping.store(true, ordering: .relaxed)
    thread.join()
  }
}

/// A worker of the proxy on a thread.
private final class RunningWorker {
  let port: UInt16
  private let running: ProxyConfiguration
  private let board: ControlBoard
  private let thread: WorkerThread
  private let connections: UnsafeMutablePointer<Atomic<Int>>
  private let metrics: ProxyMetrics
  /// Every plan but the first.
  private(set) var generations: [Weakly] = []

  struct Weakly {
    weak var generation: PlanGeneration?
  }

  /// nil: the kernel refuses the engine.
  init?(_ kind: EngineKind, _ ports: [UInt16]) throws {
    port = try #require(freePort())
    connections = .allocate(capacity: 1)
    connections.initialize(to: Atomic(0))
    board = ControlBoard(count: 1)
    let gate = EngineGate(count: 1)
    running = Self.configuration(port, ports)
    metrics = try ProxyMetrics(running, workers: 1)
    let parameters = WorkerParameters(
      generation: try Self.generation(running, ports, metrics), index: 0, workerCount: 1,
      options: EngineOptions(), control: board.controls, connectionCount: connections,
      logger: Logger(label: "plans") { _ in SwiftLogNoOpLogHandler() }, journal: nil, cpu: nil,
      gate: gate, counters: metrics.counters(0))
    let wakers = board.wakers
    thread = try WorkerThread.start(name: "plans", cpu: nil) {
      startWorker(kind, parameters, wakers)
    }
    guard gate.result() == nil else {
      gate.close()
      thread.join()
      return nil
    }
    gate.open()
    #expect(board.allReady())
  }

  private static func configuration(_ port: UInt16, _ ports: [UInt16]) -> ProxyConfiguration {
    var configuration = ProxyConfiguration(
      listeners: [ListenerConfiguration(address: .ip(host: "127.0.0.1", port: port))],
      routes: [RouteConfiguration(path: .prefix("/s"), upstream: 0)],
      upstreams: [
        UpstreamConfiguration(
          name: "web",
          servers: ports.map { ServerConfiguration(address: .ip(host: "127.0.0.1", port: $0)) })
      ])
    configuration.limits.connections = 64
    return configuration
  }

  private static func generation(
    _ configuration: ProxyConfiguration, _ ports: [UInt16], _ metrics: ProxyMetrics
  ) throws -> PlanGeneration {
    func address(_ port: UInt16) throws -> SocketAddress {
      try SocketAddress.resolve(host: "127.0.0.1", port: port)[0]
    }
    guard case .ip(_, let port) = configuration.listeners[0].address else {
      preconditionFailure("made above")
    }
    return PlanGeneration(
      configuration, listenerAddresses: [try address(port)],
      serverAddresses: [try ports.map { [try address($0)] }], contexts: [nil],
      metrics: metrics)
  }

  func replacePlan(ports: [UInt16], which: Int) throws {
    // One server stays, one comes and goes, and their order changes.
    let chosen = which == 0 ? ports : which == 1 ? [ports[0]] : ports.reversed()
    let wanted = Self.configuration(port, chosen)
    let refused = try Supervisor.replacePlan(of: running, with: wanted, board) {
      let generation = try Self.generation(wanted, chosen, metrics)
      generations.append(Weakly(generation: generation))
      return generation
    }
    #expect(refused.isEmpty)
  }

  var plansInstalled: Int { board.controls[0].plansInstalled.load(ordering: .relaxed) }

  func waitForPlan(_ count: Int) {
    while plansInstalled < count { sched_yield() }
  }

  func drain() {
    board.request(WorkerRequest.drain)
    thread.join()
    #expect(connections.pointee.load(ordering: .relaxed) == 0)
    board.deallocate()
    connections.deallocate()
  }
}

/// Threads that are joined together.
private final class LoadThreads: Sendable {
  private let threads = Mutex<[WorkerThread]>([])

  func start(_ body: @escaping @Sendable () -> Void) {
    if let thread = try? WorkerThread.start(name: "load", cpu: nil, body) {
      threads.withLock { $0.append(thread) }
    }
  }

  func join() {
    while let thread = threads.withLock({ $0.popLast() }) { thread.join() }
  }
}

private func loopback(_ port: UInt16) -> sockaddr_in {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = port.bigEndian
  address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
  return address
}

private func withBytes(
  of address: inout sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Void
) {
  withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
}

/// A port that was free a moment ago.
private func freePort() -> UInt16? {
  let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(socket) }
  var address = loopback(0)
  var isBound = false
  withBytes(of: &address) { isBound = bind(socket, $0, $1) == 0 }
  guard isBound else { return nil }
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      _ = getsockname(socket, $0, &length)
    }
  }
  return UInt16(bigEndian: address.sin_port)
}
