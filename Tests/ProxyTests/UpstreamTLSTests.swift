// TLS towards a server, in virtual time: the handshake, what is verified, and how the stream may end.

import Configuration
import Metrics
import MillraceEngine
import TLS
import Testing

@testable import Proxy

@Suite("TLS to servers")
struct UpstreamTLSTests {
  @Test("a request goes to a server that proves its name, and the connection is kept")
  func kept() throws {
    let world = try TLSWorld()
    var second: FlowClient?
    world.flow.after(1_000_000_000) {
      second = world.flow.connect()
      second?.send(FlowWorld.get("/s/2"))
    }
    let (client, account) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 200 OK\r\n") && client.text.hasSuffix("\r\n\r\nok"))
    #expect(second?.text.hasSuffix("\r\n\r\nok") == true)
    #expect(world.servers.count == 1)
    #expect(world.servers[0].text.hasPrefix("GET /s/1 HTTP/1.1\r\n"))
    #expect(world.servers[0].serverName == "localhost")
    #expect(world.servers[0].protocolName == "http/1.1")
    #expect(world.servers[0].saidGoodbye, "the proxy closed without close_notify")
    #expect(account?.counters.upstreamReuses == 1)
    #expect(account?.counters.upstreamHandshakes == 1)
    #expect(account?.counters.upstreamHandshakeFailures == 0)
    #expect(try world.figure("server_handshakes", ["version": "TLSv1.3"]) == 1)
    #expect(account?.engine.framesInUse == 0)
    #expect(account?.engine.leasedBuffers == 0)
  }

  @Test(
    "a server by its address is verified by that, and no name is asked for",
    arguments: [("IP:127.0.0.1", true), ("IP:127.0.0.2", false), ("DNS:127.0.0.1", false)])
  func addresses(_ name: String, _ isServed: Bool) throws {
    let world = try TLSWorld(host: "127.0.0.1", name: name)
    let (client, _) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 200 ") == isServed, "\(client.text)")
    #expect(client.text.contains("(tls_upstream_name_mismatch)") == !isServed)
    if isServed { #expect(world.servers.first?.serverName == "") }
  }

  @Test("a name of the upstream takes the place of the server's, for SNI and for the certificate")
  func serverName() throws {
    let world = try TLSWorld(host: "127.0.0.1", name: "DNS:api.internal")
    world.flow.configuration.upstreams[0].tls = UpstreamTLS(serverName: "api.internal")
    let (client, _) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 200 "), "\(client.text)")
    #expect(world.servers.first?.serverName == "api.internal")
  }

  /// A server that is not believed, and what it is called.
  struct Unbelieved: Sendable {
    var reason: String
    var name = "DNS:localhost"
    var days = 7
    var start = -3600
    var isTrusted = true
  }

  @Test(
    "a server is not asked whose certificate does not verify, and the reason is told and counted",
    arguments: [
      Unbelieved(reason: "name_mismatch", name: "DNS:elsewhere"),
      Unbelieved(reason: "untrusted", isTrusted: false),
      Unbelieved(reason: "expired", days: -1, start: -172_800),
      Unbelieved(reason: "not_yet_valid", start: 86_400),
    ])
  func unbelieved(_ server: Unbelieved) throws {
    let world = try TLSWorld(
      name: server.name, days: server.days, start: server.start, isTrusted: server.isTrusted)
    world.flow.configuration.upstreams[0].retries.attempts = 0
    let (client, account) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 502 "), "\(client.text)")
    #expect(client.text.contains("(tls_upstream_\(server.reason))"), "\(client.text)")
    #expect(world.servers.allSatisfy { $0.text.isEmpty })
    #expect(account?.counters.upstreamHandshakes == 0)
    #expect(account?.counters.upstreamHandshakeFailures == 1)
    #expect(try world.figure("server_handshake_failures") == 1)
    #expect(try world.figure("server_handshake_failures", ["reason": server.reason]) == 1)
    #expect(try world.figure("server_connect_failures") == 1)
    #expect(account?.upstreamConnections == 0)
    #expect(account?.engine.framesInUse == 0)
  }

  @Test("a server that is not believed counts as not reached: another one gets the request")
  func another() throws {
    let world = try TLSWorld()
    world.firstContexts = [try CertificateFiles("DNS:elsewhere").makeContext()]
    world.flow.morePorts = [3001]
    world.flow.configuration.upstreams[0].servers.append(
      ServerConfiguration(address: .ip(host: "localhost", port: 3001)))
    world.answer = { server in
      if server.text.hasSuffix("\r\n\r\nx") {
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
    }
    let (client, account) = world.run(FlowWorld.post("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 200 "), "\(client.text)")
    #expect(world.servers.count == 2 && world.servers[0].text.isEmpty)
    #expect(account?.counters.retries == 1)
    #expect(account?.counters.upstreamHandshakeFailures == 1)
  }

  @Test("a handshake that is not answered ends by the connect timeout")
  func silent() throws {
    let world = try TLSWorld()
    world.flow.onServerPeer = { peer in peer.onEvent = { _, _ in } }
    let (client, account) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 504 "), "\(client.text)")
    #expect(client.text.contains("(tls_upstream_handshake_timeout)"))
    #expect(try world.figure("server_handshake_failures", ["reason": "handshake_timeout"]) >= 1)
    #expect((account?.counters.timeouts ?? 0) >= 1)
  }

  @Test("a server that speaks no TLS is not asked")
  func plain() throws {
    let world = try TLSWorld()
    world.flow.onServerPeer = { peer in
      peer.onEvent = { peer, event in
        if event == .readable, !peer.receive().isEmpty {
          _ = peer.send(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8))
        }
      }
    }
    let (client, _) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.contains("(tls_upstream_failed)"), "\(client.text)")
  }

