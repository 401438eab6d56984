// What a connection may hold and for how long, each as a short script in virtual time.

import Configuration
import Exchange
import MillraceEngine
import Testing

@testable import Proxy

private let second: Int64 = 1_000_000_000
private let millisecond: Int64 = 1_000_000

@Suite("Stalled peers")
struct StallTests {
  /// A look at the timers, the wheel's tick, and the gap between two questions of the test.
  private static let allowance = 250 * millisecond + 50 * millisecond + 20 * millisecond

  private static func world() throws -> FlowWorld {
    let flow = try FlowWorld()
    flow.configuration.listeners[0].timeouts = DownstreamTimeouts(
      headNanoseconds: 60 * second, bodyNanoseconds: 2 * second, idleNanoseconds: 60 * second)
    flow.configuration.upstreams[0].timeouts = UpstreamTimeouts(
      connectNanoseconds: 60 * second, responseNanoseconds: 2 * second,
      idleNanoseconds: 60 * second)
    return flow
  }

  @Test("a client that reads nothing is cut after its time and one look, not after twice its time")
  func stalledClient() throws {
    let flow = try Self.world()
    flow.serve = { flow, peer, _ in
      flow.answer(peer, String(repeating: "x", count: 1 << 20))
    }
    var began: Int64 = 0
    var lasted: Int64 = 0
    _ = flow.run {
      let client = flow.connect()
      client.reads = false
      client.send(FlowWorld.get("/s"))
      flow.until(10 * millisecond, { $0.exchanges == 1 }) { _ in
        began = flow.world.now
        flow.until(10 * millisecond, { $0.exchanges == 0 }) { account in
          lasted = flow.world.now - began
          #expect(account.counters.timeouts == 1)
          flow.remote.drain()
        }
      }
    }
    #expect(lasted >= 2 * second - 20 * millisecond && lasted <= 2 * second + Self.allowance)
  }

  @Test("a server that reads nothing is given up after its time and one look")
  func stalledServer() throws {
    let flow = try Self.world()
    var began: Int64 = 0
    var lasted: Int64 = 0
    _ = flow.run {
      flow.isDeaf = true
      let client = flow.connect()
      client.send("POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 4194304\r\n\r\n")
      client.send(String(repeating: "x", count: 4_194_304))
      flow.until(10 * millisecond, { $0.exchanges == 1 }) { _ in
        began = flow.world.now
        flow.until(10 * millisecond, { $0.exchanges == 0 }) { account in
          lasted = flow.world.now - began
          #expect(account.counters.timeouts == 1)
          flow.remote.drain()
        }
      }
    }
    #expect(lasted >= 2 * second - 20 * millisecond && lasted <= 2 * second + Self.allowance)
  }

  @Test("a client that reads a little within each time is given more")
  func slowClient() throws {
    let flow = try Self.world()
    flow.serve = { flow, peer, _ in
      flow.answer(peer, String(repeating: "x", count: 1 << 20))
    }
    var isServed = false
    let account = flow.run {
      let client = flow.connect()
      client.reads = false
      client.send(FlowWorld.get("/s"))
      func read(_ left: Int) {
        client.take(atMost: 65_536)
        if left > 0 { return flow.after(1_700 * millisecond) { read(left - 1) } }
        isServed = client.count("x") >= 1 << 20
        flow.remote.drain()
      }
      flow.after(1_700 * millisecond) { read(20) }
    }
    #expect(isServed)
    #expect(account?.counters.timeouts == 0)
  }

  @Test("a client that resets while nothing is read of it is let go", arguments: [false, true])
  func departedUpload(_ isChunked: Bool) throws {
    let flow = try Self.world()
    flow.configuration.listeners[0].timeouts.bodyNanoseconds = 3600 * second
    flow.configuration.upstreams[0].timeouts.responseNanoseconds = 3600 * second
    flow.configuration.listeners[0].timeouts.headNanoseconds = 4 * second
    let account = flow.run {
      flow.isDeaf = true
      let client = flow.connect()
      if isChunked {
        client.send("POST /s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400000\r\n")
      } else {
        client.send("POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 4194304\r\n\r\n")
      }
      client.send(String(repeating: "x", count: 4_194_304))
      flow.after(5 * second) {
        client.peer.reset()
        flow.after(2 * second) {
          flow.remote.ask { account in
            #expect(account.exchanges == 0 && account.connections == 0)
            flow.remote.drain()
          }
        }
      }
    }
    #expect(account?.counters.downstreamAborts == 1)
    #expect(account?.counters.timeouts == 0)
  }
}

