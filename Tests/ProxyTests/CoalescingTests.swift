// When a worker waits for more than the first event, and when it hands on at once: the figures by themselves, and in
// virtual time what becomes of requests.

import Configuration
import HTTP2
import MillraceEngine
import Testing

@testable import Proxy

private let millisecond: Int64 = 1_000_000
private let standard = EngineSettings().coalesceNanoseconds

@Suite("Coalescing of events")
struct CoalescingTests {
  /// Requests that end evenly, each after `time`, over two measurements, or as many as are said.
  /// - Returns: the goal at its end, and that end.
  private static func goal(
    _ coalescing: inout Coalescing, ends: Int, after time: Int64, waited: Int64 = 0,
    begin: Int64 = 1_000_000_000, measurements: Int = 2
  ) -> (goal: Coalescing.Goal?, now: Int64) {
    var now = begin
    var goal = coalescing.goal(now: now)
    for _ in 0..<measurements {
      for _ in 0..<ends { coalescing.noteEnd(after: time, waited: waited) }
      now += Coalescing.measured
      goal = coalescing.goal(now: now)
    }
    return (goal, now)
  }

  @Test("a wait is a third of what requests take, for twice the requests that end in it")
  func aThird() {
    var coalescing = Coalescing(longest: standard)
    // 40,000 a second, each 0.9 ms: 36 in progress.
    let (goal, now) = Self.goal(&coalescing, ends: 160, after: 900_000)
    #expect(goal == Coalescing.Goal(count: 24, limit: now + 300_000))
  }

  @Test("of what was waited for more a quarter is in it, and no time is negative")
  func waited() {
    var coalescing = Coalescing(longest: standard)
    let (goal, now) = Self.goal(&coalescing, ends: 160, after: 1_350_000, waited: 600_000)
    #expect(goal == Coalescing.Goal(count: 24, limit: now + 300_000))
    var other = Coalescing(longest: standard)
    #expect(Self.goal(&other, ends: 160, after: 1_000_000, waited: 2_000_000).goal == nil)
  }

  @Test("waits do not become longer by themselves, for requests that go through seven")
  func noRunaway() {
    var coalescing = Coalescing(longest: standard)
    var begin: Int64 = 1_000_000_000
    var wait: Int64 = 0
    for _ in 0..<100 {
      let (goal, now) = Self.goal(
        &coalescing, ends: 160, after: 900_000 + 7 * wait, waited: 7 * wait, begin: begin)
      wait = goal.map { $0.limit - now } ?? 0
      begin = now
    }
    // Of x = (900 + 7 x / 4) / 3.
    #expect((719_000...721_000).contains(wait))
  }

  @Test(
    "at least four requests are to end in a wait", arguments: [(53, false), (54, true), (55, true)])
  func least(_ ends: Int, coalesces: Bool) {
    // A wait of 300 us is three fortieths of the time over which they are counted.
    var coalescing = Coalescing(longest: standard)
    #expect((Self.goal(&coalescing, ends: ends, after: 900_000).goal != nil) == coalesces)
  }

  @Test("one measurement with many in progress begins no waits, and one with few ends them")
  func twoMeasurements() {
    var coalescing = Coalescing(longest: standard)
    let first = Self.goal(&coalescing, ends: 160, after: 900_000, measurements: 1)
    #expect(first.goal == nil && coalescing.isSparse)
    let second = Self.goal(
      &coalescing, ends: 160, after: 900_000, begin: first.now, measurements: 1)
    #expect(second.goal != nil && !coalescing.isSparse)
    let third = Self.goal(&coalescing, ends: 10, after: 900_000, begin: second.now, measurements: 1)
    #expect(third.goal == nil && coalescing.isSparse)
  }

  @Test(
    "fewer than twelve requests in progress are few, however long a wait may be",
    arguments: [(53, true), (54, false)], [0, standard])
  func sparse(_ ends: (count: Int, isSparse: Bool), _ longest: Int64) {
    var coalescing = Coalescing(longest: longest)
    _ = Self.goal(&coalescing, ends: ends.count, after: 900_000)
    #expect(coalescing.isSparse == ends.isSparse)
  }

  @Test(
    "where most are of another kind, few of HTTP/2 are not few",
    arguments: [(10, true), (11, false)])
  func others(_ others: (count: Int, isSparse: Bool)) {
    var coalescing = Coalescing(longest: standard)
    var now: Int64 = 1_000_000_000
    _ = coalescing.goal(now: now)
    for _ in 0..<2 {
      for _ in 0..<10 { coalescing.noteEnd(after: 300_000, waited: 0) }
      for _ in 0..<others.count { coalescing.noteOther() }
      now += Coalescing.measured
      #expect(coalescing.goal(now: now) == nil)
      #expect(coalescing.isSparse == others.isSparse)
    }
  }

  @Test("how many are in progress is not told by how long a wait may be", arguments: [0, standard])
  func manySlow(_ longest: Int64) {
    var coalescing = Coalescing(longest: longest)
    // 11,000 a second, 10 ms each, are 110; and 40 of 1 s each.
    _ = Self.goal(&coalescing, ends: 44, after: 10 * millisecond, measurements: 6)
    #expect(!coalescing.isSparse)
  }

