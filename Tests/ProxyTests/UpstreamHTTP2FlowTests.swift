// HTTP/2 to servers in virtual time: many requests on one connection, and what becomes of each when its
// stream, its connection or its server ends. Both ends are nghttp2's, on simulated peers.

import Configuration
import HTTP2
import MillraceEngine
import Testing

@testable import Proxy

private let second: Int64 = 1_000_000_000
private let millisecond: Int64 = 1_000_000

@Suite("HTTP/2 to servers")
struct UpstreamHTTP2FlowTests {
  private typealias World = HTTP2ServerWorld

  func expectNothingHeld(_ account: WorkerAccount?) {
    #expect(
      account?.connections == 0 && account?.exchanges == 0 && account?.upstreamConnections == 0
        && account?.active == 0 && account?.timers == 0)
    #expect(account?.engine.coldBytes == 0 && account?.engine.framesInUse == 0)
  }

  @Test("requests share a connection, and are answered in any order")
  func multiplexing() throws {
    let world = try World()
    world.onRequest = { server, _ in
      guard server.order.count == 20 else { return }
      for stream in server.order.reversed() { server.answer(stream, "ok") }
    }
    let account = world.run(until: { $0.counters.responses == 20 }) { client in
      for i in 0..<20 { client.get("/s/\(i)") }
    }
    #expect(world.servers.count == 1)
    #expect((0..<20).allSatisfy { world.isWhole(Int32(2 * $0 + 1)) })
    expectNothingHeld(account)
  }

  @Test("requests whose connection finds no frame for its preface end", arguments: 1...8)
  func starved(_ frames: Int) throws {
    var conditions = SimulatedConditions.calm
    conditions.frames = frames
    let world = try World(conditions)
    let flow = world.flow
    var before: WorkerAccount?
    var clients: [FlowClient] = []
    let account = flow.run {
      for i in 0..<6 {
        clients.append(flow.connect())
        clients[i].send(FlowWorld.get("/s/\(i)"))
      }
      flow.after(20 * second) {
        flow.remote.ask {
          before = $0
          flow.remote.drain()
        }
      }
    }
    #expect(before?.exchanges == 0 && before?.active == 0)
    #expect(clients.allSatisfy { $0.count("HTTP/1.1 ") == 1 || $0.isOver })
    expectNothingHeld(account)
  }

  @Test("a server that allows two streams gets two, and the others have connections of their own")
  func streamLimit() throws {
    let world = try World()
    world.makeServer = { HTTP2FlowServer($0, streams: 2) }
    var held: [() -> Void] = []
    world.onRequest = { server, stream in held.append { server.answer(stream, "ok") } }
    let account = world.run(until: { $0.counters.responses == 6 }) { client in
      client.get("/s/0")
      world.flow.after(100 * millisecond) {
        for i in 1...5 { client.get("/s/\(i)") }
        world.flow.after(100 * millisecond) { for answer in held { answer() } }
      }
    }
    #expect(world.servers[0].order.count == 2)
    #expect(world.servers.count >= 2)
    expectNothingHeld(account)
  }

  @Test("requests that a GOAWAY leaves out are sent again, whatever their method")
  func goAway() throws {
    let world = try World()
    let content = [UInt8](repeating: 7, count: 100)
    world.onRequest = { server, stream in
      guard world.servers.count == 1 else { return server.answer(stream, "again") }
      guard server.order.count == 3 else { return }
      server.goAway(last: 1)
      server.answer(1, "first")
    }
    let account = content.withUnsafeBytes { content in
      world.run(until: { $0.counters.responses == 3 }) { client in
        client.get("/s/1")
        client.request("/s/2", "POST", HTTP2Content(content))
        client.get("/s/3")
      }
    }
    #expect(world.client.responses[1]?.content == Array("first".utf8))
    #expect(world.client.responses[3]?.content == Array("again".utf8))
    #expect(world.client.responses[5]?.content == Array("again".utf8))
    #expect(world.servers.count == 2 && world.servers[1].order.count == 2)
    expectNothingHeld(account)
  }

  @Test("a POST whose stream is refused is sent again")
  func refusedStream() throws {
    let world = try World()
    let content = [UInt8](repeating: 7, count: 100)
    world.onRequest = { server, stream in
      if stream == 1 && world.servers.count == 1 {
        server.reset(stream, .refusedStream)
      } else {
        server.answer(stream, "ok")
      }
    }
    let account = content.withUnsafeBytes { content in
      world.run(until: { $0.counters.responses == 1 }) { client in
        client.request("/s/1", "POST", HTTP2Content(content))
      }
    }
    #expect(world.isWhole(1))
    #expect(world.servers.flatMap { $0.paths() } == ["/s/1", "/s/1"])
    expectNothingHeld(account)
  }

  @Test("a POST that its server resets for another reason is not sent again")
  func resetStream() throws {
    let world = try World()
    let content = [UInt8](repeating: 7, count: 100)
    world.onRequest = { server, stream in server.reset(stream, .internalError) }
    let account = content.withUnsafeBytes { content in
      world.run(until: { $0.counters.responses == 1 }) { client in
        client.request("/s/1", "POST", HTTP2Content(content))
      }
    }
    #expect(world.client.responses[1]?.status == 502)
    #expect(world.servers.flatMap { $0.paths() } == ["/s/1"])
    expectNothingHeld(account)
  }

  @Test("a kept connection that dies as requests come costs none of them")
  func staleConnection() throws {
    let world = try World()
    let account = world.run(until: { $0.counters.responses == 3 }) { client in
      client.get("/s/1")
      world.flow.until(millisecond, { $0.counters.responses == 1 }) { _ in
        world.servers[0].peer.close()
        client.get("/s/2")
        client.get("/s/3")
      }
    }
    #expect(world.isWhole(3) && world.isWhole(5))
    #expect(account?.counters.upstreamFailures == 0)
    expectNothingHeld(account)
  }

  @Test("streams that wait behind another's content outlive the death of their connection")
  func waitingStreams() throws {
    let world = try World(FlowWorld.likeARing)
    let content = [UInt8](repeating: 7, count: 4096)
    world.makeServer = { [unowned world] peer in
      let server = HTTP2FlowServer(peer)
      // The first connection is not read.
      if world.servers.isEmpty { peer.onEvent = { _, _ in } }
      return server
    }
    let account = content.withUnsafeBytes { content in
      world.run(until: { $0.counters.requests == 4 && $0.exchanges == 0 }) { client in
        client.request("/s/0", "POST", HTTP2Content(repeating: content, count: 8 << 20))
        world.flow.after(second) {
          for i in 1...3 { client.get("/s/\(i)") }
          world.flow.after(second) { world.servers[0].peer.reset() }
        }
      }
    }
    #expect(world.isWhole(3) && world.isWhole(5) && world.isWhole(7))
    #expect(world.client.responses[1]?.status == 502)
    expectNothingHeld(account)
  }

  @Test("streams that wait for a connection follow it to the server's next address")
  func nextAddress() throws {
    let world = try World()
    world.flow.deadPorts = [3999]
    let account = world.run(until: { $0.counters.responses == 3 }) { client in
      for i in 1...3 { client.get("/s/\(i)") }
    }
    #expect(world.isWhole(1) && world.isWhole(3) && world.isWhole(5))
    #expect(world.servers.count == 1)
    expectNothingHeld(account)
  }

  @Test("a server that cannot be reached fails every stream that waits for it")
  func connectFailure() throws {
    let world = try World()
    world.flow.configuration.upstreams[0].servers = [
      ServerConfiguration(address: .ip(host: "127.0.0.1", port: 3998))
    ]
    world.flow.deadPorts = [3999]
    let account = world.run(until: { $0.counters.responses == 3 }) { client in
      for i in 1...3 { client.get("/s/\(i)") }
    }
    for stream: Int32 in [1, 3, 5] { #expect(world.client.responses[stream]?.status == 502) }
    expectNothingHeld(account)
  }

  @Test("a response that does not come in time resets its stream and no other")
  func responseTimeout() throws {
    let world = try World()
    world.flow.configuration.upstreams[0].timeouts.responseNanoseconds = second
    world.onRequest = { server, stream in if stream != 1 { server.answer(stream, "ok") } }
    let account = world.run(until: { $0.counters.responses == 3 }) { client in
      client.get("/s/1")
      client.get("/s/2")
      world.flow.until(millisecond, { $0.counters.responses == 2 }) { _ in client.get("/s/3") }
    }
    #expect(world.client.responses[1]?.status == 504)
    #expect(world.isWhole(3) && world.isWhole(5))
    #expect(world.servers.count == 1)
    #expect(world.servers.first?.requests[1]?.reset == .cancel)
    expectNothingHeld(account)
  }

  @Test("a client that opens no window costs a bound, and stops no other stream of its server")
  func slowClient() throws {
    let world = try World()
    let body = String(repeating: "0123456789", count: 100_000)
    world.onRequest = { server, stream in server.answer(stream, stream == 1 ? body : "ok") }
    let account = world.flow.run {
      world.other = HTTP2FlowClient(world.flow, consumes: false)
      world.other?.get("/s/1")
      world.flow.after(second) {
        world.client = HTTP2FlowClient(world.flow)
        world.client.get("/s/2")
        world.flow.until(millisecond, { $0.counters.responses == 1 }) { account in
          #expect(account.engine.coldBytes < 400_000)
          world.other?.consume()
          world.flow.until(millisecond, { $0.counters.responses == 2 }) { _ in
            world.flow.remote.drain()
          }
        }
      }
    }
    #expect(world.isWhole(1))
    #expect(world.other?.responses[1]?.content.count == body.utf8.count)
    #expect(world.servers.count == 1)
    expectNothingHeld(account)
  }

  @Test("a request that is answered before its server has read it is whole there, or reset")
  func earlyResponse() throws {
    let content = [UInt8](repeating: 7, count: 4096)
    var resets = 0
    for kilobytes in stride(from: 32, through: 512, by: 8) {
      let world = try World(FlowWorld.likeARing)
      world.onRequest = { _, _ in }
      world.makeServer = { peer in
        let server = HTTP2FlowServer(peer, window: 1 << 22)
        // WINDOW_UPDATE of the connection, by 4 MiB.
        server.sendRaw([0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0x40, 0, 0])
        return server
      }
      let account = content.withUnsafeBytes { content in
        world.run(until: { $0.counters.responses == 1 && $0.exchanges == 0 }) { client in
          client.request("/s/1", "POST", HTTP2Content(repeating: content, count: kilobytes << 10))
          func stopReading() {
            guard let server = world.servers.first, server.requests[1] != nil else {
              return world.flow.after(10_000, stopReading)
            }
            let events = server.peer.onEvent
            server.peer.onEvent = { _, _ in }
            world.flow.after(second) {
              server.answer(1, "early")
              world.flow.after(second) {
                server.peer.onEvent = events
                events?(server.peer, .readable)
              }
            }
          }
          stopReading()
        }
      }
      #expect(world.client.responses[1]?.status == 200)
      let request = try #require(world.servers[0].requests[1])
      #expect(request.isWhole || request.reset != nil, "\(kilobytes) KiB")
      if request.reset != nil { resets += 1 }
      expectNothingHeld(account)
    }
    #expect(resets > 0)
  }

  @Test("a connection to a server that takes nothing any more is given up")
  func vanishedServer() throws {
    let world = try World(FlowWorld.likeARing)
    world.flow.configuration.upstreams[0].timeouts.responseNanoseconds = second
    world.flow.configuration.upstreams[0].timeouts.idleNanoseconds = second
    world.makeServer = { HTTP2FlowServer($0, window: 1 << 22) }
    let content = [UInt8](repeating: 7, count: 4096)
    let account = content.withUnsafeBytes { content in
      world.run(until: { $0.counters.requests == 2 && $0.upstreamConnections == 0 }) { client in
        client.get("/s/0")
        world.flow.until(millisecond, { $0.counters.responses == 1 }) { _ in
          world.servers[0].peer.vanish()
          client.request("/s/1", "POST", HTTP2Content(repeating: content, count: 4 << 20))
        }
      }
    }
    #expect(world.client.responses[3]?.status == 504)
    expectNothingHeld(account)
  }

  @Test("a whole response that waits for its client outlives a connection that its server breaks")
  func brokenConnection() throws {
    let world = try World()
    let body = String(repeating: "0123456789", count: 5_000)
    world.onRequest = { server, stream in server.answer(stream, body) }
    let account = world.flow.run {
      world.client = HTTP2FlowClient(world.flow, window: 1_000, consumes: false)
      world.client.get("/s/1")
      world.flow.after(second) {
        // DATA on stream 0 (RFC 9113 6.1).
        world.servers[0].sendRaw([0, 0, 1, 0, 0, 0, 0, 0, 0, 7])
        world.flow.after(second) {
          #expect(world.servers[0].isOver)
          world.client.consume()
          world.flow.until(millisecond, { $0.counters.responses == 1 }) { _ in
            world.flow.remote.drain()
          }
        }
      }
    }
    #expect(world.client.responses[1]?.content.count == body.utf8.count)
    #expect(world.isWhole(1))
    expectNothingHeld(account)
  }

  @Test("a request that waits for room in the log opens no stream before it has some")
  func waitsForRoom() throws {
    let world = try World(FlowWorld.likeARing)
    var audit = AuditConfiguration(directory: "/audit")
    audit.whenFull = .block
    audit.segmentSize = 1 << 20
    world.flow.configuration.audit = audit
    world.flow.world.disk.makeDirectory("/audit")
    world.flow.world.conditions.diskCapacity = 4096
    let account = world.run(until: { $0.counters.responses == 2 }) { client in
      client.get("/s/1")
      client.get("/s/2")
      world.flow.until(millisecond, { $0.counters.auditWaits == 2 }) { _ in
        #expect(world.servers.isEmpty)
        world.flow.world.conditions.diskCapacity = 1 << 40
      }
    }
    #expect(world.isWhole(1) && world.isWhole(3))
    #expect(account?.exchangesRecorded == 2)
    expectNothingHeld(account)
  }

  @Test("a connection outlives the plan if its server does")
  func keptPlan() throws {
    let world = try World()
    let flow = world.flow
    let account = world.run(until: { $0.counters.responses == 2 }) { client in
      client.get("/s/1")
      flow.until(millisecond, { $0.counters.responses == 1 }) { _ in
        flow.configuration.routes[0].path = .prefix("/s")
        flow.remote.replacePlan(flow.parts)
        flow.until(millisecond, { $0.counters.plansInstalled == 1 }) { _ in client.get("/s/2") }
      }
    }
    #expect(world.isWhole(3))
    #expect(world.servers.count == 1)
    expectNothingHeld(account)
  }

  @Test("a connection whose server goes with the plan ends with its last stream")
  func replacedPlan() throws {
    let world = try World()
    let flow = world.flow
    flow.morePorts = [3001]
    world.onRequest = { server, stream in
      if server.requests[stream]?.path != "/s/held" { server.answer(stream, "ok") }
    }
    let account = world.run(until: { $0.counters.responses == 2 }) { client in
      client.get("/s/held")
      flow.until(millisecond, { _ in world.servers.first?.order.count == 1 }) { _ in
        flow.configuration.upstreams[0].servers = [
          ServerConfiguration(address: .ip(host: "127.0.0.1", port: 3001))
        ]
        flow.remote.replacePlan(flow.parts)
        flow.until(millisecond, { $0.counters.plansInstalled == 1 }) { _ in
          // A connection of its own: the first one still has the plan that it began with.
          world.other = HTTP2FlowClient(flow)
          world.other?.get("/s/2")
          flow.until(millisecond, { $0.counters.responses == 1 }) { _ in
            #expect(world.other?.responses[1]?.isWhole == true)
            #expect(world.servers.count == 2 && world.servers[0].isOver == false)
            world.servers[0].answer(1, "held")
          }
        }
      }
    }
    #expect(world.client.responses[1]?.content == Array("held".utf8))
    #expect(world.servers.first?.goAways == 1 || world.servers.first?.isOver == true)
    expectNothingHeld(account)
  }

  @Test("a drain lets streams end, and says GOAWAY to servers")
  func drain() throws {
    let world = try World()
    let flow = world.flow
    world.onRequest = { _, _ in }
    let account = flow.run {
      world.client = HTTP2FlowClient(flow)
      world.client.get("/s/1")
      flow.until(millisecond, { _ in world.servers.first?.order.count == 1 }) { _ in
        flow.remote.drain()
        flow.after(3 * second) { world.servers[0].answer(1, "late") }
      }
    }
    #expect(world.client.responses[1]?.content == Array("late".utf8))
    #expect(world.servers.first?.goAways == 1)
    #expect(world.servers.first?.isOver == true)
    expectNothingHeld(account)
  }
}