@Suite("Half-close")
struct HalfCloseTests {
  @Test("an end of input at any moment loses no request that came before it")
  func endAtAnyMoment() throws {
    // Within the turn of the first answer by nanoseconds, then later.
    let delays = Array(0..<200) + Array(stride(from: 200, through: 200_000, by: 2_000))
    for delay in delays.map(Int64.init) {
      let flow = try FlowWorld(seed: UInt64(delay + 1), FlowWorld.likeARing)
      flow.world.conditions.reordering = 500
      flow.world.conditions.deferredSends = 1000
      var client: FlowClient?
      _ = flow.run {
        let one = flow.connect()
        client = one
        flow.after(millisecond) {
          one.send(FlowWorld.get("/nowhere") + FlowWorld.get("/s/2") + FlowWorld.get("/nowhere"))
        }
        flow.after(millisecond + delay) { one.peer.finishSending() }
        flow.after(2 * second) { flow.remote.drain() }
      }
      #expect(client?.count("HTTP/1.1 404") == 2, "delay \(delay)")
      #expect(client?.count("HTTP/1.1 200") == 1, "delay \(delay)")
      #expect(client?.peer.hasEnded == true, "delay \(delay)")
    }
  }

  @Test("the content of a pipelined request is read on, whenever it comes")
  func contentAtAnyMoment() throws {
    let delays = Array(0..<200) + Array(stride(from: 200, through: 100_000, by: 2_000))
    for delay in delays.map(Int64.init) {
      let flow = try FlowWorld(seed: UInt64(delay + 1), FlowWorld.likeARing)
      flow.world.conditions.reordering = 500
      flow.world.conditions.deferredSends = 1000
      var content = 0
      flow.serve = { flow, peer, text in
        content += text.utf8.filter { $0 == UInt8(ascii: "x") }.count
        if content == 30 { flow.answer(peer, "ok") }
      }
      let head = "POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n"
      let part = String(repeating: "x", count: 10)
      var client: FlowClient?
      let account = flow.run {
        let one = flow.connect()
        client = one
        flow.after(millisecond) { one.send(FlowWorld.get("/nowhere") + "POST") }
        flow.after(millisecond + delay) { one.send(String(head.dropFirst(4)) + part) }
        flow.after(millisecond + 2 * delay) { one.send(part) }
        flow.after(2 * millisecond) { one.send(part) }
        flow.after(2 * second) { flow.remote.drain() }
      }
      #expect(client?.count("HTTP/1.1 200") == 1, "delay \(delay)")
      #expect(account?.counters.timeouts == 0, "delay \(delay)")
    }
  }

  @Test("a request that waits for room in the log outlives the end of input")
  func waitsForRoom() throws {
    let flow = try FlowWorld(FlowWorld.likeARing)
    var audit = AuditConfiguration(directory: "/audit")
    audit.whenFull = .block
    audit.durability = .beforeResponse
    audit.segmentSize = 1 << 20
    flow.configuration.audit = audit
    flow.world.disk.makeDirectory("/audit")
    flow.world.conditions.diskCapacity = 4096
    var client: FlowClient?
    _ = flow.run {
      let one = flow.connect()
      client = one
      flow.after(millisecond) {
        one.send(FlowWorld.get("/s"))
        one.peer.finishSending()
      }
      flow.after(5 * second) {
        #expect(one.text.isEmpty && !one.isOver)
        flow.world.conditions.diskCapacity = 1 << 40
      }
      flow.after(20 * second) { flow.remote.drain() }
    }
    #expect(client?.count("200 OK") == 1)
    #expect(client?.peer.hasEnded == true)
  }

  @Test("content that will not come ends its request at once, behind another one too")
  func missingContent() throws {
    for isPipelined in [false, true] {
      let flow = try FlowWorld(FlowWorld.likeARing)
      flow.serve = { flow, peer, text in
        guard text.hasPrefix("GET") else { return }
        flow.after(5 * millisecond) { flow.answer(peer, "ok") }
      }
      let account = flow.run {
        let client = flow.connect()
        let short = "POST /s/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"
        flow.after(millisecond) {
          client.send((isPipelined ? FlowWorld.get("/s/1") : "") + short)
          client.peer.finishSending()
        }
        flow.after(second) {
          flow.remote.ask { account in
            #expect(account.exchanges == 0 && account.connections == 0)
            flow.remote.drain()
          }
        }
      }
      #expect(account?.counters.timeouts == 0)
    }
  }
}