  @Test("requests that end in waves are as many as when they end evenly")
  func waves() {
    var coalescing = Coalescing(longest: standard)
    var now: Int64 = 1_000_000_000
    _ = coalescing.goal(now: now)
    for _ in 0..<8 {
      for _ in 0..<64 { coalescing.noteEnd(after: 9_000_000, waited: 0) }
      for _ in 0..<10 {
        now += millisecond
        _ = coalescing.goal(now: now)
      }
    }
    #expect(!coalescing.isSparse)
    #expect(coalescing.goal(now: now) != nil)
  }

  @Test("no request of HTTP/2 is not few")
  func noneIsSparse() {
    var coalescing = Coalescing(longest: standard)
    #expect(!coalescing.isSparse)
    _ = Self.goal(&coalescing, ends: 0, after: 0)
    #expect(!coalescing.isSparse)
  }

  @Test("a wait is not longer than it may be", arguments: [299_999, 300_000, 300_001] as [Int64])
  func longest(_ longest: Int64) {
    var coalescing = Coalescing(longest: longest)
    let (goal, now) = Self.goal(&coalescing, ends: 160, after: 900_000)
    #expect(goal.map { $0.limit - now } == min(longest, 300_000))
  }

  @Test(
    "a tenth of the requests, taking seconds, makes no wait for the others of more than half as long again"
  )
  func fewLong() {
    var coalescing = Coalescing(longest: standard)
    var (goal, now) = Self.goal(&coalescing, ends: 160, after: 900_000)
    for _ in 0..<50 {
      for _ in 0..<16 { coalescing.noteEnd(after: 10_000_000_000, waited: 0) }
      for _ in 0..<144 { coalescing.noteEnd(after: 900_000, waited: 0) }
      now += Coalescing.measured
      goal = coalescing.goal(now: now)
    }
    #expect(goal.map { $0.limit - now <= 450_000 } == true)
  }

  @Test("where all take long, the waits follow in a few steps, to the longest")
  func allLong() {
    var coalescing = Coalescing(longest: standard)
    var (goal, now) = Self.goal(&coalescing, ends: 160, after: 900_000)
    for _ in 0..<4 { (goal, now) = Self.goal(&coalescing, ends: 160, after: .max, begin: now) }
    #expect(goal.map { $0.limit - now } == standard)
  }

  @Test("the first event ends a wait when the last requests were long ago, or none has ended")
  func quiet() {
    var coalescing = Coalescing(longest: standard)
    let (goal, now) = Self.goal(&coalescing, ends: 160, after: 900_000)
    #expect(goal != nil)
    #expect(coalescing.goal(now: now + 1) != nil)
    #expect(coalescing.goal(now: now + Coalescing.quiet - 1) != nil)
    #expect(coalescing.goal(now: now + Coalescing.quiet) == nil)
    for _ in 0..<160 { coalescing.noteEnd(after: 900_000, waited: 0) }
    #expect(coalescing.goal(now: now + 1_000 * millisecond) == nil)
  }

  @Test("and where that is turned off")
  func off() {
    var coalescing = Coalescing(longest: 0)
    #expect(Self.goal(&coalescing, ends: 1000, after: 900_000).goal == nil)
  }

  @Test("a hurry concerns the next wait, and not the one after it")
  func hurried() {
    var coalescing = Coalescing(longest: standard)
    let (_, now) = Self.goal(&coalescing, ends: 160, after: 900_000)
    coalescing.hurry()
    #expect(coalescing.goal(now: now) == nil)
    #expect(coalescing.goal(now: now) != nil)
    for (bytes, hurries) in [(4095, false), (4096, true), (131_072, true), (-104, false)] {
      coalescing.noteMoved(Int32(bytes))
      #expect((coalescing.goal(now: now) == nil) == hurries, "\(bytes)")
    }
  }

  @Test("as it is configured: off with busy polling, unless it is written")
  func settings() {
    var settings = EngineSettings()
    #expect(settings.coalesceNanoseconds == 2_000_000)
    settings.features["busy_poll"] = true
    #expect(settings.coalesceNanoseconds == 0)
    settings.coalesceMicroseconds = 300
    #expect(settings.coalesceNanoseconds == 300_000)
    settings.features["busy_poll"] = false
    settings.coalesceMicroseconds = 0
    #expect(settings.coalesceNanoseconds == 0)
  }