  @Test(
    "a server that closes or breaks off in the handshake is not asked", arguments: [true, false])
  func closes(_ isOrderly: Bool) throws {
    let world = try TLSWorld()
    world.flow.onServerPeer = { peer in
      peer.onEvent = { peer, event in
        guard event == .readable, !peer.receive().isEmpty else { return }
        if isOrderly { peer.finishSending() } else { peer.reset() }
      }
    }
    let (client, _) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 502 "), "\(client.text)")
    #expect(client.text.contains("(tls_upstream_failed)"), "\(client.text)")
    #expect(try world.figure("server_handshake_failures", ["reason": "failed"]) >= 1)
  }

  @Test(
    "content up to the connection's end is whole with close_notify, and cut without",
    arguments: [true, false])
  func untilClose(_ saysGoodbye: Bool) throws {
    let world = try TLSWorld()
    world.answer = { server in
      server.send("HTTP/1.1 200 OK\r\n\r\nall of it")
      server.end(saysGoodbye: saysGoodbye)
    }
    let (client, account) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.contains("all of it") || !saysGoodbye)
    // Towards HTTP/1.1 it leaves in chunks, and the last one is missing where the server was cut off.
    #expect(client.text.hasSuffix("\r\n0\r\n\r\n") == saysGoodbye, "\(client.text)")
    #expect(account?.counters.upstreamFailures == (saysGoodbye ? 0 : 1))
  }

  @Test(
    "the next connection resumes, however the one before has ended, and each ticket is used once",
    arguments: [true, false])
  func resumed(_ saysGoodbye: Bool) throws {
    let world = try TLSWorld()
    world.answer = { server in
      server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
      server.end(saysGoodbye: saysGoodbye)
    }
    var others: [FlowClient] = []
    for second in 1...3 {
      world.flow.after(Int64(second) * 1_000_000_000) {
        let client = world.flow.connect()
        others.append(client)
        client.send(FlowWorld.get("/s/\(second)"))
        guard second == 3 else { return }
        // A server gives one ticket for each connection: of two that begin together one resumes.
        let another = world.flow.connect()
        others.append(another)
        another.send(FlowWorld.get("/s/4"))
      }
    }
    let (client, account) = world.run(FlowWorld.get("/s/0"))
    for client in [client] + others {
      #expect(client.text.hasPrefix("HTTP/1.1 200 "), "\(client.text)")
    }
    #expect(world.servers.map(\.isResumed).prefix(3) == [false, true, true])
    #expect(world.servers.dropFirst(3).count { $0.isResumed } == 1)
    #expect(account?.counters.upstreamHandshakes == 5)
    #expect(account?.counters.upstreamHandshakesResumed == 3)
    #expect(try world.figure("server_handshakes") == 5)
    #expect(try world.figure("server_handshakes_resumed") == 3)
  }

  @Test("nothing is resumed that was verified in another way")
  func notResumed() throws {
    let world = try TLSWorld()
    world.answer = { server in
      server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
      server.end(saysGoodbye: true)
    }
    var second: FlowClient?
    let other = try TLSClientContext(trust: .anyone, keepsTickets: true)
    world.flow.after(1_000_000_000) {
      world.flow.upstreamTLS = other
      world.flow.remote.replacePlan(world.flow.parts)
    }
    world.flow.after(2_000_000_000) {
      second = world.flow.connect()
      second?.send(FlowWorld.get("/s/2"))
    }
    let (_, account) = world.run(FlowWorld.get("/s/1"))
    #expect(second?.text.hasPrefix("HTTP/1.1 200 ") == true)
    #expect(account?.counters.plansInstalled == 1)
    #expect(world.servers.map(\.isResumed) == [false, false])
    #expect(account?.counters.upstreamHandshakesResumed == 0)
  }

  @Test("large content goes both ways")
  func large() throws {
    let size = 1_000_000
    let world = try TLSWorld()
    world.answer = { server in
      guard server.text.utf8.count >= size else { return }
      server.send(
        "HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n" + String(repeating: "y", count: size))
    }
    let request = "POST /s/1 HTTP/1.1\r\nHost: a\r\nContent-Length: \(size)\r\n\r\n"
    let (client, account) = world.run(request + String(repeating: "x", count: size))
    #expect(client.count("y") == size)
    #expect(world.servers[0].text.utf8.filter { $0 == UInt8(ascii: "x") }.count >= size)
    #expect(account?.counters.responses == 1)
    #expect(account?.engine.framesInUse == 0)
    #expect(account?.engine.coldBytes == 0)
  }
}

