// Whether a rate was held: measured by what came due in the counted part, not by an average over
// another time.

import MillraceEngine
import Testing

@testable import Lab

@Suite("Whether the rate was held")
struct RateHeldTests {
  private func result(
    _ pacing: String, rate: Double, planned: Int, sent: Int, seconds: Double = 10
  ) -> LoadResult {
    var result = LoadResult()
    result.pacing = pacing
    result.plannedRate = rate
    result.planned = planned
    result.seconds = seconds
    result.offeredRate = Double(sent) / seconds
    result.completedRate = result.offeredRate
    return result
  }

  private func isDoubted(_ result: LoadResult) -> Bool {
    LoadText.doubts(result).contains { $0.hasPrefix("the planned rate was not sustained") }
  }

  @Test("a count that varies by itself is no fault")
  func poisson() throws {
    // 500 per second for 10 s, three deviations below and above.
    for planned in [4788, 5212] {
      let held = result("poisson", rate: 500, planned: planned, sent: planned)
      #expect(!isDoubted(held))
      #expect(try Expectation("offered>=99%").judge(held).holds)
      #expect(try Expectation("offered<=100%").judge(held).holds)
    }
    let missed = result("poisson", rate: 500, planned: 5100, sent: 5000)
    #expect(isDoubted(missed))
    #expect(try !Expectation("offered>=99%").judge(missed).holds)
  }

  @Test("a log is measured by its counted part")
  func replay() throws {
    // 100 per second over the whole log, 160 in the part that was counted.
    let held = result("replay", rate: 100, planned: 1600, sent: 1600)
    #expect(!isDoubted(held))
    #expect(try Expectation("offered>=100%").judge(held).holds)
    #expect(LoadText.render(held).contains("replay rate: 160 per second planned, 160 offered"))
    let missed = result("replay", rate: 100, planned: 1600, sent: 1500)
    #expect(LoadText.doubts(missed).contains { $0.contains("--speed") })
  }

  @Test("a request that came due at the very end and left just behind it is no fault")
  func lastOne() {
    #expect(!isDoubted(result("constant", rate: 2, planned: 20, sent: 19)))
    #expect(isDoubted(result("constant", rate: 2, planned: 20, sent: 18)))
    #expect(!isDoubted(result("constant", rate: 1000, planned: 10_000, sent: 9_900)))
    #expect(isDoubted(result("constant", rate: 1000, planned: 10_000, sent: 9_899)))
  }

  @Test("where nothing came due nothing was offered") func nothing() throws {
    let empty = result("replay", rate: 100, planned: 0, sent: 0)
    #expect(!isDoubted(empty))
    #expect(try Expectation("offered>=0%").judge(empty).found == "nothing")
  }

  @Test("a comparison measures by what came due, too")
  func row() {
    var stage = StageFacts()
    stage.kind = .rate
    stage.rate = 500
    func row(_ planned: Int, _ completed: Int) -> Row {
      var measurement = Measurement()
      measurement.load = result("poisson", rate: 500, planned: planned, sent: completed)
      return Row(SubjectFacts(), stage, [measurement])
    }
    #expect(!row(4788, 4788).missedRate)
    #expect(!row(5000, 4951).missedRate)
    #expect(row(5000, 4949).missedRate)
    #expect(row(5212, 5100).missedRate)
    // What no older build wrote down is taken from the stage.
    #expect(row(0, 4949).missedRate && !row(0, 4951).missedRate)
  }

  @Test(
    "in a world, any seed of a Poisson process is held", arguments: 1...8 as ClosedRange<UInt64>)
  func poissonWorld(seed: UInt64) throws {
    var plan = LoadWorld.plan(.poisson(rate: 300), connections: 32, seconds: 5)
    plan.seed = seed
    let outcome = try LoadWorld.run(plan) { service, _ in service.respond() }
    #expect(!isDoubted(outcome.result), "\(outcome.result.planned) planned")
    #expect(try Expectation("offered>=99%").judge(outcome.result).holds)
  }

  @Test("a log is sent to its end, and held, however its requests are spread")
  func wholeLog() throws {
    // Twelve seconds: nothing but two requests a second, then 400 within the last one.
    var schedule = LoadSchedule(sendTimes: [], templates: [])
    for i in 0..<22 { schedule.sendTimes.append(Int64(i) * 500_000_000) }
    for i in 0...400 { schedule.sendTimes.append(11_000_000_000 + Int64(i) * 2_500_000) }
    schedule.templates = schedule.sendTimes.map { _ in 0 }
    var plan = LoadWorld.plan(.replay(schedule), connections: 16)
    plan.durationNanoseconds = schedule.wholeNanoseconds
    let outcome = try LoadWorld.run(plan) { service, _ in service.respond() }
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.completed == 423)
    #expect(abs(outcome.result.seconds - 12) < 0.01)
    #expect(!isDoubted(outcome.result))
    #expect(try Expectation("offered>=100%").judge(outcome.result).holds)
  }

  @Test("a log whose requests all came at once is a burst that lasts until its answers")
  func burst() throws {
    let count = 50
    let schedule = LoadSchedule(
      sendTimes: Array(repeating: 0, count: count), templates: Array(repeating: 0, count: count))
    var plan = LoadWorld.plan(.replay(schedule), connections: 10)
    plan.durationNanoseconds = schedule.wholeNanoseconds
    let outcome = try LoadWorld.run(plan) { service, _ in
      service.world.after(10_000_000) { service.respond() }
    }
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.completed == count)
    // Five rounds of 10 ms on ten connections.
    #expect(abs(outcome.result.seconds - 0.05) < 0.003, "\(outcome.result.seconds)")
    #expect(abs(outcome.result.completedRate - 1000) < 60, "\(outcome.result.completedRate)")
    #expect(!isDoubted(outcome.result))
  }
}
