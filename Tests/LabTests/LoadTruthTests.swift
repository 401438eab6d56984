// What the load measures, against what arithmetic says that it must find: in a world whose clock
// stands still unless somebody waits, so that nothing here depends on the machine's mood.

import MillraceEngine
import Testing

@testable import Lab

/// A server that stands still for the first 200 ms of each second and answers at once otherwise.
private func stalling(_ service: SimulatedService, _ request: String) {
  let stall: Int64 = 200_000_000
  let into = service.world.now % 1_000_000_000
  if into >= stall { return service.respond() }
  service.world.after(stall - into) { service.respond() }
}

@Suite("What the load finds out")
struct LoadTruthTests {
  @Test("a stall of 200 ms in each second has the percentiles that arithmetic predicts")
  func stallWithManyConnections() throws {
    var plan = LoadWorld.plan(
      .constant(rate: 1000), connections: 400, seconds: 10, warmUp: 1)
    plan.timeoutNanoseconds = 5_000_000_000
    let outcome = try LoadWorld.run(plan, answer: stalling)
    LoadWorld.checkSums(outcome)
    let latency = outcome.result.latency
    #expect(outcome.result.completed == 10_000)
    // A fifth comes during a stall and waits for its rest, evenly between 0 and 200 ms: a share
    // 0.2 × (1 − x / 200 ms) waits for longer than x. Every moment is 1 ms from the next one, and the
    // network takes at most 0.1 ms.
    for (found, milliseconds) in [
      (latency.p90, 100.0), (latency.p95, 150), (latency.p99, 190), (latency.p999, 199),
    ] {
      #expect(abs(Double(found) / 1e6 - milliseconds) < 1.5, "\(found)")
    }
    #expect(latency.p50 < 200_000 && latency.p75 < 200_000)
    #expect(latency.maximum < 200_300_000)
    // 0.2 × 100 ms.
    #expect(abs(latency.mean / 1e6 - 20) < 0.3)
    #expect(outcome.result.delay.maximum < 100_000)
  }

  @Test("with one connection the stall is as long, and the uncorrected figure hides it")
  func stallWithOneConnection() throws {
    var plan = LoadWorld.plan(.constant(rate: 1000), connections: 1, seconds: 10, warmUp: 1)
    plan.timeoutNanoseconds = 5_000_000_000
    let outcome = try LoadWorld.run(plan, answer: stalling)
    LoadWorld.checkSums(outcome)
    let result = outcome.result
    #expect(result.completed == 10_000)
    // One request is in flight during the stall, 199 wait for the connection. They leave one after
    // another, each a round trip of 10 to 100 µs behind the other, so that who came at the beginning
    // waits for 200 ms and who came later for a little longer than with many connections.
    #expect(abs(Double(result.latency.p99) / 1e6 - 190) < 5, "\(result.latency.p99)")
    #expect(abs(Double(result.latency.p90) / 1e6 - 105) < 7, "\(result.latency.p90)")
    // One in a thousand of those that were sent met the stall.
    #expect(result.uncorrected.p99 < 300_000)
    #expect(result.uncorrected.maximum > 190_000_000)
    #expect(result.delay.p99 > 180_000_000)
  }

  @Test("an overloaded server's queue shows in the latency, and what it never got in the failures")
  func overload() throws {
    // One connection, 10 ms for each request, so 100 per second; 200 are planned.
    let plan = LoadWorld.plan(.constant(rate: 200), connections: 1, seconds: 5)
    let outcome = try LoadWorld.run(plan) { service, _ in
      service.world.after(10_000_000) { service.respond() }
    }
    LoadWorld.checkSums(outcome)
    let result = outcome.result
    #expect(result.planned == 1000)
    // Five seconds, and one in which the backlog may still be sent.
    #expect(abs(result.sent - 600) <= 8, "\(result.sent)")
    #expect(result.failures == ["unsent": 1000 - result.sent])
    #expect(abs(result.offeredRate - 100) < 2)
    #expect(abs(result.completedRate - 100) < 2)
    // The last one sent left 6 s after the start and was due after 3: its latency is 3 s.
    #expect(abs(Double(result.latency.maximum) / 1e9 - 3) < 0.05)
    #expect(result.uncorrected.maximum < 11_000_000)
  }

