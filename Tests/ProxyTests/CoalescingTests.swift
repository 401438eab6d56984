// When a worker waits for more than the first event: the figures by themselves, and in virtual time what becomes of
// requests.

import Configuration
import MillraceEngine
import Testing

@testable import Proxy

private let millisecond: Int64 = 1_000_000
private let standard = EngineSettings().coalesceNanoseconds

@Suite("Coalescing of events")
struct CoalescingTests {
  /// Requests that end evenly, each after `time`, over one measurement.
  /// - Returns: the goal at its end, and that end.
  private static func goal(
    _ coalescing: inout Coalescing, ends: Int, after time: Int64, waited: Int64 = 0,
    begin: Int64 = 1_000_000_000
  ) -> (goal: Coalescing.Goal?, now: Int64) {
    _ = coalescing.goal(now: begin)
    for _ in 0..<ends { coalescing.noteEnd(after: time, waited: waited) }
    let now = begin + Coalescing.measured
    return (coalescing.goal(now: now), now)
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
    #expect(coalescing.goal(now: now + Coalescing.measured) == nil)
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
}
