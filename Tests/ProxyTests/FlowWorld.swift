// A worker in a simulated world with one plain listener and one server, whose clients and server act
// by a test's script in virtual time. Nothing here waits for a clock of this machine.

import AuditLog
import Configuration
import Logging
import MillraceEngine
import TLS

@testable import Proxy

/// A client that gathers what it receives.
final class FlowClient {
  let peer: SimulatedPeer
  private(set) var text = ""
  private(set) var isOver = false
  var reads = true
  var onText: ((FlowClient) -> Void)?
  private var outgoing: [UInt8] = []

  fileprivate init(_ peer: SimulatedPeer) {
    self.peer = peer
    peer.onEvent = { [unowned self] peer, event in
      switch event {
      case .connected, .writable: flush()
      case .readable: if reads { take() }
      case .ended, .reset, .refused: isOver = true
      }
    }
  }

  func send(_ text: String) {
    outgoing += Array(text.utf8)
    flush()
  }

  func take(atMost limit: Int = 1 << 20) {
    text += String(decoding: peer.receive(atMost: limit), as: UTF8.self)
    onText?(self)
  }

  private func flush() {
    guard !outgoing.isEmpty else { return }
    outgoing.removeFirst(peer.send(outgoing))
  }

  /// How many times `part` has been received.
  func count(_ part: String) -> Int { text.count(of: part) }
}

extension String {
  /// How many times `part` stands in it.
  func count(of part: String) -> Int {
    let (all, needle) = (Array(utf8), Array(part.utf8))
    var count = 0
    var at = 0
    while at + needle.count <= all.count {
      if all[at] == needle[0], all[at..<(at + needle.count)].elementsEqual(needle) {
        count += 1
        at += needle.count
      } else {
        at += 1
      }
    }
    return count
  }
}

final class FlowWorld {
  let world: SimulatedWorld
  let remote = SimulatedWorkerRemote()
  private let listener: SocketAddress
  private let server: SocketAddress
  var configuration: ProxyConfiguration
  /// Bytes in a second from which on a direction of a tunnel is left to the kernel; nil: as in production.
  var passingFrom: Int?
  /// How many directions of tunnels may be at once.
  var passages = 8
  /// What the server does with bytes that have come on one of its connections.
  var serve: (FlowWorld, SimulatedPeer, String) -> Void = { flow, peer, _ in flow.answer(peer, "ok")
  }
  /// Everything that came to the server, by connection, in order of arrival.
  private(set) var arrivals: [String] = []
  private(set) var serverPeers: [SimulatedPeer] = []
  /// As long as the world, whose events they are told.
  private var clients: [FlowClient] = []
  private var unsent: [ObjectIdentifier: [UInt8]] = [:]
  /// The server reads nothing.
  var isDeaf = false
  /// What the listener's TLS sessions share; nil: clients speak plain.
  var listenerTLS: TLSContext?
  /// What the proxy believes of its servers; nil: connections to them are plain.
  var upstreamTLS: TLSClientContext?
  /// Called for each new connection to a server, instead of what the world does with it.
  var onServerPeer: ((SimulatedPeer) -> Void)?
  /// Ports where nobody listens, which are addresses of each server before its own.
  var deadPorts: [Int] = []
  /// Ports of servers beside the usual one.
  var morePorts: [Int] = []

  init(seed: UInt64 = 1, _ conditions: SimulatedConditions = .calm) throws {
    world = SimulatedWorld(seed: seed, conditions)
    listener = try SocketAddress.resolve(host: "127.0.0.1", port: 8080)[0]
    server = try SocketAddress.resolve(host: "127.0.0.1", port: 3000)[0]
    configuration = ProxyConfiguration(
      listeners: [ListenerConfiguration(address: .ip(host: "127.0.0.1", port: 8080))],
      routes: [RouteConfiguration(path: .prefix("/s"), upstream: 0)],
      upstreams: [
        UpstreamConfiguration(
          name: "web", servers: [ServerConfiguration(address: .ip(host: "127.0.0.1", port: 3000))])
      ])
    configuration.limits.connections = 64
  }

