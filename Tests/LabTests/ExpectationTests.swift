// Bounds that a run must hold: their grammar, and their judgement at the bound, below and above it.

import Lab
import Testing

@Suite struct ExpectationTests {
  static func result() -> LoadResult {
    var result = LoadResult()
    result.pacing = "constant"
    result.seconds = 1
    result.planned = 1000
    result.completed = 990
    result.failures = ["timeout": 7, "status": 3]
    result.completedRate = 990
    result.plannedRate = 1000
    result.offeredRate = 999
    result.latency.count = 4
    result.latency.mean = 2e6
    result.latency.maximum = 9_000_000
    result.latency.histogram = [[1_000_000, 2], [2_000_000, 1], [9_000_000, 1]]
    result.uncorrected.count = 1
    result.uncorrected.histogram = [[500_000, 1]]
    return result
  }

  @Test(arguments: [
    ("p50<1ms", false), ("p50<=1ms", true), ("p50 < 1.1ms", true), ("p51<=1ms", false),
    ("p75<=2ms", true), ("p99<9ms", false), ("p99<=9ms", true), ("p99.9<10ms", true),
    ("p999<10ms", true), ("max<=9000us", true), ("max<9s", true), ("mean>1999µs", true),
    ("uncorrected.p99<=500us", true), ("uncorrected.p99<500000ns", false),
    ("errors<1%", false), ("errors<=1%", true), ("errors<0.011", true), ("rate>=990", true),
    ("rate>990", false), ("offered>=99.9%", true), ("offered>99.9%", false),
  ])
  func itHoldsOrItDoesNot(_ text: String, _ holds: Bool) throws {
    #expect(try Expectation(text).judge(Self.result()).holds == holds)
  }

  @Test(arguments: ["connect.p99<1s", "delay.p50<1s"])
  func whatWasNotMeasuredDoesNotHold(_ text: String) throws {
    let judgement = try Expectation(text).judge(Self.result())
    #expect(!judgement.holds && judgement.found == "nothing")
  }

  @Test func withoutRequestsNoShareOfErrorsHolds() throws {
    #expect(try Expectation("errors<50%").judge(LoadResult()).holds == false)
  }

  @Test(arguments: [
    "p99", "p99=5ms", "p99<5", "p99<5h", "p99<-1ms", "p0<1ms", "p101<1ms", "q99<1ms", "errors<5ms",
    "rate>=fast", "other.p99<1ms", "", "<5ms",
  ])
  func whatCannotBeReadIsRefusedWithAnExample(_ text: String) {
    let error = #expect(throws: Expectation.ParseError.self) { try Expectation(text) }
    #expect(error?.message.contains("for example p99<5ms") == true)
  }
}
