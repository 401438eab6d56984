import Configuration
import MillraceEngine
import Testing

@testable import Proxy

@Suite("The steps of a drain")
struct DrainTests {
  private let second: Int64 = 1_000_000_000

  @Test("an idle connection has half of the time, and two seconds at most")
  func grace() {
    var short = Drain()
    let half = short.begin(now: 0, time: second, tunnelTime: second)
    #expect(half == second / 2)
    var long = Drain()
    let most = long.begin(now: 0, time: 60 * second, tunnelTime: 60 * second)
    #expect(most == 2 * second)
    #expect(!long.isServing && !long.isFinished)
  }

  @Test("it looks at once, then every 50 ms, and sooner when a connection has closed")
  func looks() {
    var drain = Drain()
    var looks = [drain.isDue(now: 100)]
    _ = drain.begin(now: 100, time: second, tunnelTime: second)
    looks.append(drain.isDue(now: 100))
    looks.append(drain.isDue(now: 100))
    #expect(drain.nextLook == 50_000_100)
    drain.lookSoon(now: 200)
    looks.append(drain.isDue(now: 200))
    #expect(looks == [false, true, false, true])
  }

  @Test("each step has a deadline of its own")
  func deadlines() {
    var drain = Drain()
    _ = drain.begin(now: 0, time: second, tunnelTime: second)
    #expect(!drain.isOverdue(now: second - 1) && drain.isOverdue(now: second))
    drain.closeLog(now: second)
    #expect(!drain.isOverdue(now: 11 * second - 1) && drain.isOverdue(now: 11 * second))
    drain.finish()
    #expect(drain.isFinished && drain.nextLook == .max)
  }

  @Test("tunnels have a time of their own, which a stop may shorten and not lengthen")
  func tunnels() {
    var drain = Drain()
    _ = drain.begin(now: 10, time: second, tunnelTime: .max)
    #expect(drain.isOverdue(now: 2 * second) && drain.sparesTunnels(now: .max - 1))
    drain.limitTunnels(now: 2 * second, time: second)
    #expect(drain.sparesTunnels(now: 3 * second - 1) && !drain.sparesTunnels(now: 3 * second))
    drain.limitTunnels(now: 2 * second, time: 5 * second)
    #expect(!drain.sparesTunnels(now: 3 * second))
  }

  @Test("before it has begun a closed connection is nothing to look at")
  func serving() {
    var drain = Drain()
    drain.lookSoon(now: 5)
    #expect(drain.nextLook == .max && drain.isServing)
  }
}

@Suite("What a drain does to connections")
struct DrainingTests {
  private let second: Int64 = 1_000_000_000
  private let millisecond: Int64 = 1_000_000

  /// A look of the drain or of the wheel, every 50 ms, and the gap between two questions of the test.
  private var allowance: Int64 { 50 * millisecond + 50 * millisecond + 2 * millisecond }

  private func world(deadline: Int64) throws -> FlowWorld {
    let flow = try FlowWorld()
    flow.configuration.drain.deadlineNanoseconds = deadline
    flow.configuration.listeners[0].timeouts = DownstreamTimeouts(
      headNanoseconds: 60 * second, bodyNanoseconds: 60 * second, idleNanoseconds: 60 * second)
    flow.configuration.upstreams[0].timeouts = UpstreamTimeouts(
      connectNanoseconds: 60 * second, responseNanoseconds: 60 * second,
      idleNanoseconds: 60 * second)
    return flow
  }

  /// Looks every millisecond until something has come true outside of the worker, which may have ended
  /// by then; for two minutes at most.
  private func when(
    _ flow: FlowWorld, left: Int = 120_000, _ isTrue: @escaping () -> Bool,
    _ body: @escaping () -> Void
  ) {
    if isTrue() { return body() }
    guard left > 0 else { return }
    flow.after(millisecond) { when(flow, left: left - 1, isTrue, body) }
  }

  @Test("idle connections end: a server's at once, a client's after its grace", arguments: [1, 60])
  func idle(_ seconds: Int64) throws {
    let flow = try world(deadline: seconds * second)
    var client: FlowClient?
    var began: Int64 = 0
    var serverLasted: Int64 = .max
    var lasted: Int64 = .max
    let account = flow.run {
      client = flow.connect()
      client?.send(FlowWorld.get("/s"))
      flow.until(millisecond, { $0.upstreamIdle == 1 }) { _ in
        began = flow.world.now
        flow.remote.drain()
        when(flow, { flow.serverPeers[0].hasEnded }) {
          serverLasted = flow.world.now - began
          #expect(client?.isOver == false, "the client has lost its connection with the server's")
        }
        when(flow, { client?.isOver == true }) { lasted = flow.world.now - began }
      }
    }
    #expect(flow.serverPeers[0].hasEnded && client?.isOver == true)
    #expect(serverLasted <= allowance, "\(serverLasted)")
    let grace = min(seconds * second / 2, 2 * second)
    #expect(lasted >= grace && lasted <= grace + allowance, "\(lasted)")
    #expect(client?.peer.wasReset == false)
    #expect(account?.counters.timeouts == 0 && account?.exchanges == 0)
  }

  @Test("one more request is served in that time, and says that it is the last")
  func lastRequest() throws {
    let flow = try world(deadline: 60 * second)
    var client: FlowClient?
    let account = flow.run {
      client = flow.connect()
      client?.send(FlowWorld.get("/s"))
      flow.until(millisecond, { $0.upstreamIdle == 1 }) { _ in
        flow.remote.drain()
        flow.after(self.second) { client?.send(FlowWorld.get("/s")) }
      }
    }
    #expect(client?.count("HTTP/1.1 200 OK") == 2)
    #expect(client?.count("Connection: close") == 1)
    #expect(client?.peer.hasEnded == true)
    #expect(account?.counters.responses == 2)
  }

  @Test("what is in progress at the deadline is cut, and nothing before it", arguments: [3, 5])
  func overdue(_ seconds: Int64) throws {
    let flow = try world(deadline: seconds * second)
    flow.serve = { _, _, _ in }
    var client: FlowClient?
    var lasted: Int64 = .max
    let account = flow.run {
      client = flow.connect()
      client?.send(FlowWorld.get("/s"))
      flow.until(millisecond, { $0.exchanges == 1 }) { _ in
        let began = flow.world.now
        flow.remote.drain()
        when(flow, { client?.isOver == true }) { lasted = flow.world.now - began }
      }
    }
    #expect(lasted >= seconds * second && lasted <= seconds * second + allowance, "\(lasted)")
    #expect(client?.text.isEmpty == true && client?.peer.wasReset == true)
    #expect(account?.exchanges == 0 && account?.upstreamConnections == 0)
  }

  @Test("what ends before the deadline is answered")
  func inTime() throws {
    let flow = try world(deadline: 5 * second)
    flow.serve = { flow, peer, _ in flow.after(4 * self.second) { flow.answer(peer, "late") } }
    var client: FlowClient?
    let account = flow.run {
      client = flow.connect()
      client?.send(FlowWorld.get("/s"))
      flow.until(millisecond, { $0.exchanges == 1 }) { _ in flow.remote.drain() }
    }
    #expect(client?.text.hasSuffix("late") == true && client?.count("Connection: close") == 1)
    #expect(client?.peer.hasEnded == true && account?.counters.responses == 1)
  }
}