@Suite("Pipelines")
struct PipelineTests {
  @Test("an endless pipeline is held in bounded memory and keeps nobody waiting")
  func endlessPipeline() throws {
    let flow = try FlowWorld(FlowWorld.likeARing)
    var highest = 0
    var answersBefore = 0
    var otherIsServed = false
    _ = flow.run {
      let client = flow.connect()
      client.send(String(repeating: FlowWorld.get("/nowhere"), count: 40_000))
      func look() {
        flow.remote.ask { account in
          highest = max(highest, account.engine.coldBytes)
          if !otherIsServed { flow.after(50_000) { look() } }
        }
      }
      look()
      flow.after(3 * millisecond) {
        let before = client.count("HTTP/1.1 404")
        let other = flow.connect()
        other.send(FlowWorld.get("/s"))
        other.onText = { other in
          guard other.count("200 OK") == 1 else { return }
          otherIsServed = true
          answersBefore = client.count("HTTP/1.1 404") - before
          client.peer.reset()
          flow.remote.drain()
        }
      }
    }
    #expect(otherIsServed)
    // One request of the pipeline a turn, and a turn is a few microseconds of this world.
    #expect(answersBefore < 400)
    #expect(highest <= 2 * Int(ExchangeState.Limits.standard.flow.high))
  }
}

@Suite("Servers that speak unasked, or close")
struct StaleConnectionTests {
  /// A second request and something of the server's arrive at the same instant, in either order.
  private func second(
    serverFirst: Bool, _ act: @escaping (FlowWorld, SimulatedPeer) -> Void
  ) throws -> (FlowWorld, FlowClient, WorkerAccount) {
    let flow = try FlowWorld()
    flow.world.conditions.latency = 20_000...20_000
    var made: FlowClient?
    flow.serve = { $0.answer($1, $2.contains("/s/1") ? "one" : "two") }
    let account = flow.run {
      let client = flow.connect()
      made = client
      client.send(FlowWorld.get("/s/1"))
      flow.after(100 * millisecond) {
        // Both are on their way for the same time.
        if serverFirst { act(flow, flow.serverPeers[0]) }
        client.send(FlowWorld.post("/s/2"))
        if !serverFirst { act(flow, flow.serverPeers[0]) }
      }
      flow.after(StaleConnectionTests.end) { flow.remote.drain() }
    }
    return (flow, try #require(made), try #require(account))
  }

  private static let end: Int64 = 1_000_000_000

  @Test("bytes that came before a request was sent are not its response", arguments: [true, false])
  func surplus(_ serverFirst: Bool) throws {
    let (flow, client, account) = try second(serverFirst: serverFirst) { $0.answer($1, "evil") }
    #expect(client.text.hasSuffix("two") && !client.text.contains("evil"))
    #expect(flow.arrivals.filter { $0.contains("/s/2") }.count == 1)
    #expect(flow.serverPeers.count == 2)
    #expect(account.counters.retries == 0 && account.counters.responses == 2)
  }

  @Test(
    "a connection that its server closed before a request was sent does not lose it",
    arguments: [true, false])
  func closed(_ serverFirst: Bool) throws {
    let (flow, client, account) = try second(serverFirst: serverFirst) { $1.close() }
    #expect(client.text.hasSuffix("two"))
    #expect(flow.arrivals.filter { $0.contains("/s/2") }.count == 1)
    #expect(flow.serverPeers.count == 2)
    #expect(account.counters.retries == 0 && account.counters.responses == 2)
  }

  @Test("a try is the last one once an interim response has come")
  func interim() throws {
    let flow = try FlowWorld()
    flow.configuration.upstreams[0].retries.attempts = 3
    var client: FlowClient?
    flow.serve = { flow, peer, _ in
      _ = peer.send(Array("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".utf8))
      flow.after(10 * millisecond) { peer.reset() }
    }
    _ = flow.run {
      let one = flow.connect()
      client = one
      one.send(FlowWorld.get("/s"))
      flow.after(1_000 * millisecond) { flow.remote.drain() }
    }
    #expect(flow.arrivals.count == 1)
    #expect(client?.count("HTTP/1.1 103") == 1 && client?.count("HTTP/1.1 502") == 1)
  }
}

@Suite("Idle connections to servers")
struct IdleTimeTests {
  private func idleTime(_ text: String) -> Int64 {
    let bytes = Array(text.utf8)
    return bytes.withUnsafeBytes { KeepAlive.idleTime($0) }
  }

