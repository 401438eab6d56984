// A send that is still in flight on a server's connection when the next request is given to it, in virtual
// time: the server has answered before it had read all of the request before.

import Configuration
import MillraceEngine
import Testing

@testable import Proxy

private let second: Int64 = 1_000_000_000
private let millisecond: Int64 = 1_000_000

@Suite("Sends that end late")
struct LateSendTests {
  /// What becomes of the connection, at about the moment at which the second request comes.
  enum Fate: CaseIterable, Sendable {
    case reset, closed, readOn
  }

  private struct Outcome {
    var flow: FlowWorld
    var client: FlowClient
    var account: WorkerAccount
  }

  /// The second request arrives at one instant, and the first connection's fate `delay` later.
  private static func play(
    _ fate: Fate, _ request: String, delay: Int64, serverFirst: Bool, seed: UInt64
  ) throws -> Outcome {
    var conditions = FlowWorld.likeARing
    conditions.reordering = 1000
    let flow = try FlowWorld(seed: seed, conditions)
    // The first connection takes 8 KiB and what its server reads; the first request has more.
    let size = 24_000
    flow.onServerPeer = { [unowned flow] peer in
      let isFirst = flow.serverPeers.count == 1
      var taken = ""
      peer.onEvent = { [unowned flow] peer, event in
        let isStuck = isFirst && flow.isDeaf
        guard event == .readable, !isStuck || taken.isEmpty else { return }
        taken += String(decoding: peer.receive(atMost: 4096), as: UTF8.self)
        if isStuck { return flow.answer(peer, "one") }
        guard taken.contains("/s/2 ") else { return }
        taken = ""
        flow.answer(peer, "two")
      }
    }
    flow.isDeaf = true
    var made: FlowClient?
    let account = flow.run {
      let client = flow.connect()
      made = client
      flow.after(millisecond) {
        flow.world.conditions.receiveRoom = 4096...4096
        flow.world.conditions.sendRoom = 4096...4096
        client.send("POST /s/1 HTTP/1.1\r\nHost: a\r\nContent-Length: \(size)\r\n\r\n")
        client.send(String(repeating: "x", count: size))
      }
      flow.after(50 * millisecond) {
        flow.remote.ask { account in
          #expect(client.text.hasSuffix("one"), "\(client.text)")
          #expect(account.upstreamIdle == 1 && account.exchanges == 0)
        }
      }
      func act() {
        let peer = flow.serverPeers[0]
        switch fate {
        case .reset: peer.reset()
        case .closed: peer.close()
        case .readOn:
          flow.isDeaf = false
          peer.onEvent?(peer, .readable)
        }
      }
      flow.after(100 * millisecond) {
        if serverFirst && delay == 0 { act() }
        client.send(request)
        if !serverFirst || delay > 0 { flow.after(delay) { act() } }
      }
      flow.after(10 * second) { flow.remote.drain() }
    }
    return Outcome(flow: flow, client: try #require(made), account: try #require(account))
  }

  /// What must hold whatever came first.
  private static func check(_ outcome: Outcome, _ text: String) {
    let (client, account) = (outcome.client, outcome.account)
    let answers = client.count("HTTP/1.1 200 OK") + client.count("HTTP/1.1 502 ")
    #expect(client.count("HTTP/1.1 ") == 2 && answers == 2, "\(text): \(client.text)")
    #expect(account.counters.requests == 2 && account.counters.responses == 2, "\(text)")
    #expect(account.counters.timeouts == 0, "\(text)")
    #expect(account.exchanges == 0 && account.active == 0, "\(text)")
    #expect(account.upstreamConnections == 0 && account.engine.framesInUse == 0, "\(text)")
    #expect(account.engine.coldBytes == 0 && account.engine.leasedBuffers == 0, "\(text)")
  }

  private static let requests = [FlowWorld.get("/s/2"), FlowWorld.post("/s/2")]

  @Test(
    "one that fails before the next request has left costs that request nothing",
    arguments: [Fate.reset, .closed], [true, false])
  func before(_ fate: Fate, _ serverFirst: Bool) throws {
    var stale = 0
    for request in Self.requests {
      for seed in 1...40 {
        let outcome = try Self.play(
          fate, request, delay: 0, serverFirst: serverFirst, seed: UInt64(seed))
        Self.check(outcome, "seed \(seed)")
        // Where the request came first by a turn, it was given to a connection that was lost.
        let isServed = outcome.client.text.hasSuffix("two")
        #expect(isServed || outcome.account.counters.upstreamFailures == 1, "seed \(seed)")
        stale += outcome.account.counters.upstreamStale
        #expect(outcome.account.counters.upstreamStale == 0 || isServed, "seed \(seed)")
      }
    }
    #expect(stale > 0 || serverFirst, "the failed send was never seen by an assigned connection")
  }

  @Test(
    "one that fails behind the next request ends it once, with an answer",
    arguments: [Fate.reset, .closed])
  func behind(_ fate: Fate) throws {
    var refused = 0
    for request in Self.requests {
      for delay in [500, 1_000, 2_000, 5_000, 20_000, 1_000_000] as [Int64] {
        for seed in 1...10 {
          let outcome = try Self.play(
            fate, request, delay: delay, serverFirst: false, seed: UInt64(seed))
          Self.check(outcome, "delay \(delay) seed \(seed)")
          if outcome.client.count("HTTP/1.1 502 ") == 1 {
            refused += 1
            #expect(outcome.account.counters.upstreamFailures == 1)
          }
        }
      }
    }
    #expect(refused > 0)
  }

  @Test("one that succeeds late lets the next request leave behind it, once")
  func succeeds() throws {
    for request in Self.requests {
      for delay in [0, 1_000, 20_000, 1_000_000] as [Int64] {
        for seed in 1...10 {
          let outcome = try Self.play(
            .readOn, request, delay: delay, serverFirst: false, seed: UInt64(seed))
          Self.check(outcome, "delay \(delay) seed \(seed)")
          #expect(outcome.client.text.hasSuffix("two"), "delay \(delay) seed \(seed)")
          #expect(outcome.flow.serverPeers.count == 1)
        }
      }
    }
  }
}
