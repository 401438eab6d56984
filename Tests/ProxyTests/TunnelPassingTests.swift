// Tunnels whose bytes are left to the kernel, in virtual time: what comes out is what went in, and every end
// is the same as without.

import Configuration
import Exchange
import MillraceEngine
import Testing

@testable import Proxy

private let second: Int64 = 1_000_000_000
private let millisecond: Int64 = 1_000_000

@Suite("Tunnels left to the kernel")
struct TunnelPassingTests {
  private func world(
    seed: Int = 1, _ conditions: SimulatedConditions = .calm
  ) throws -> (FlowWorld, TunnelWorld) {
    let flow = try FlowWorld(seed: UInt64(seed), conditions)
    flow.passingFrom = 1
    return (flow, TunnelWorld(flow))
  }

  private func expectNothingIsHeld(_ account: WorkerAccount?) {
    #expect(account?.tunnels == 0 && account?.connections == 0)
    #expect(account?.upstreamConnections == 0 && account?.exchanges == 0)
    #expect(account?.engine.framesInUse == 0 && account?.engine.leasedBuffers == 0)
    #expect(account?.engine.operationsInFlight == 0)
  }

  @Test("both directions at once are what was sent, whatever the world does", arguments: 1...12)
  func bothDirections(seed: Int) throws {
    var conditions = SimulatedConditions.calm
    conditions.segmentBytes = 100...9000
    conditions.receiveRoom = 4096...65_536
    conditions.sendRoom = 4096...65_536
    conditions.shortSends = 300
    conditions.coalescing = 300
    conditions.deferredSends = 500
    conditions.eagerQuietSends = 500
    conditions.reordering = 300
    conditions.slowCancellations = 500
    conditions.shortReceives = 300
    conditions.starvation = seed % 3 == 0 ? 100 : 0
    let (flow, tunnel) = try world(seed: seed, conditions)
    flow.passingFrom = seed % 2 == 0 ? 1 : 100_000
    flow.passages = seed % 5
    let (up, down) = (tunnelBytes(400_000, 1), tunnelBytes(500_000, 2))
    tunnel.onRequest = { server in
      server.send(Array(tunnelAccepted.utf8) + down)
      server.endsWhenSent = seed % 2 == 0
    }
    let account = flow.run {
      let client = tunnel.connect()
      client.send(up)
      client.endsWhenSent = seed % 2 == 1
      flow.until(
        millisecond,
        { _ in
          tunnel.toServer?.count == up.count && tunnel.toClient?.count == down.count
        }
      ) { account in
        #expect(account.tunnels == 1)
        client.finish()
        tunnel.server?.finish()
        flow.until(millisecond, { $0.exchanges == 0 }) { _ in flow.remote.drain() }
      }
    }
    #expect(tunnel.toServer?.elementsEqual(up) == true)
    #expect(tunnel.toClient?.elementsEqual(down) == true)
    #expect(tunnel.client?.hasEnded == true && tunnel.server?.hasEnded == true)
    #expect(account?.counters.tunnels == 1 && account?.counters.tunnelsCut == 0)
    #expect((account?.counters.tunnelPassages ?? 0) >= 1)
    expectNothingIsHeld(account)
  }

  @Test("a direction that rests is taken back, and left to the kernel again when much comes")
  func rest() throws {
    let (flow, tunnel) = try world()
    flow.passingFrom = 100_000
    flow.passages = 1
    let burst = tunnelBytes(200_000, 1)
    var passages: [Int] = []
    let account = flow.run {
      let client = tunnel.connect()
      func step(_ number: Int) {
        client.send(burst)
        flow.until(millisecond, { _ in tunnel.toServer?.count == number * (burst.count + 1) - 1 }) {
          passages.append($0.counters.tunnelPassages)
          // By now its place has been given back, or the next one would not find any.
          flow.after(120 * second) {
            client.send("x")
            flow.after(second) {
              if number < 3 { return step(number + 1) }
              client.finish()
              tunnel.server?.finish()
              flow.until(millisecond, { $0.exchanges == 0 }) { _ in flow.remote.drain() }
            }
          }
        }
      }
      flow.until(millisecond, { $0.tunnels == 1 }) { _ in step(1) }
    }
    #expect(passages == [1, 2, 3])
    let x = [UInt8(ascii: "x")]
    #expect(tunnel.toServer?.elementsEqual(burst + x + burst + x + burst + x) == true)
    expectNothingIsHeld(account)
  }

  @Test("a tunnel that moves nothing any more is cut after its time")
  func idle() throws {
    let (flow, tunnel) = try world()
    flow.configuration.upstreams[0].timeouts.tunnelNanoseconds = 100 * second
    var began: Int64 = 0
    var lasted: Int64 = 0
    let account = flow.run {
      let client = tunnel.connect()
      client.send(tunnelBytes(300_000, 1))
      flow.until(millisecond, { _ in tunnel.toServer?.count == 300_000 }) { _ in
        began = flow.world.now
        flow.until(10 * millisecond, { $0.exchanges == 0 }) { _ in
          lasted = flow.world.now - began
          flow.remote.drain()
        }
      }
    }
    #expect(lasted >= 100 * second && lasted <= 102 * second, "\(lasted)")
    #expect(tunnel.client?.wasReset == true && tunnel.server?.wasReset == true)
    #expect(account?.counters.timeouts == 1 && account?.counters.tunnelsCut == 1)
    #expect((account?.counters.tunnelPassages ?? 0) >= 1)
    expectNothingIsHeld(account)
  }

