// Bugs that the simulator found, each as a short play of its own in a calm world: the seeds that
// showed them change with the population, these do not.

import AuditLog
import Configuration
import Logging
import MillraceEngine
import Testing

@testable import Proxy

/// A worker with one plain listener and one server, and a client for it.
private final class Play {
  let world: SimulatedWorld
  private let remote = SimulatedWorkerRemote()
  private let listener: SocketAddress
  private let server: SocketAddress
  private(set) var client: SimulatedPeer?
  private(set) var received: [UInt8] = []

  init(seed: UInt64) throws {
    world = SimulatedWorld(seed: seed, .calm)
    listener = try SocketAddress.resolve(host: "127.0.0.1", port: 8080)[0]
    server = try SocketAddress.resolve(host: "127.0.0.1", port: 3000)[0]
  }

  /// Runs the worker until the client's connection has ended and the drain after it too.
  /// - Parameters:
  ///   - request: what the client sends.
  ///   - serve: what the server does with a connection on which a request has arrived.
  func run(_ request: String, serve: @escaping (SimulatedPeer) -> Void) -> WorkerAccount? {
    world.listen(server) { peer in
      peer.onEvent = { peer, event in
        if event == .readable && !peer.receive().isEmpty { serve(peer) }
      }
    }
    var configuration = ProxyConfiguration(
      listeners: [ListenerConfiguration(address: .ip(host: "127.0.0.1", port: 8080))],
      routes: [RouteConfiguration(upstream: 0)],
      upstreams: [
        UpstreamConfiguration(
          name: "web", servers: [ServerConfiguration(address: .ip(host: "127.0.0.1", port: 3000))])
      ])
    configuration.limits.connections = 8
    var options = EngineOptions()
    options.frames = 64
    var parts = SimulatedWorkerParts(
      configuration: configuration, listeners: [listener], servers: [[[server]]], contexts: [nil],
      options: options, logger: Logger(label: "play") { _ in SwiftLogNoOpLogHandler() },
      run: RunIdentity(high: 1, low: 1), recovered: RecoveredLog())
    parts.whenReady = { [unowned self] in dial(request) }
    let account = SimulatedWorker.run(parts, world, remote)
    world.advance(by: 1_000_000_000)
    return account
  }

  private func dial(_ request: String) {
    let peer = world.connect(to: listener)
    client = peer
    peer.onEvent = { [unowned self] peer, event in
      switch event {
      case .connected: _ = peer.send(Array(request.utf8))
      case .readable: received += peer.receive()
      case .ended, .reset, .refused: remote.drain()
      case .writable: break
      }
    }
  }
}

@Suite("What the simulator found")
struct SimulatedWorkerTests {
  @Test("content that the connection's end delimits is cut by a reset, and by no FIN before it")
  func cutOffContentIsReset() throws {
    for seed in 1...20 as ClosedRange<UInt64> {
      let play = try Play(seed: seed)
      // The client cannot be told the length, and the server goes away within a chunk: in the turn
      // in which the last bytes were sent, if they arrive together.
      let account = play.run("GET / HTTP/1.0\r\nHost: a\r\n\r\n") { server in
        _ = server.send(
          Array("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nhalf of it".utf8))
        server.finishSending()
      }
      let client = try #require(play.client)
      #expect(client.wasReset, "seed \(seed)")
      #expect(!client.hasEnded, "seed \(seed)")
      let ended = try #require(account)
      #expect(ended.connections == 0 && ended.exchanges == 0)
      #expect(ended.engine.framesInUse == 0 && ended.engine.leasedBuffers == 0)
    }
  }

  @Test("whole content that the connection's end delimits ends in order")
  func wholeContentEndsInOrder() throws {
    let play = try Play(seed: 1)
    _ = play.run("GET / HTTP/1.0\r\nHost: a\r\n\r\n") { server in
      _ = server.send(
        Array("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n\r\n".utf8))
    }
    let client = try #require(play.client)
    #expect(client.hasEnded && !client.wasReset)
    #expect(String(decoding: play.received, as: UTF8.self).hasSuffix("\r\n\r\nwell"))
  }
}