  /// Clients that ask for something new for each response, from a server that takes one to two milliseconds.
  private static func served(
    clients: Int, streams: Int, requests: Int, longest: Int?, seed: UInt64 = 1
  ) throws -> WorkerAccount {
    let flow = try FlowWorld(seed: seed, FlowWorld.likeARing)
    flow.configuration.listeners[0].httpVersions = [.http2, .http11]
    flow.configuration.engineSettings.coalesceMicroseconds = longest
    var answers: Int64 = 0
    flow.serve = { flow, peer, _ in
      // Spread, so that few end at one moment.
      answers += 1
      flow.after(millisecond + answers * 373 % 1000 * 1000) { flow.answer(peer, "ok") }
    }
    var all: [HTTP2FlowClient] = []
    var left = requests - clients * streams
    let account = flow.run {
      for _ in 0..<clients {
        let client = HTTP2FlowClient(flow)
        client.onEnd = { [unowned client] in
          guard left > 0 else { return }
          left -= 1
          // Not from inside of the client's session.
          flow.after(1000) { client.get("/s") }
        }
        all.append(client)
        for _ in 0..<streams { client.get("/s") }
      }
      flow.until(millisecond, { $0.counters.responses >= requests }) { _ in flow.remote.drain() }
    }
    #expect(all.reduce(0) { $0 + $1.finished.count } == requests)
    #expect(all.allSatisfy { $0.responses.values.allSatisfy { $0.status == 200 && $0.isWhole } })
    return try #require(account)
  }

  @Test(
    "many requests in progress are served in fewer turns, and all of them",
    arguments: [1, 2, 3] as [UInt64])
  func fewerTurns(_ seed: UInt64) throws {
    let off = try Self.served(clients: 4, streams: 12, requests: 3000, longest: 0, seed: seed)
    let on = try Self.served(clients: 4, streams: 12, requests: 3000, longest: nil, seed: seed)
    #expect(off.engine.coalescedWaits == 0)
    #expect(on.engine.coalescedWaits > 20)
    #expect(on.engine.turns * 3 < off.engine.turns * 2)
    #expect(on.counters.responses == 3000 && on.exchanges == 0)
    #expect(on.engine.framesInUse == 0)
  }

  @Test("few requests in progress are not kept waiting")
  func few() throws {
    let few = try Self.served(clients: 2, streams: 4, requests: 500, longest: nil)
    #expect(few.engine.coalescedWaits == 0)
  }

  // MARK: Few requests

  /// A world in which every millisecond two things happen within one turn of the worker, behind one that wakes it: a
  /// byte of a request that never ends.
  private static func twice(
    _ flow: FlowWorld, times: Int, _ ask: @escaping (Int) -> Void,
    _ other: @escaping (Int) -> Void
  ) -> WorkerAccount? {
    flow.configuration.listeners[0].httpVersions = [.http2, .http11]
    return flow.run {
      let waker = flow.connect()
      for index in 0..<times {
        let time = Int64(index + 1) * millisecond
        flow.after(time) { waker.send(index == 0 ? "GET /" : "x") }
        // The least time that a turn takes.
        flow.after(time + 1) { ask(index) }
        flow.after(time + 1) { other(index) }
      }
      flow.after(Int64(times + 20) * millisecond) { flow.remote.drain() }
    }
  }

  @Test("where requests are few, a response does not wait for a request that came in the same turn")
  func responsesFirst() throws {
    let flow = try FlowWorld(FlowWorld.likeARing)
    flow.world.conditions.deferredSends = 1000
    var seen: [String] = []
    var held: SimulatedPeer?
    flow.serve = { flow, peer, text in
      guard text.contains("/s/held") else {
        seen.append("request")
        return flow.answer(peer, "ok")
      }
      held = peer
    }
    var clients: [HTTP2FlowClient] = []
    let account = Self.twice(
      flow, times: 20,
      { index in
        if index == 0 {
          clients = [HTTP2FlowClient(flow), HTTP2FlowClient(flow)]
          clients[1].onEnd = { seen.append("response") }
        }
        if index > 0 { clients[0].get("/s") }
        flow.after(100_000) { clients[1].get("/s/held") }
      },
      { index in
        if let peer = held { flow.answer(peer, "held") }
      })
    #expect(account?.exchanges == 0)
    #expect(clients[0].responses.values.filter { $0.status == 200 && $0.isWhole }.count == 19)
    // And it has left by then: a turn by itself makes no system call here.
    #expect((17...40).contains(account?.engine.systemCalls ?? 0))
    // The first request needs a connection, and the second one comes before anything was measured.
    try #require(seen.count >= 38)
    #expect(seen[2..<4] == ["request", "response"])
    #expect(
      seen[4..<38] == Array(repeating: ["response", "request"], count: 17).flatMap { $0 }[...])
  }

  @Test("a request is not given to a connection whose end came behind it in the same turn")
  func endsFirst() throws {
    let flow = try FlowWorld(FlowWorld.likeARing)
    flow.world.conditions.deferredSends = 1000
    var client: HTTP2FlowClient?
    let account = Self.twice(
      flow, times: 20,
      { index in
        if index == 0 { client = HTTP2FlowClient(flow) }
        client?.request("/s", "POST", .none)
      },
      { index in if let peer = flow.serverPeers.last { peer.close() } })
    #expect(client?.responses.values.filter { $0.status == 200 && $0.isWhole }.count == 20)
    // Taken back before it left, until something was measured; looked for after it, from then on.
    #expect((1...3).contains(account?.counters.upstreamStale ?? 0))
    #expect(flow.serverPeers.count == 20)
  }
}
