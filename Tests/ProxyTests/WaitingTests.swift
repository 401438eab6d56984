// Requests that wait for room in the audit log, in virtual time: what they keep, and what may happen to
// them meanwhile.

import Configuration
import MillraceEngine
import Testing

@testable import Proxy

private let second: Int64 = 1_000_000_000
private let millisecond: Int64 = 1_000_000

@Suite("Requests that wait for room in the log")
struct WaitingTests {
  /// A world whose log has no room until somebody makes some.
  fileprivate static func full() throws -> FlowWorld {
    let flow = try FlowWorld(FlowWorld.likeARing)
    var audit = AuditConfiguration(directory: "/audit")
    audit.whenFull = .block
    audit.segmentSize = 1 << 20
    flow.configuration.audit = audit
    flow.world.disk.makeDirectory("/audit")
    flow.world.conditions.diskCapacity = 4096
    return flow
  }

  fileprivate static func makeRoom(_ flow: FlowWorld) {
    flow.world.conditions.diskCapacity = 1 << 40
  }

  @Test("it is served by the plan that is current when there is room, however many came before")
  func plans() throws {
    let flow = try Self.full()
    flow.morePorts = [3001, 3002]
    var client: FlowClient?
    flow.serve = { flow, peer, _ in
      flow.answer(peer, "from \(flow.serverPeers.count)")
    }
    let account = flow.run {
      client = flow.connect()
      client?.send(FlowWorld.get("/s"))
      flow.until(millisecond, { $0.counters.auditWaits == 1 }) { _ in
        for port: UInt16 in [3001, 3002] {
          flow.configuration.upstreams = [
            UpstreamConfiguration(
              name: "web",
              servers: [ServerConfiguration(address: .ip(host: "127.0.0.1", port: port))])
          ]
          flow.remote.replacePlan(flow.parts)
        }
        flow.until(millisecond, { $0.counters.plansInstalled >= 1 }) { account in
          #expect(account.exchanges == 1 && account.plans == 2)
          Self.makeRoom(flow)
          flow.until(millisecond, { $0.counters.responses == 1 }) { account in
            #expect(account.plans == 1, "the plan that it waited on is gone")
            flow.remote.drain()
          }
        }
      }
    }
    #expect(client?.count("HTTP/1.1 200") == 1)
    #expect(flow.arrivals.count == 1)
    #expect(account?.counters.requests == 1 && account?.exchangesRecorded == 1)
  }

  @Test("content that comes meanwhile goes with it, and so does the request behind it")
  func content() throws {
    let flow = try Self.full()
    var client: FlowClient?
    let account = flow.run {
      client = flow.connect()
      client?.send("POST /s/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
      flow.until(millisecond, { $0.counters.auditWaits == 1 }) { _ in
        client?.send("defghij" + FlowWorld.get("/s/2"))
        flow.after(3 * second) {
          #expect(flow.arrivals.isEmpty)
          Self.makeRoom(flow)
          flow.until(millisecond, { $0.counters.responses == 2 }) { _ in flow.remote.drain() }
        }
      }
    }
    let arrived = flow.arrivals.joined()
    #expect(arrived.contains("\r\n\r\nabcdefghij"), "\(arrived)")
    #expect(arrived.contains("GET /s/2 HTTP/1.1\r\n"))
    #expect(client?.count("HTTP/1.1 200") == 2)
    #expect(account?.counters.requests == 2 && account?.engine.coldBytes == 0)
  }

  @Test("a client that goes takes its request with it")
  func reset() throws {
    let flow = try Self.full()
    let account = flow.run {
      let client = flow.connect()
      client.send(FlowWorld.get("/s"))
      flow.until(millisecond, { $0.counters.auditWaits == 1 }) { _ in
        client.peer.reset()
        flow.until(millisecond, { $0.exchanges == 0 && $0.connections == 0 }) { _ in
          Self.makeRoom(flow)
          flow.after(5 * second) { flow.remote.drain() }
        }
      }
    }
    #expect(flow.arrivals.isEmpty)
    #expect(account?.counters.requests == 0 && account?.counters.responses == 0)
    #expect(account?.engine.coldBytes == 0)
  }

  @Test("it waits for as long as a connection may be idle, then its connection is closed")
  func timeout() throws {
    let flow = try Self.full()
    flow.configuration.listeners[0].timeouts.idleNanoseconds = 5 * second
    var client: FlowClient?
    var began: Int64 = 0
    var lasted: Int64 = 0
    let account = flow.run {
      client = flow.connect()
      began = flow.world.now
      client?.send(FlowWorld.get("/s"))
      flow.until(millisecond, { $0.counters.auditWaits == 1 }) { _ in
        flow.until(millisecond, { $0.connections == 0 }) { _ in
          lasted = flow.world.now - began
          flow.remote.drain()
        }
      }
    }
    #expect(client?.text.isEmpty == true && client?.peer.hasEnded == true)
    #expect(lasted > 4 * second && lasted < 7 * second, "\(lasted)")
    #expect(account?.counters.timeouts == 0 && account?.engine.coldBytes == 0)
  }

  @Test("a drain gives it no more time than a request that is still to come")
  func drain() throws {
    let flow = try Self.full()
    flow.configuration.drain.deadlineNanoseconds = 60 * second
    var client: FlowClient?
    var began: Int64 = 0
    var lasted: Int64 = 0
    let account = flow.run {
      client = flow.connect()
      client?.send(FlowWorld.get("/s"))
      flow.until(millisecond, { $0.counters.auditWaits == 1 }) { _ in
        began = flow.world.now
        flow.remote.drain()
        flow.until(millisecond, { $0.connections == 0 }) { _ in lasted = flow.world.now - began }
      }
    }
    #expect(client?.text.isEmpty == true)
    #expect(account?.exchanges == 0 && account?.connections == 0)
    #expect(lasted > second && lasted < 4 * second, "\(lasted)")
  }
}

@Suite("Requests over TLS that wait for room in the log")
struct WaitingTLSTests {
  /// What comes on the connection again and again while its request waits.
  enum Arrival: CaseIterable, Sendable {
    case nothing, content, pipelined, keyUpdate, keyUpdateAndMore
  }