  /// The server answers, and sends what does not fit when there is room.
  func answer(_ peer: SimulatedPeer, _ body: String) {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
    unsent[ObjectIdentifier(peer), default: []] += Array(text.utf8)
    flush(peer)
  }

  private func flush(_ peer: SimulatedPeer) {
    guard let bytes = unsent[ObjectIdentifier(peer)], !bytes.isEmpty else { return }
    unsent[ObjectIdentifier(peer)] = Array(bytes.dropFirst(peer.send(bytes)))
  }

  static func get(_ path: String) -> String { "GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n" }
  static func post(_ path: String) -> String {
    "POST \(path) HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
  }

  /// A world in which a receive that is stopped goes on until the next turn, as a ring's does.
  static var likeARing: SimulatedConditions {
    var conditions = SimulatedConditions.calm
    conditions.slowCancellations = 1000
    conditions.latency = 20_000...20_000
    return conditions
  }

  /// A connection to the listener, for whoever speaks on it.
  func dial() -> SimulatedPeer { world.connect(to: listener) }

  func connect(to address: SocketAddress? = nil) -> FlowClient {
    let client = FlowClient(world.connect(to: address ?? listener))
    clients.append(client)
    return client
  }

  /// A client that says what it does with what it receives.
  func connectPeer() -> SimulatedPeer { world.connect(to: listener) }

  func after(_ nanoseconds: Int64, _ body: @escaping () -> Void) { world.after(nanoseconds, body) }

  /// Runs the worker; `script` begins when connections are accepted and ends it by `remote.drain()`.
  /// - Returns: what the worker held at its end; nil if it could not listen.
  func run(_ script: @escaping () -> Void) -> WorkerAccount? {
    listen(server)
    for port in morePorts { listen(address(port)) }
    var parts = self.parts
    parts.whenReady = script
    let account = SimulatedWorker.run(parts, world, remote)
    world.advance(by: 1_000_000_000)
    return account
  }

  private func address(_ port: Int) -> SocketAddress {
    // TRAP: an address in digits is always resolved.
    try! SocketAddress.resolve(host: "127.0.0.1", port: UInt16(port))[0]
  }

  /// What the worker is made from, and what a plan that takes the place of another is.
  var parts: SimulatedWorkerParts {
    var options = EngineOptions()
    options.frames = 512
    options.relays = passages
    let servers = configuration.upstreams.map { upstream in
      upstream.servers.map { server in
        guard case .ip(_, let port) = server.address else { return [self.server] }
        return deadPorts.map { address($0) } + [address(Int(port))]
      }
    }
    var parts = SimulatedWorkerParts(
      configuration: configuration, listeners: [listener], servers: servers,
      contexts: [listenerTLS], options: options,
      logger: Logger(label: "flow") { _ in SwiftLogNoOpLogHandler() },
      run: RunIdentity(high: 1, low: 1), recovered: RecoveredLog())
    parts.passingFrom = passingFrom
    parts.clientContexts = configuration.upstreams.map { _ in upstreamTLS }
    return parts
  }

  private func listen(_ address: SocketAddress) {
    world.listen(address) { [unowned self] peer in
      serverPeers.append(peer)
      if let onServerPeer { return onServerPeer(peer) }
      peer.onEvent = { [unowned self] peer, event in
        if event == .writable { flush(peer) }
        guard event == .readable, !isDeaf else { return }
        let text = String(decoding: peer.receive(), as: UTF8.self)
        arrivals.append(text)
        serve(self, peer, text)
      }
    }
  }

  /// Looks at the worker again and again until `isOver` is true of it, then calls `body`.
  func until(
    _ gap: Int64 = 10_000_000, _ isOver: @escaping (WorkerAccount) -> Bool,
    _ body: @escaping (WorkerAccount) -> Void
  ) {
    remote.ask { [unowned self] account in
      if isOver(account) { return body(account) }
      after(gap) { [unowned self] in until(gap, isOver, body) }
    }
  }
}
