// Peers of HTTP/2 that fall silent, in virtual time: who is asked for a sign of life and when, and what
// becomes of the requests of those that give none.

import Configuration
import HTTP2
import MillraceEngine
import Testing

@testable import Proxy

private let second: Int64 = 1_000_000_000
private let millisecond: Int64 = 1_000_000

@Suite("When a PING is due")
struct KeepAlivePingTests {
  private let rare = PingRules(
    interval: 10 * second, answerLimit: 15 * second, growsRare: true)
  private let steady = PingRules(
    interval: 10 * second, answerLimit: 15 * second, growsRare: false)

  @Test("behind the interval, and overdue behind the limit of its answer")
  func steps() {
    var ping = KeepAlivePing()
    ping.heard(100 * second)
    #expect(ping.due(steady) == 110 * second && !ping.isDoubted)
    #expect(ping.step(110 * second - 1, steady) == .none)
    #expect(ping.step(110 * second, steady) == .ask)
    ping.asked(111 * second, steady)
    #expect(ping.isDoubted && ping.due(steady) == 126 * second)
    // A second question does not move the time of the first.
    ping.asked(120 * second, steady)
    #expect(ping.step(126 * second - 1, steady) == .none)
    #expect(ping.step(126 * second, steady) == .overdue)
    ping.heard(126 * second)
    #expect(!ping.isDoubted && ping.step(126 * second, steady) == .none)
  }

  @Test("never for silence alone where there is no interval, and still for a doubt")
  func off() {
    let off = PingRules(interval: 0, answerLimit: second, growsRare: true)
    var ping = KeepAlivePing()
    ping.heard(second)
    #expect(ping.due(off) == .max && ping.step(1 << 60, off) == .none)
    ping.asked(2 * second, off)
    #expect(ping.step(3 * second, off) == .overdue)
    ping.heard(3 * second)
    ping.answered(3 * second)
    #expect(ping.due(off) == .max)
  }

  @Test("an answer that comes together with other frames is no sign of silence")
  func together() {
    for (bytes, next) in [(17, 40), (17 + 9, 10)] {
      var ping = KeepAlivePing()
      ping.heard(second)
      ping.asked(11 * second, rare)
      ping.heard(12 * second, bytes: bytes)
      ping.answered(12 * second)
      #expect(ping.due(rare) == (12 + Int64(next)) * second)
    }
    // Behind it in the same turn, and in a piece of its own.
    var ping = KeepAlivePing()
    ping.heard(second)
    ping.asked(11 * second, rare)
    ping.heard(12 * second, bytes: 17)
    ping.answered(12 * second)
    ping.heard(12 * second, bytes: 1000)
    #expect(ping.due(rare) == 22 * second)
  }

  /// The seconds between the questions to a peer that answers them at once and says nothing else.
  private func gaps(_ rules: PingRules, _ count: Int) -> [Int64] {
    var ping = KeepAlivePing()
    var now = second
    ping.heard(now)
    return (0..<count).map { _ in
      let due = ping.due(rules)
      defer { now = due }
      #expect(ping.step(due, rules) == .ask)
      ping.asked(due, rules)
      ping.heard(due)
      ping.answered(due)
      return (due - now) / second
    }
  }

  @Test("less and less often to a server that says nothing else, and again soon when it does")
  func rarer() {
    #expect(gaps(rare, 6) == [10, 40, 160, 330, 330, 330])
    #expect(gaps(steady, 3) == [10, 10, 10])
    var ping = KeepAlivePing()
    ping.heard(second)
    ping.asked(11 * second, rare)
    ping.heard(11 * second)
    ping.answered(11 * second)
    #expect(ping.due(rare) == 51 * second)
    ping.heard(12 * second)
    #expect(ping.due(rare) == 22 * second)
    // An interval above the maximum stays what it is.
    let long = PingRules(interval: 3600 * second, answerLimit: second, growsRare: true)
    ping.asked(19 * second, long)
    ping.heard(20 * second)
    ping.answered(20 * second)
    #expect(ping.due(long) == 3620 * second)
  }
}

@Suite("Peers of HTTP/2 that fall silent")
struct KeepAliveFlowTests {
  private typealias World = HTTP2ServerWorld