@Suite("Memory for requests over TLS")
struct LostRequestTests {
  private let second: Int64 = 1_000_000_000

  /// What a client has got of its second request.
  enum Answer: Equatable {
    /// Its connection was reset: there was no memory for an answer either.
    case none
    case refused, served
  }

  /// One connection to the server is kept, and a download that its client does not read has taken the
  /// frames that it wants. Then a request comes for the kept connection.
  private func play(frames: Int) throws -> (Answer, WorkerAccount, TLSWorld) {
    var conditions = SimulatedConditions.calm
    conditions.frames = frames
    conditions.receiveRoom = 16_384...16_384
    conditions.sendRoom = 16_384...16_384
    let world = try TLSWorld(conditions)
    let flow = world.flow
    world.answer = { [unowned flow] server in
      if server.text.contains("/s/big ") {
        flow.after(2 * self.second) {
          server.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
              + String(repeating: "x", count: 1_000_000))
        }
      } else {
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
      }
    }
    var made: FlowClient?
    let account = flow.run {
      let slow = flow.connect()
      slow.reads = false
      slow.send(FlowWorld.get("/s/big"))
      flow.after(self.second) {
        let client = flow.connect()
        made = client
        client.send(FlowWorld.get("/s/1"))
        flow.after(4 * self.second) {
          #expect(client.count("HTTP/1.1 200 OK") == 1, "\(frames) frames")
          client.send(FlowWorld.get("/s/2"))
        }
      }
      flow.after(10 * self.second) { slow.peer.reset() }
      flow.after(12 * self.second) { flow.remote.drain() }
    }
    let client = try #require(made)
    if client.count("HTTP/1.1 503 ") == 1 {
      #expect(client.text.contains("resources_exhausted"))
      return (.refused, try #require(account), world)
    }
    let isServed = client.count("HTTP/1.1 200 OK") == 2
    #expect(isServed || client.peer.wasReset, "\(frames) frames: neither answered nor reset")
    return (isServed ? .served : .none, try #require(account), world)
  }

  @Test("a request that finds no memory is refused as our own failure, not as its server's")
  func lost() throws {
    var answers: [Answer] = []
    for frames in 2...8 {
      let (answer, account, world) = try play(frames: frames)
      answers.append(answer)
      let text = "\(frames) frames"
      #expect(account.counters.upstreamFailures == 0 && account.counters.retries == 0, "\(text)")
      #expect(account.exchanges == 0 && account.active == 0, "\(text)")
      #expect(account.upstreamConnections == 0 && account.engine.framesInUse == 0, "\(text)")
      let arrived = world.servers.map(\.text).joined()
      #expect(arrived.contains("/s/2 ") == (answer == .served), "\(text)")
      if answer == .refused {
        // It was given to the kept connection, which ended with it.
        #expect(account.counters.upstreamReuses == 1, "\(text)")
        #expect(account.counters.framesExhausted >= 1, "\(text)")
      }
    }
    // One frame below what the request needs it is refused, and with fewer there is none for the answer.
    let refused = answers.filter { $0 == .refused }.count
    #expect(refused == 1, "\(answers)")
    #expect(answers == answers.sorted { order($0) < order($1) }, "\(answers)")
    #expect(answers.first == Answer.none && answers.last == .served, "\(answers)")
  }

  private func order(_ answer: Answer) -> Int {
    switch answer {
    case .none: 0
    case .refused: 1
    case .served: 2
    }
  }
}
