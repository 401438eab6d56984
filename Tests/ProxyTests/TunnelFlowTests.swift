// Tunnels in virtual time: both directions at once in rough conditions, each side's end, the tunnel's own
// time, the audit log's gate, the drain.

import Configuration
import Exchange
import MillraceEngine
import Testing

@testable import Proxy

private let second: Int64 = 1_000_000_000
private let millisecond: Int64 = 1_000_000
private let hour: Int64 = 3600 * second

@Suite("Tunnels")
struct TunnelFlowTests {
  @Test("both directions at once are what was sent, whatever the world does", arguments: 1...8)
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
    let flow = try FlowWorld(seed: UInt64(seed), conditions)
    let (up, down) = (tunnelBytes(400_000, 1), tunnelBytes(500_000, 2))
    let tunnel = TunnelWorld(flow)
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
    #expect(account?.tunnels == 0 && account?.connections == 0 && account?.upstreamConnections == 0)
    #expect(account?.engine.framesInUse == 0 && account?.engine.leasedBuffers == 0)
  }

  @Test("a tunnel that moves nothing is cut after its time, and not before")
  func idle() throws {
    let flow = try FlowWorld()
    let tunnel = TunnelWorld(flow)
    var began: Int64 = 0
    var lasted: Int64 = 0
    let account = flow.run {
      let client = tunnel.connect()
      // Beyond every other timeout, in one direction alone.
      flow.after(50 * 60 * second) { client.send("x") }
      flow.after(100 * 60 * second) {
        #expect(tunnel.toServer.map(Array.init) == [UInt8(ascii: "x")])
        tunnel.server?.send("y")
        began = flow.world.now
        flow.until(second, { $0.exchanges == 0 }) { account in
          lasted = flow.world.now - began
          flow.remote.drain()
        }
      }
    }
    #expect(lasted >= hour && lasted <= hour + 61 * second, "\(lasted)")
    #expect(tunnel.client?.wasReset == true && tunnel.server?.wasReset == true)
    #expect(account?.counters.timeouts == 1 && account?.counters.tunnelsCut == 1)
  }

  @Test("a client that takes a little now and then keeps its tunnel, however slow it is")
  func slowReader() throws {
    let flow = try FlowWorld()
    flow.configuration.upstreams[0].timeouts.tunnelNanoseconds = 10 * second
    let tunnel = TunnelWorld(flow)
    tunnel.onRequest = { $0.send(Array(tunnelAccepted.utf8) + tunnelBytes(2_000_000, 3)) }
    let account = flow.run {
      let client = tunnel.connect()
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
    #expect(account?.counters.tunnelsCut == 1)
  }

  @Test("the 101 waits for its record; what the client sends meanwhile does not")
  func gate() throws {
    let flow = try FlowWorld(FlowWorld.likeARing)
    flow.configuration.audit = AuditConfiguration(directory: "/audit")
    flow.world.disk.makeDirectory("/audit")
    let tunnel = TunnelWorld(flow)
    var sawGate = false
    let account = flow.run {
      let client = tunnel.connect(tunnelOffer + "early")
      func look() {
        flow.remote.ask { account in
          if account.isGated {
            sawGate = true
            #expect(client.received.isEmpty)
          }
          if client.received.isEmpty { flow.after(10_000) { look() } }
        }
      }
      look()
      flow.until(millisecond, { _ in tunnel.toServer?.count == 5 && tunnel.toClient != nil }) { _ in
        client.finish()
        tunnel.server?.finish()
        flow.until(millisecond, { $0.exchanges == 0 }) { _ in flow.remote.drain() }
      }
    }
    #expect(sawGate)
    #expect(tunnel.toServer.map(Array.init) == Array("early".utf8))
    #expect(account?.exchangesRecorded == 1)
  }

  @Test("a client that has gone before its 101 takes the server with it", arguments: [false, true])
  func goneEarly(resets: Bool) throws {
    let flow = try FlowWorld(FlowWorld.likeARing)
    let tunnel = TunnelWorld(flow)
    tunnel.onRequest = { server in
      if resets { tunnel.client?.peer.reset() } else { tunnel.client?.peer.finishSending() }
      flow.after(millisecond) {
        server.send(tunnelAccepted)
        if !resets { server.onEnd = { $0.finish() } }
      }
    }
    let account = flow.run {
      _ = tunnel.connect()
      flow.until(millisecond, { _ in tunnel.server != nil }) { _ in
        flow.until(millisecond, { $0.exchanges == 0 }) { _ in flow.remote.drain() }
      }
    }
    #expect(account?.counters.tunnels == (resets ? 0 : 1))
    #expect(account?.counters.tunnelsCut == 0)
    #expect(account?.upstreamConnections == 0)
  }

  @Test(
    "a reset of either side in the middle of much is one to the other", arguments: [false, true])
  func reset(byServer: Bool) throws {
    for seed in 1...8 {
      let flow = try FlowWorld(seed: UInt64(seed), FlowWorld.likeARing)
      let tunnel = TunnelWorld(flow)
      tunnel.onRequest = { $0.send(Array(tunnelAccepted.utf8) + tunnelBytes(600_000, 4)) }
      let account = flow.run {
        let client = tunnel.connect()
        client.send(tunnelBytes(600_000, 5))
        flow.after(Int64(seed) * 150_000) {
          if byServer { tunnel.server?.peer.reset() } else { client.peer.reset() }
        }
        flow.until(
          millisecond, { $0.exchanges == 0 && $0.counters.requests > 0 || client.wasReset }
        ) {
          _ in
          flow.after(10 * millisecond) { flow.remote.drain() }
        }
      }
      #expect(account?.exchanges == 0 && account?.tunnels == 0)
      #expect(account?.upstreamConnections == 0 && account?.engine.framesInUse == 0)
      if account?.counters.tunnels == 1 {
        #expect(account?.counters.tunnelsCut == 1)
        #expect(byServer ? tunnel.client?.wasReset == true : tunnel.server?.wasReset == true)
      }
    }
  }

  @Test("a connection that is passed on is cut where a request would be answered or would wait")
  func relayWithoutRoom() throws {
    for policy in [AuditConfiguration.WhenFull.block, .reject] {
      let flow = try FlowWorld(FlowWorld.likeARing)
      var audit = AuditConfiguration(directory: "/audit")
      audit.whenFull = policy
      audit.segmentSize = 1 << 20
      flow.configuration.audit = audit
      flow.world.disk.makeDirectory("/audit")
      flow.world.conditions.diskCapacity = 4096
      flow.configuration.listeners[0].relay = RelayConfiguration(upstream: 0)
      let tunnel = TunnelWorld(flow)
      let account = flow.run {
        let client = tunnel.connect("hello")
        flow.until(millisecond, { _ in client.wasReset }) { _ in flow.remote.drain() }
      }
      #expect(tunnel.client?.received == [])
      #expect(tunnel.server == nil)
      #expect(account?.exchanges == 0 && account?.connections == 0)
      #expect(account?.counters.auditRejects == 1 && account?.counters.tunnels == 0)
    }
  }

  @Test("a first message that comes byte by byte costs a bounded work, and then its connection")
  func endlessHello() throws {
    let flow = try FlowWorld()
    flow.configuration.listeners[0].relay = RelayConfiguration(
      upstream: 0, names: [RelayConfiguration.Name(name: "a.b", upstream: 0)])
    let tunnel = TunnelWorld(flow)
    var sent = 0
    let account = flow.run {
      let client = tunnel.connect("")
      // A record, a message in it and the cipher suites in that announce some 16,000 bytes.
      let beginning: [UInt8] =
        [22, 3, 1, 0x3E, 0x84, 1, 0, 0x3E, 0x80, 3, 3] + Array(repeating: 0, count: 33) + [0x3E, 0]
      func next() {
        guard !client.wasReset, sent < 16_000 else { return flow.remote.drain() }
        client.send([sent < beginning.count ? beginning[sent] : 0])
        sent += 1
        flow.after(300_000) { next() }
      }
      next()
    }
    #expect(tunnel.client?.wasReset == true)
    #expect(sent > 1000 && sent < 3000, "\(sent)")
    #expect(tunnel.server == nil)
    #expect(account?.counters.badRequests == 1 && account?.connections == 0)
  }

  @Test("a connection that is passed on has its server before its client says anything")
  func relay() throws {
    let flow = try FlowWorld(FlowWorld.likeARing)
    flow.configuration.listeners[0].relay = RelayConfiguration(upstream: 0)
    let tunnel = TunnelWorld(flow)
    let account = flow.run {
      let client = tunnel.connect("")
      flow.until(millisecond, { $0.tunnels == 1 }) { _ in
        tunnel.server?.send("first")
        flow.until(millisecond, { _ in client.received.count == 5 }) { _ in
          client.send(tunnelBytes(300_000, 6))
          client.finish()
          flow.until(millisecond, { _ in tunnel.server?.hasEnded == true }) { _ in
            tunnel.server?.send("last")
            tunnel.server?.finish()
            flow.until(millisecond, { $0.exchanges == 0 }) { _ in flow.remote.drain() }
          }
        }
      }
    }
    #expect(tunnel.server?.received == tunnelBytes(300_000, 6))
    #expect(tunnel.client?.received == Array("firstlast".utf8))
    #expect(account?.counters.tunnelsCut == 0 && account?.connections == 0)
  }

  @Test("a tunnel goes on while the worker drains, and is cut at the deadline")
  func drain() throws {
    let flow = try FlowWorld()
    flow.configuration.drain.deadlineNanoseconds = 20 * second
    let tunnel = TunnelWorld(flow)
    var cutAt: Int64 = 0
    var began: Int64 = 0
    let account = flow.run {
      let client = tunnel.connect()
      flow.until(millisecond, { $0.tunnels == 1 }) { _ in
        began = flow.world.now
        flow.remote.drain()
        flow.after(15 * second) { client.send("late") }
        func look() {
          if client.wasReset {
            cutAt = flow.world.now
          } else {
            flow.after(50 * millisecond) { look() }
          }
        }
        look()
      }
    }
    #expect(tunnel.toServer.map(Array.init) == Array("late".utf8))
    #expect(cutAt - began >= 20 * second && cutAt - began < 21 * second)
    #expect(account?.counters.tunnelsCut == 1 && account?.connections == 0)
  }
}