  private func expectNothingHeld(_ account: WorkerAccount?) {
    #expect(
      account?.connections == 0 && account?.exchanges == 0 && account?.upstreamConnections == 0
        && account?.active == 0 && account?.timers == 0)
    #expect(account?.engine.coldBytes == 0 && account?.engine.framesInUse == 0)
  }

  /// A world in which a response may take as long as it likes.
  private func patientWorld() throws -> World {
    let world = try World()
    world.flow.configuration.upstreams[0].timeouts.responseNanoseconds = 3600 * second
    return world
  }

  @Test("a request of a server that falls silent is sent again, on another connection")
  func silentServer() throws {
    let world = try patientWorld()
    world.onRequest = { server, stream in
      guard world.servers.count == 1 else { return server.answer(stream, "ok") }
      server.peer.onEvent = { _, _ in }
    }
    let began = world.flow.world.now
    var ended: Int64 = 0
    let account = world.run(until: { account in
      ended = world.flow.world.now
      return account.counters.responses == 1
    }) { client in client.get("/s/1") }
    #expect(world.isWhole(1) && world.servers.count == 2)
    #expect(account?.counters.http2PingTimeouts == 1 && account?.counters.retries == 1)
    // 10 s of silence, 15 s more behind the PING, and a tick of the timer wheel for each.
    #expect(ended - began >= 25 * second && ended - began <= 25 * second + 200 * millisecond)
    expectNothingHeld(account)
  }

  @Test("a request that may not be repeated fails, and says why")
  func silentServerOfAPost() throws {
    let world = try patientWorld()
    world.onRequest = { server, _ in server.peer.onEvent = { _, _ in } }
    let content = [UInt8](repeating: 7, count: 100)
    let account = content.withUnsafeBytes { content in
      world.run(until: { $0.counters.responses == 1 }) { client in
        client.request("/s/1", "POST", HTTP2Content(content))
      }
    }
    let response = world.client.responses[1]
    #expect(response?.status == 504)
    let text = String(decoding: response?.content ?? [], as: UTF8.self)
    #expect(text == "504 Gateway Timeout (upstream_ping_timeout)\n")
    #expect(account?.counters.timeouts == 1)
    expectNothingHeld(account)
  }

  @Test("a server that answers PINGs may be silent for as long as its timeouts let it")
  func patientServer() throws {
    let world = try patientWorld()
    world.onRequest = { server, stream in
      world.flow.after(300 * second) { server.answer(stream, "late") }
    }
    let account = world.run(until: { $0.counters.responses == 1 }) { $0.get("/s/1") }
    #expect(world.client.responses[1]?.content == Array("late".utf8))
    #expect(world.servers.count == 1 && account?.counters.http2PingTimeouts == 0)
    expectNothingHeld(account)
  }

  @Test("no PING for silence where it is off")
  func off() throws {
    let world = try patientWorld()
    world.flow.configuration.upstreams[0].timeouts.keepAlivePingNanoseconds = 0
    var server: HTTP2FlowServer?
    world.onRequest = { found, stream in
      server = found
      let onEvent = found.peer.onEvent
      found.peer.onEvent = { _, _ in }
      // Nothing has come meanwhile that it would have to read.
      world.flow.after(120 * second) {
        found.peer.onEvent = onEvent
        found.answer(stream, "late")
      }
    }
    let account = world.run(until: { $0.counters.responses == 1 }) { $0.get("/s/1") }
    #expect(server != nil && world.isWhole(1) && account?.counters.http2PingTimeouts == 0)
    expectNothingHeld(account)
  }

  @Test("behind a response timeout the connection gets no request before a sign of life")
  func doubt() throws {
    let world = try World()
    world.flow.configuration.upstreams[0].timeouts.responseNanoseconds = second
    world.flow.configuration.upstreams[0].timeouts.keepAlivePingNanoseconds = 0
    world.onRequest = { server, stream in
      guard world.servers.count == 1 else { return server.answer(stream, "ok") }
      server.peer.onEvent = { _, _ in }
    }
    let account = world.run(until: { $0.counters.responses == 2 }) { client in
      client.get("/s/1")
      world.flow.until(millisecond, { $0.counters.responses == 1 }) { _ in client.get("/s/2") }
    }
    #expect(world.client.responses[1]?.status == 504)
    #expect(world.isWhole(3) && world.servers.count == 2)
    expectNothingHeld(account)
  }

  @Test("a server that is merely slow keeps its connection")
  func slow() throws {
    let world = try World()
    world.flow.configuration.upstreams[0].timeouts.responseNanoseconds = second
    world.onRequest = { server, stream in
      if stream > 1 { server.answer(stream, "ok") }
    }
    let account = world.run(until: { $0.counters.responses == 2 }) { client in
      client.get("/s/1")
      world.flow.until(millisecond, { $0.counters.responses == 1 }) { _ in
        world.flow.after(100 * millisecond) { client.get("/s/2") }
      }
    }
    #expect(world.client.responses[1]?.status == 504)
    #expect(world.isWhole(3) && world.servers.count == 1)
    #expect(account?.counters.http2PingTimeouts == 0)
    expectNothingHeld(account)
  }

  @Test("a client that falls silent is given up where that is asked for")
  func silentClient() throws {
    let world = try patientWorld()
    world.flow.configuration.listeners[0].timeouts.keepAlivePingNanoseconds = 5 * second
    world.flow.configuration.listeners[0].timeouts.keepAliveAckNanoseconds = 2 * second
    world.onRequest = { _, _ in world.client.peer.onEvent = { _, _ in } }
    let began = world.flow.world.now
    var ended: Int64 = 0
    let account = world.run(until: { account in
      ended = world.flow.world.now
      return account.counters.http2PingTimeouts == 1 && account.exchanges == 0
    }) { client in client.get("/s/1") }
    #expect(ended - began >= 7 * second && ended - began <= 7 * second + 200 * millisecond)
    #expect(world.servers[0].requests[1]?.reset == .cancel)
    expectNothingHeld(account)
  }

  @Test("a client that answers PINGs may wait for its response")
  func patientClient() throws {
    let world = try patientWorld()
    world.flow.configuration.listeners[0].timeouts.keepAlivePingNanoseconds = 5 * second
    world.flow.configuration.listeners[0].timeouts.keepAliveAckNanoseconds = 2 * second
    world.onRequest = { server, stream in
      world.flow.after(60 * second) { server.answer(stream, "late") }
    }
    let account = world.run(until: { $0.counters.responses == 1 }) { $0.get("/s/1") }
    #expect(world.isWhole(1) && account?.counters.http2PingTimeouts == 0)
    expectNothingHeld(account)
  }
}
