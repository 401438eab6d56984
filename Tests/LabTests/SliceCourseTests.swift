// The course in slices as arithmetic: orders, the share of time, the length of a slice, what is left out,
// orders as lines, and slices put together.

import Glibc
import Testing

@testable import Lab

@Suite struct SliceCourseTests {
  private let needs = [
    SliceNeed(stage: "maximum", subjects: ["a", "b"], weight: 2),
    SliceNeed(stage: "equal", subjects: ["a", "b"], weight: 2),
    SliceNeed(stage: "equal", hasPeers: true, subjects: ["a", "b", "p"], weight: 2),
  ]

  @Test func aBatchIsARandomOrderAndItsReverse() {
    var planner = SlicePlanner(seed: 5)
    var firsts: [String: Int] = [:]
    for _ in 0..<200 {
      let orders = planner.orders(["a", "b", "c"])
      #expect(orders.count == SlicePlanner.blocks && orders[1] == Array(orders[0].reversed()))
      firsts[orders[0][0], default: 0] += 1
    }
    // A third each, six deviations of 6.7.
    #expect(firsts.count == 3 && firsts.values.allSatisfy { (27...107).contains($0) }, "\(firsts)")
  }

  @Test func timeGoesToWhatIsOpenByItsWeight() {
    var planner = SlicePlanner(seed: 5)
    var seconds = [0.0, 0.0, 0.0]
    for _ in 0..<300 {
      let chosen = planner.choose(needs, seconds: 0.4)!
      seconds[needs.firstIndex(of: chosen)!] += Double(chosen.subjects.count)
    }
    // The variants' own need at the equal load has its part of the peers' batches.
    #expect(abs(seconds[0] / seconds[2] - 1) < 0.1, "\(seconds)")
    #expect(abs((seconds[1] + seconds[2] * 2 / 3) / seconds[0] - 1) < 0.1, "\(seconds)")
    // What is decided gets nothing any more.
    for _ in 0..<50 { #expect(planner.choose([needs[0]], seconds: 0.4) == needs[0]) }
    #expect(planner.choose([], seconds: 0.4) == nil)
  }

  @Test func theSeedChoosesTheCourse() {
    func course(_ seed: UInt64) -> [String] {
      var planner = SlicePlanner(seed: seed)
      return (0..<20).flatMap { _ in planner.orders(["a", "b", "c"]).flatMap { $0 } }
    }
    #expect(course(3) == course(3) && course(3) != course(4))
  }

  // MARK: The pilot

  @Test func aSliceIsShortUnlessLatencyOrRateAsksForMore() {
    #expect(SliceLength.choose(latency: 0.001, rate: nil) == 0.2)
    #expect(SliceLength.choose(latency: 0.001, rate: 100_000) == 0.2)
    // Ten of the latencies, and not without end.
    #expect(SliceLength.choose(latency: 0.02, rate: 100_000) == 0.2)
    #expect(SliceLength.choose(latency: 0.0625, rate: 100_000) == 0.625)
    #expect(SliceLength.choose(latency: 60, rate: 100_000) == 1)
    // As many requests as a p99 needs, where a slice can have them.
    #expect(SliceLength.choose(latency: 0.001, rate: 1_650) == 0.2)
    #expect(abs(SliceLength.choose(latency: 0.001, rate: 1_000) - 0.33) < 1e-9)
    #expect(abs(SliceLength.choose(latency: 0.001, rate: 331) - 330.0 / 331) < 1e-9)
    #expect(SliceLength.choose(latency: 0.001, rate: 329) == 0.2)
  }

  // MARK: What is left out

  @Test func stolenSlicesAreLeftOutUpToAThird() {
    #expect(!SliceRule.leavesOut(stolen: 0.05, leftOut: 0, of: 100))
    #expect(SliceRule.leavesOut(stolen: 0.051, leftOut: 0, of: 100))
    var (leftOut, count) = (0, 0)
    for _ in 0..<300 {
      count += 1
      if SliceRule.leavesOut(stolen: 0.5, leftOut: leftOut, of: count) { leftOut += 1 }
    }
    #expect((95...101).contains(leftOut), "\(leftOut)")
  }

  // MARK: Orders

  @Test func anOrderIsALine() {
    let slices = [
      LoadSlice(rate: nil, warmUpNanoseconds: 0, durationNanoseconds: 1_000_000, seed: 0),
      LoadSlice(
        rate: 1234.5, gapsAreRandom: true, warmUpNanoseconds: 50_000_000,
        durationNanoseconds: 300_000_000, seed: .max),
    ]
    for slice in slices { #expect(LoadSlice(line: slice.line) == slice) }
    for line in [
      "", "slice", "slice 1 constant 0 0 1", "slice -1 constant 0 1000000 1",
      "slice nan constant 0 1000000 1", "slice 1 often 0 1000000 1",
      "slice 1 constant 0 99999999999999 1", "slice 1 constant 0 1000000 -1",
      "go 1 constant 0 1000000 1",
    ] { #expect(LoadSlice(line: line) == nil, "\(line)") }
  }

  // MARK: Putting together

  @Test func slicesAddUpToOneMeasurement() {
    func result(_ completed: Int, _ seconds: Double, _ latency: [[Int]]) -> LoadResult {
      var result = LoadResult()
      result.seconds = seconds
      result.completed = completed
      result.completedRate = Double(completed) / seconds
      result.failures = ["reset": 1]
      result.latency.count = latency.reduce(0) { $0 + $1[1] }
      result.latency.histogram = latency
      (result.latency.minimum, result.latency.maximum) = (latency[0][0], latency.last![0])
      result.latency.mean = 5
      return result
    }
    let sum = LoadResult.merging([
      result(100, 1, [[1, 90], [10, 10]]), result(300, 3, [[1, 290], [10, 2], [900, 8]]),
    ])
    #expect(sum.completed == 400 && sum.seconds == 4 && abs(sum.completedRate - 100) < 1e-9)
    #expect(sum.failures == ["reset": 2])
    #expect(sum.latency.histogram == [[1, 380], [10, 12], [900, 8]] && sum.latency.count == 400)
    #expect(sum.latency.p50 == 1 && sum.latency.p95 == 1 && sum.latency.p99 == 900)
    #expect(sum.latency.maximum == 900 && sum.latency.minimum == 1 && sum.latency.mean == 5)
    #expect(LoadResult.merging([]).completed == 0)
  }
}