  @Test("what a Keep-Alive field says")
  func field() {
    #expect(idleTime("timeout=5") == 4_375 * millisecond)
    #expect(idleTime("timeout=5, max=100") == 4_375 * millisecond)
    #expect(idleTime("max=100 ,\tTimeout = 2 ") == 1_750 * millisecond)
    #expect(idleTime("timeout=1") == 800 * millisecond)
    #expect(idleTime("timeout=0") == 0)
    #expect(idleTime("timeout=86400") == 75_600 * 1_000 * millisecond)
    #expect(idleTime("timeout=99999999999999999999999") == idleTime("timeout=86400"))
    for nothing in [
      "", ",", "timeout", "timeout=", "timeout=x", "timeout=5s", "timeout=-1", "timeouts=5",
      "max=5", "xtimeout=5", "timeout=1 2", "=", "timeout 5",
    ] {
      #expect(idleTime(nothing) == .max, "\(nothing)")
    }
  }

  @Test("what a server's closing teaches, and for how long")
  func habit() {
    var state = ServerState()
    /// Two connections, one after the other, that end at these ages.
    func twice(_ first: Int64, _ other: Int64, at now: Int64) {
      state.noteIdleEnd(age: first, since: now, now: now + first)
      // One that was idle at the same time says nothing.
      state.noteIdleEnd(age: first, since: now + 1, now: now + first + 1)
      state.noteIdleEnd(age: other, since: now + first, now: now + first + other)
    }
    let shortest = ServerState.shortestKeepAlive
    twice(shortest - 1, shortest - 1, at: second)
    #expect(state.idleTime(now: 10 * second) == .max)
    twice(8 * second, 8 * second + 8 * second / 7 + 2, at: 10 * second)
    #expect(state.idleTime(now: 30 * second) == .max)
    state = ServerState()
    twice(2 * second, 2 * second, at: second)
    #expect(state.idleTime(now: 5 * second) == 1_750 * millisecond)
    let end = 5 * second + ServerState.memory
    #expect(state.idleTime(now: end - 1) == 1_750 * millisecond)
    #expect(state.idleTime(now: end) == .max)
    twice(4 * second, 4 * second + 1, at: end + ServerState.memory)
    #expect(state.idleTime(now: end + ServerState.memory + 9 * second) == 3_500 * millisecond)
  }

  @Test("a connection whose time has passed is not used, although the wheel has not looked yet")
  func passedTime() throws {
    let flow = try FlowWorld()
    flow.configuration.upstreams[0].timeouts.idleNanoseconds = second
    var client: FlowClient?
    let account = flow.run {
      let one = flow.connect()
      client = one
      one.send(FlowWorld.post("/s"))
      // Later than a second by less than the wheel's tick.
      flow.after(second + 2 * millisecond) { one.send(FlowWorld.post("/s")) }
      flow.after(3 * second) { flow.remote.drain() }
    }
    #expect(client?.count("200 OK") == 2)
    #expect(account?.counters.upstreamReuses == 0)
  }
}

@Suite("Empty lines")
struct EmptyLineTests {
  @Test("an empty line between requests starts no clock and gets no answer")
  func strayLine() throws {
    for pieces in [["\r\n"], ["\r\n\r\n"], ["\r", "\n"], ["\r\n\r", "\n"]] {
      let flow = try FlowWorld()
      flow.configuration.listeners[0].timeouts.headNanoseconds = second
      var client: FlowClient?
      _ = flow.run {
        let one = flow.connect()
        client = one
        one.send(FlowWorld.get("/s"))
        for (i, piece) in pieces.enumerated() {
          flow.after(Int64(10 + 10 * i) * millisecond) { one.send(piece) }
        }
        flow.after(5 * second) { one.send(FlowWorld.get("/s")) }
        flow.after(6 * second) { flow.remote.drain() }
      }
      #expect(client?.count("200 OK") == 2 && client?.count("408") == 0, "\(pieces)")
    }
  }

  @Test("a head that begins behind an empty line has its time")
  func headBehindLine() throws {
    for pieces in [["\r\nG"], ["\r\n", "G"], ["\r", "\nG"]] {
      let flow = try FlowWorld()
      flow.configuration.listeners[0].timeouts.headNanoseconds = second
      var client: FlowClient?
      _ = flow.run {
        let one = flow.connect()
        client = one
        one.send(FlowWorld.get("/s"))
        for (i, piece) in pieces.enumerated() {
          flow.after(Int64(10 + 10 * i) * millisecond) { one.send(piece) }
        }
        flow.after(5 * second) { flow.remote.drain() }
      }
      #expect(client?.count("HTTP/1.1 408") == 1, "\(pieces)")
    }
  }
}
