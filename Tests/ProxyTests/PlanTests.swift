// Changing the plan under a worker, in virtual time: who is on which plan, what is kept, what is freed.

import Configuration
import MillraceEngine
import Testing

@testable import Proxy

private let second: Int64 = 1_000_000_000
private let millisecond: Int64 = 1_000_000

@Suite("Plans that follow one another")
struct PlanTests {
  private static func upstream(_ name: String, _ ports: UInt16...) -> UpstreamConfiguration {
    UpstreamConfiguration(
      name: name,
      servers: ports.map { ServerConfiguration(address: .ip(host: "127.0.0.1", port: $0)) })
  }

  /// The plan with which requests go to the server at `port`.
  private static func parts(_ flow: FlowWorld, _ port: UInt16) -> SimulatedWorkerParts {
    flow.configuration.upstreams = [upstream("web", port)]
    return flow.parts
  }

  private static func world() throws -> FlowWorld {
    let flow = try FlowWorld()
    flow.morePorts = [3001]
    flow.configuration.upstreams[0].retries.attempts = 0
    return flow
  }

  @Test("an exchange ends on the plan that it began with, and the next one begins on the new plan")
  func exchangesStay() throws {
    let flow = try Self.world()
    var asked: [SimulatedPeer] = []
    flow.serve = { _, peer, _ in asked.append(peer) }
    var texts: [String] = []
    let account = flow.run {
      let client = flow.connect()
      client.send(FlowWorld.get("/s/1"))
      flow.until(millisecond, { _ in asked.count == 1 }) { _ in
        flow.remote.replacePlan(Self.parts(flow, 3001))
        flow.until(millisecond, { $0.counters.plansInstalled == 1 }) { account in
          #expect(account.plans == 2)
          flow.answer(asked[0], "old")
          client.onText = { client in
            client.onText = nil
            texts.append(client.text)
            client.send(FlowWorld.get("/s/2"))
          }
          flow.until(millisecond, { _ in asked.count == 2 }) { account in
            // The connection moved when it had nothing in progress, and with it the last user.
            #expect(account.plans == 1)
            #expect(asked[0] !== asked[1])
            flow.answer(asked[1], "new")
            flow.until(millisecond, { _ in client.count("new") == 1 }) { account in
              // The old server is in no plan: its connection was closed.
              #expect(account.upstreamIdle == 1)
              #expect(account.upstreamConnections == 1)
              flow.remote.drain()
            }
          }
        }
      }
    }
    #expect(texts.first?.hasSuffix("old") == true)
    #expect(account?.counters.responses == 2)
    #expect(account?.counters.upstreamConnects == 2)
  }

  @Test("kept connections to a server that stays are kept, wherever it stands in the new plan")
  func connectionsStay() throws {
    let flow = try Self.world()
    let account = flow.run {
      let client = flow.connect()
      client.send(FlowWorld.get("/s"))
      flow.until(millisecond, { $0.upstreamIdle == 1 }) { _ in
        flow.configuration.upstreams = [
          Self.upstream("other", 3001), Self.upstream("web", 3001, 3000),
        ]
        flow.configuration.routes = [RouteConfiguration(path: .prefix("/s"), upstream: 1)]
        flow.remote.replacePlan(flow.parts)
        flow.until(millisecond, { $0.counters.plansInstalled == 1 }) { account in
          #expect(account.upstreamIdle == 1)
          #expect(account.plans == 1)
          // Of two servers each gets one of two requests.
          client.send(FlowWorld.get("/s"))
          flow.until(millisecond, { $0.counters.responses == 2 }) { _ in
            client.send(FlowWorld.get("/s"))
            flow.until(millisecond, { $0.counters.responses == 3 }) { _ in flow.remote.drain() }
          }
        }
      }
    }
    #expect(account?.counters.upstreamConnects == 2)
    #expect(account?.counters.upstreamReuses == 1)
  }