  @Test("a client that takes a little now and then keeps its tunnel, however slow it is")
  func slowReader() throws {
    let (flow, tunnel) = try world()
    flow.configuration.upstreams[0].timeouts.tunnelNanoseconds = 10 * second
    let bytes = tunnelBytes(2_000_000, 3)
    tunnel.onRequest = { server in
      server.send(accepted: bytes[..<1000])
      flow.after(10 * millisecond) { server.send(Array(bytes[1000..<2000])) }
      flow.after(second) { server.send(Array(bytes[2000...])) }
    }
    let account = flow.run {
      let client = tunnel.connect()
      flow.until(millisecond, { $0.counters.tunnelPassages >= 1 }) { _ in
        client.reads = false
        for i in 1...30 { flow.after(Int64(i) * 4 * second) { client.takeSome(20_000) } }
        flow.after(121 * second) {
          flow.remote.ask { account in
            #expect(account.tunnels == 1 && account.counters.timeouts == 0)
            #expect(account.engine.coldBytes < 1 << 20)
          }
        }
        flow.after(160 * second) {
          flow.remote.ask { account in #expect(account.tunnels == 0) }
          flow.remote.drain()
        }
      }
    }
    #expect(account?.counters.tunnelsCut == 1)
    expectNothingIsHeld(account)
  }

  @Test(
    "a reset of either side in the middle of much is one to the other", arguments: [false, true])
  func reset(byServer: Bool) throws {
    for seed in 1...6 {
      let (flow, tunnel) = try world(seed: seed, FlowWorld.likeARing)
      tunnel.onRequest = { $0.send(accepted: tunnelBytes(600_000, 4)[...]) }
      let account = flow.run {
        let client = tunnel.connect()
        client.send(tunnelBytes(600_000, 5))
        flow.after(Int64(seed) * 150_000) {
          if byServer { tunnel.server?.peer.reset() } else { client.peer.reset() }
        }
        flow.until(
          millisecond, { $0.exchanges == 0 && $0.counters.requests > 0 || client.wasReset }
        ) { _ in
          flow.after(10 * millisecond) { flow.remote.drain() }
        }
      }
      expectNothingIsHeld(account)
      if account?.counters.tunnels == 1 {
        #expect(account?.counters.tunnelsCut == 1)
        #expect(byServer ? tunnel.client?.wasReset == true : tunnel.server?.wasReset == true)
      }
    }
  }

  @Test(
    "each side may end its direction while the other one goes on", arguments: [false, true],
    [1, nil])
  func halfClose(byServer: Bool, passingFrom: Int?) throws {
    let (flow, tunnel) = try world()
    flow.passingFrom = passingFrom
    // More than is held for a side that has no room.
    let first = tunnelBytes(1_500_000, 6)
    let account = flow.run {
      let client = tunnel.connect()
      flow.until(millisecond, { _ in tunnel.toClient != nil }) { _ in
        guard let server = tunnel.server else { return }
        let (ending, other) = byServer ? (server, client) : (client, server)
        ending.send(first)
        ending.finish()
        flow.until(millisecond, { _ in other.hasEnded }) { account in
          #expect(account.tunnels == 1)
          #expect(other.throughTunnel?.elementsEqual(first) == true)
          other.send(first)
          other.finish()
          flow.until(millisecond, { $0.exchanges == 0 }) { _ in flow.remote.drain() }
        }
      }
    }
    #expect(tunnel.toClient?.elementsEqual(first) == true)
    #expect(tunnel.toServer?.elementsEqual(first) == true)
    #expect(account?.counters.tunnelsCut == 0)
    expectNothingIsHeld(account)
  }

  @Test("a tunnel is cut at the drain's deadline, whoever has its bytes", arguments: [false, true])
  func drain(readsNothing: Bool) throws {
    let (flow, tunnel) = try world()
    flow.configuration.drain.deadlineNanoseconds = 20 * second
    let account = flow.run {
      let client = tunnel.connect()
      client.send(tunnelBytes(200_000, 1))
      flow.until(millisecond, { $0.counters.tunnelPassages >= 1 }) { _ in
        if readsNothing { tunnel.server?.reads = false }
        client.send(tunnelBytes(20_000_000, 2))
        flow.remote.drain()
      }
    }
    #expect(account?.counters.tunnelsCut == 1)
    expectNothingIsHeld(account)
  }
}

extension TunnelEnd {
  fileprivate func send(accepted bytes: ArraySlice<UInt8>) {
    send(Array(tunnelAccepted.utf8) + bytes)
  }
}
