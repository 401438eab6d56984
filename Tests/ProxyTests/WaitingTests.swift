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
  private static func full() throws -> FlowWorld {
    let flow = try FlowWorld(FlowWorld.likeARing)
    var audit = AuditConfiguration(directory: "/audit")
    audit.whenFull = .block
    audit.segmentSize = 1 << 20
    flow.configuration.audit = audit
    flow.world.disk.makeDirectory("/audit")
    flow.world.conditions.diskCapacity = 4096
    return flow
  }

  private static func makeRoom(_ flow: FlowWorld) {
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