  @Test(
    "the planned rate is offered, in each second",
    arguments: [10.0, 777, 20_000])
  func rateIsHeld(rate: Double) throws {
    let plan = LoadWorld.plan(
      .constant(rate: rate), connections: 64, seconds: 3, warmUp: 0.7)
    let outcome = try LoadWorld.run(plan) { service, _ in service.respond() }
    LoadWorld.checkSums(outcome)
    let result = outcome.result
    #expect(abs(Double(result.planned) - 3 * rate) <= 1)
    #expect(result.completed == result.planned)
    #expect(abs(result.offeredRate / rate - 1) < 0.01 || abs(result.offeredRate - rate) < 1)
    #expect(result.seconds == 3)
    #expect(result.intervals.map(\.end) == [1, 2, 3])
    for interval in result.intervals {
      #expect(abs(Double(interval.completed) - rate) <= rate / 100 + 2)
    }
  }

  @Test("a closed loop sends the next request when the response is there")
  func closedLoop() throws {
    // Four connections, each response after 10 ms and a round trip of at most 0.1 ms.
    let plan = LoadWorld.plan(connections: 4, seconds: 2, warmUp: 0.5)
    let outcome = try LoadWorld.run(plan) { service, _ in
      service.world.after(10_000_000) { service.respond() }
    }
    LoadWorld.checkSums(outcome)
    #expect(abs(outcome.result.completedRate - 398) < 4, "\(outcome.result.completedRate)")
    #expect(outcome.result.latency.minimum > 10_000_000)
    #expect(outcome.result.latency.maximum < 10_300_000)
    #expect(outcome.result.plannedRate == nil)
  }

  @Test("a slow server does not delay what is meant for another")
  func lanesAreApart() throws {
    var plan = LoadWorld.plan(.constant(rate: 1000), connections: 8, seconds: 2)
    let other = SocketAddress(10, 0, 0, 2, port: 80)
    plan.servers.append(
      LoadServer(host: "slow", authority: "slow", address: other, usesTLS: false))
    var slow = RequestTemplate(name: "slow")
    slow.server = 1
    plan.requests.append(slow)
    let outcome = try LoadWorld.run(plan) { service, request in
      if request.contains("Host: slow") {
        service.world.after(50_000_000) { service.respond() }
      } else {
        service.respond()
      }
    }
    LoadWorld.checkSums(outcome)
    let (fast, late) = (outcome.result.requests[0], outcome.result.requests[1])
    #expect(abs(fast.completed - 1000) < 160)
    #expect(fast.completed + fast.failed + late.completed + late.failed == 2000)
    #expect(fast.failed == 0 && fast.latency.maximum < 500_000)
    // Four connections of 20 per second each, and 500 per second are wanted.
    #expect(late.failed > 500)
  }

  @Test("a replay is sent at its own moments, each with its own template")
  func replay() throws {
    var schedule = LoadSchedule(sendTimes: [], templates: [])
    for i in 0..<300 {
      schedule.sendTimes.append(Int64(i / 3) * 7_000_000)
      schedule.templates.append(UInt32(i % 3 == 0 ? 1 : 0))
    }
    var plan = LoadWorld.plan(.replay(schedule), connections: 8, seconds: 60)
    var second = RequestTemplate(name: "second")
    second.target = "/second"
    plan.requests.append(second)
    var targets: [Bool] = []
    let outcome = try LoadWorld.run(plan) { service, request in
      targets.append(request.hasPrefix("GET /second "))
      service.respond()
    }
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.requests.map(\.completed) == [200, 100])
    #expect(targets.count(where: { $0 }) == 100)
    // It ends with its log: 99 × 7 ms.
    #expect(abs(outcome.result.seconds - 0.693) < 0.001)
    #expect(outcome.result.delay.maximum < 100_000)
  }

  @Test("an early stop keeps what was counted until then")
  func earlyStop() throws {
    let plan = LoadWorld.plan(.constant(rate: 1000), seconds: 60)
    let outcome = try LoadWorld.run(plan, stopAfter: 2_500_000_000) { service, _ in
      service.respond()
    }
    LoadWorld.checkSums(outcome)
    #expect(abs(outcome.result.seconds - 2.5) < 0.01)
    #expect(abs(outcome.result.completed - 2500) < 10)
    #expect(outcome.failed == 0)
    #expect(abs(outcome.result.offeredRate - 1000) < 10)
  }
}