  @Test("idle connections to a server that is gone are closed at once")
  func connectionsGo() throws {
    let flow = try Self.world()
    let account = flow.run {
      let client = flow.connect()
      client.send(FlowWorld.get("/s"))
      flow.until(millisecond, { $0.upstreamIdle == 1 }) { _ in
        flow.remote.replacePlan(Self.parts(flow, 3001))
        flow.until(millisecond, { $0.counters.plansInstalled == 1 && $0.upstreamConnections == 0 })
        { account in
          #expect(account.upstreamIdle == 0)
          client.send(FlowWorld.get("/s"))
          flow.until(millisecond, { $0.counters.responses == 2 }) { _ in flow.remote.drain() }
        }
      }
    }
    #expect(account?.counters.upstreamConnects == 2)
  }

  @Test("a shorter timeout of the new plan holds for connections that were idle before")
  func timeouts() throws {
    let flow = try Self.world()
    flow.configuration.listeners[0].timeouts.idleNanoseconds = 600 * second
    var began: Int64 = 0
    var lasted: Int64 = 0
    _ = flow.run {
      let client = flow.connect()
      client.send(FlowWorld.get("/s"))
      flow.until(millisecond, { $0.counters.responses == 1 }) { _ in
        flow.configuration.listeners[0].timeouts.idleNanoseconds = 1 * second
        flow.remote.replacePlan(flow.parts)
        flow.until(millisecond, { $0.counters.plansInstalled == 1 }) { _ in
          client.send(FlowWorld.get("/s"))
          flow.until(millisecond, { $0.counters.responses == 2 }) { _ in
            began = flow.world.now
            flow.until(millisecond, { $0.connections == 0 }) { _ in
              lasted = flow.world.now - began
              flow.remote.drain()
            }
          }
        }
      }
    }
    #expect(lasted >= second - 20 * millisecond && lasted < second + 200 * millisecond)
  }

  @Test(
    "with all places in use the newest plan waits for one, and those between are left out",
    arguments: [LivePlan.windows - 1, LivePlan.windows, LivePlan.windows + 1, 40])
  func placesRunOut(_ count: Int) throws {
    let flow = try Self.world()
    flow.configuration.limits.connections = 128
    var asked: [SimulatedPeer] = []
    flow.serve = { _, peer, _ in asked.append(peer) }
    let account = flow.run {
      // Each request is in progress on a plan of its own, as long as there are places.
      func next(_ n: Int) {
        if n == count {
          return flow.until(millisecond, { _ in asked.count == count }) { account in
            #expect(account.plans == min(count, LivePlan.windows))
            for peer in asked { flow.answer(peer, "late") }
            flow.until(millisecond, { $0.exchanges == 0 && $0.plans == 1 }) { account in
              #expect(account.counters.responses == count)
              flow.remote.drain()
            }
          }
        }
        flow.connect().send(FlowWorld.get("/s"))
        flow.until(millisecond, { _ in asked.count == n + 1 }) { _ in
          if n + 1 == count { return next(n + 1) }
          flow.remote.replacePlan(Self.parts(flow, n % 2 == 0 ? 3001 : 3000))
          flow.until(
            millisecond, { $0.counters.plansInstalled + $0.counters.plansDelayed >= n + 1 }
          ) { _ in
            next(n + 1)
          }
        }
      }
      next(0)
    }
    let late = max(0, count - LivePlan.windows)
    #expect(account?.counters.plansDelayed == late)
    // The last of those that waited was installed when the first place became free.
    #expect(account?.counters.plansInstalled == count - 1 - late + (late > 0 ? 1 : 0))
    #expect(account?.plans == 1)
  }

  @Test("a plan that the worker has not taken is forgotten for a newer one")
  func notTaken() throws {
    let flow = try Self.world()
    let account = flow.run {
      for port in [3001, 3000, 3001] as [UInt16] { flow.remote.replacePlan(Self.parts(flow, port)) }
      flow.until(millisecond, { $0.counters.plansInstalled > 0 }) { account in
        #expect(account.counters.plansInstalled == 1)
        flow.remote.drain()
      }
    }
    #expect(account?.plans == 1)
  }
}
