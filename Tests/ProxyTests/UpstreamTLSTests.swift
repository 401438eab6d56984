// TLS towards a server, in virtual time: the handshake, what is verified, and how the stream may end.

import Configuration
import MillraceEngine
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
    #expect(account?.engine.framesInUse == 0)
    #expect(account?.engine.leasedBuffers == 0)
  }

  @Test(
    "a server is not asked whose certificate is for another name, or that nobody vouches for",
    arguments: [("elsewhere", true), ("localhost", false)])
  func unbelieved(_ name: String, _ isTrusted: Bool) throws {
    let world = try TLSWorld(name: name, isTrusted: isTrusted)
    let (client, account) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 502 "), "\(client.text)")
    #expect(client.text.contains("upstream_tls_failed"))
    #expect(world.servers.allSatisfy { $0.text.isEmpty })
    #expect(account?.upstreamConnections == 0)
    #expect(account?.engine.framesInUse == 0)
  }

  @Test("a handshake that is not answered ends by the connect timeout")
  func silent() throws {
    let world = try TLSWorld()
    world.flow.onServerPeer = { peer in peer.onEvent = { _, _ in } }
    let (client, account) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 504 "), "\(client.text)")
    #expect(client.text.contains("connect_timeout"))
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
    #expect(client.text.contains("upstream_tls_failed"), "\(client.text)")
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