  private static let time = 5 * second

  private static func full() throws -> FlowWorld {
    let flow = try WaitingTests.full()
    flow.listenerTLS = try CertificateFiles("localhost").makeContext()
    flow.configuration.listeners[0].timeouts.idleNanoseconds = time
    return flow
  }

  private static func head(_ arrival: Arrival) -> String {
    guard arrival == .content else { return FlowWorld.get("/s/1") }
    return "POST /s/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n"
  }

  private static func say(_ arrival: Arrival, _ client: TLSPeer) {
    switch arrival {
    case .nothing: break
    case .content: client.send("x")
    case .pipelined: client.send(FlowWorld.get("/s/2"))
    case .keyUpdate: client.updateKeys()
    case .keyUpdateAndMore:
      client.updateKeys()
      client.send(FlowWorld.get("/s/2"))
    }
  }

  /// A client whose request begins to wait, and says more every 400 ms for 8 s.
  private static func play(
    _ flow: FlowWorld, _ arrival: Arrival, _ waits: @escaping (TLSPeer) -> Void
  ) throws -> (TLSPeer, WorkerAccount?) {
    var made: TLSPeer?
    let account = flow.run {
      guard let client = try? TLSPeer(of: flow) else { return flow.remote.drain() }
      made = client
      client.send(head(arrival))
      flow.until(millisecond, { $0.counters.auditWaits == 1 }) { _ in
        waits(client)
        for i in 0..<20 { flow.after(Int64(i) * 400 * millisecond) { say(arrival, client) } }
      }
    }
    return (try #require(made), account)
  }

  @Test(
    "what comes on its connection neither extends its time nor ends it",
    arguments: Arrival.allCases)
  func deadline(_ arrival: Arrival) throws {
    let flow = try Self.full()
    // Longer than the wait: none of these may take its place.
    flow.configuration.listeners[0].timeouts.bodyNanoseconds = 60 * second
    flow.configuration.listeners[0].timeouts.headNanoseconds = 60 * second
    try measure(flow, arrival)
  }

  @Test("nor do the shorter times of a head and of content", arguments: Arrival.allCases)
  func shorterTimes(_ arrival: Arrival) throws {
    let flow = try Self.full()
    flow.configuration.listeners[0].timeouts.bodyNanoseconds = second
    flow.configuration.listeners[0].timeouts.headNanoseconds = second
    try measure(flow, arrival)
  }

  private func measure(_ flow: FlowWorld, _ arrival: Arrival) throws {
    var lasted: Int64 = 0
    let (client, account) = try Self.play(flow, arrival) { _ in
      let began = flow.world.now
      flow.until(millisecond, { $0.connections == 0 }) { _ in
        lasted = flow.world.now - began
        flow.after(10 * second) { flow.remote.drain() }
      }
    }
    #expect(client.text.isEmpty && client.isOver && client.saidGoodbye)
    // The question after the wait's beginning comes a millisecond late; the wheel has ticks of 50 ms.
    #expect(lasted >= Self.time - 2 * millisecond, "\(lasted)")
    #expect(lasted <= Self.time + 100 * millisecond, "\(lasted)")
    #expect(flow.arrivals.isEmpty)
    #expect(account?.counters.requests == 0 && account?.counters.timeouts == 0)
    #expect(account?.exchanges == 0 && account?.engine.framesInUse == 0)
    #expect(account?.engine.coldBytes == 0)
  }

  @Test("with room before its time it is served, with all that came", arguments: Arrival.allCases)
  func served(_ arrival: Arrival) throws {
    let flow = try Self.full()
    let content = "\r\n\r\n" + String(repeating: "x", count: 20)
    flow.serve = { flow, peer, _ in
      if arrival != .content || flow.arrivals.joined().hasSuffix(content) {
        flow.answer(peer, "ok")
      }
    }
    let (client, account) = try Self.play(flow, arrival) { _ in
      flow.after(3 * second) { WaitingTests.makeRoom(flow) }
      flow.after(20 * second) { flow.remote.drain() }
    }
    let count = arrival == .pipelined || arrival == .keyUpdateAndMore ? 21 : 1
    #expect(client.text.count(of: "HTTP/1.1 200 OK") == count)
    #expect(account?.counters.responses == count && account?.counters.requests == count)
    #expect(arrival != .content || flow.arrivals.joined().hasSuffix(content))
    #expect(account?.counters.timeouts == 0 && account?.engine.coldBytes == 0)
  }

  @Test("KeyUpdates: 32 leave it waiting, one more ends its connection", arguments: [31, 32, 33])
  func updates(_ count: Int) throws {
    let flow = try Self.full()
    var lasted: Int64 = 0
    let (client, account) = try Self.play(flow, .nothing) { client in
      let began = flow.world.now
      for _ in 0..<count { client.updateKeys() }
      flow.until(millisecond, { $0.connections == 0 }) { _ in
        lasted = flow.world.now - began
        flow.remote.drain()
      }
    }
    #expect(client.text.isEmpty && client.isOver)
    #expect(account?.counters.tlsFloods == (count > 32 ? 1 : 0))
    #expect((lasted < second) == (count > 32), "\(lasted)")
    #expect(account?.exchanges == 0 && account?.engine.coldBytes == 0)
  }
}
