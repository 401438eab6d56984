// The origin's thread against arithmetic: when answers leave, byte by byte what they are, and that
// nothing is left behind, whatever the network does.

import MillraceEngine
import Testing

@testable import Lab

@Suite struct OriginWorkerTests {
  /// One way at most, in a calm world; there and back, with a turn's grain of 1 ms on each side.
  static let slack: Int64 = 2_200_000

  @Test func anAnswerLeavesAfterItsDelayAndNotMuchLater() throws {
    for delay in [0, 3_000_000, 250_000_000] as [Int64] {
      var plan = OriginPlan()
      plan.delay = .constant(Double(delay))
      let (clients, counters) = try OriginWorld.run(
        plan, clients: { [OriginClient($0, Array(OriginWorld.get("/bytes/10").utf8))] },
        isOver: { $0[0].received.count > 10 })
      let first = clients[0].firstAt - clients[0].startedAt
      #expect(first >= delay && first <= delay + Self.slack, "\(first) for \(delay)")
      #expect(
        clients[0].responses[0].content == OriginWorld.content(10))
      #expect(counters.responses == 1)
    }
  }

  @Test func anAnswerThatIsDueInAStallLeavesAtItsEnd() throws {
    var plan = OriginPlan()
    plan.stall = OriginStall(pauseNanoseconds: 200_000_000, everyNanoseconds: 1_000_000_000)
    // Asked at 0.9 s of the origin's time, in the pause that begins at 0.8 s.
    let (clients, _) = try OriginWorld.run(
      plan,
      clients: { world in
        let client = OriginClient(world, [])
        world.after(900_000_000) { client.say(OriginWorld.get("/")) }
        return [client]
      }, isOver: { !$0[0].received.isEmpty })
    let first = clients[0].firstAt - clients[0].startedAt
    #expect(first >= 1_000_000_000 && first <= 1_000_000_000 + Self.slack, "\(first)")
  }

  @Test func aRateIsKept() throws {
    var plan = OriginPlan()
    plan.bytesPerSecond = 100_000
    let (clients, _) = try OriginWorld.run(
      plan, clients: { [OriginClient($0, Array(OriginWorld.get("/bytes/50000").utf8))] },
      isOver: { $0[0].responses.count == 1 })
    // Ten pieces of a twentieth of a second, the first at once.
    let took = clients[0].lastAt - clients[0].startedAt
    #expect(took >= 450_000_000 && took <= 450_000_000 + 10 * Self.slack, "\(took)")
    #expect(
      clients[0].responses[0].content == OriginWorld.content(50_000))
  }

  static let paths = [
    "/bytes/0", "/bytes/1", "/bytes/2049", "/delay/7ms/bytes/5", "/bytes/300000", "/status/503",
    "/bytes/131073", "/status/204", "/rate/1MiB/bytes/100000", "/bytes/77",
  ]

  /// Pipelined, by several clients, in weather of all kinds: each gets every answer whole and in
  /// order, or sees that its connection broke.
  @Test(arguments: 1...40 as ClosedRange<UInt64>)
  func pipelinesHoldInAnyWeather(_ seed: UInt64) throws {
    let request = Array(Self.paths.map(OriginWorld.get).joined().utf8)
    var dice = SimulatedDice(seed: seed)
    let (clients, _) = try OriginWorld.run(
      OriginPlan(), seed: seed, seed == 1 ? .calm : .drawn(from: &dice),
      clients: { world in (0..<4).map { _ in OriginClient(world, request) } },
      isOver: { all in
        all.allSatisfy {
          $0.wasReset || $0.hasEnded
            || $0.responses.count == Self.paths.count
        }
      })
    for client in clients {
      let (whole, rest) = (client.responses, client.rest)
      #expect(client.wasReset || (whole.count == Self.paths.count && rest == 0), "seed \(seed)")
      for (i, response) in whole.enumerated() {
        let length = [0, 1, 2049, 5, 300_000, 128, 131_073, 0, 100_000, 77][i]
        #expect(response.status == [5: 503, 7: 204][i, default: 200], "seed \(seed)")
        #expect(response.content == OriginWorld.content(length), "seed \(seed), answer \(i)")
      }
    }
    #expect(seed != 1 || clients.allSatisfy { !$0.wasReset })
  }

  @Test func theSameSeedGivesTheSameAnswersHoweverConnectionsInterleave() throws {
    var plan = OriginPlan()
    plan.size = .lognormal(median: 500, sigma: 1)
    plan.delay = .exponential(mean: 2e6)
    plan.faults = [(.status(503), 0.2)]
    func answers(_ seed: UInt64, world: UInt64, apart: Int64) throws -> [[[Int]]] {
      plan.seed = seed
      let request = String(repeating: OriginWorld.get("/"), count: 30)
      let (clients, _) = try OriginWorld.run(
        plan, seed: world,
        clients: { world in
          (0..<3).map { i in
            let client = OriginClient(world, [])
            world.after(Int64(i) * apart) { client.say(request) }
            return client
          }
        }, isOver: { $0.allSatisfy { $0.responses.count == 30 } })
      // By size: which of the three was accepted first is the world's choice.
      let all = clients.map { client in
        client.responses.map { [$0.status, $0.content.count] }
      }
      return all.sorted { "\($0)" < "\($1)" }
    }
    let first = try answers(5, world: 1, apart: 0)
    #expect(try answers(5, world: 2, apart: 3_000_000) == first)
    #expect(try answers(6, world: 1, apart: 0) != first)
    #expect(Set(first.map { "\($0)" }).count == 3)
  }
}
