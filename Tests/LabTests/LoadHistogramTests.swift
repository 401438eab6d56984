// What a thread records and what is made of it: the coarse histogram of a quarter of a second, the
// summary of a run, the course over the seconds.

import Histogram
import Testing

@testable import Lab

@Suite("What a run records")
struct LoadHistogramTests {
  @Test("the coarse histogram finds quantiles within 3%")
  func intervalQuantiles() {
    var histogram = IntervalHistogram()
    for value in 1...100_000 as ClosedRange<Int64> { histogram.record(value * 1000) }
    for share in [0.01, 0.1, 0.5, 0.9, 0.99, 1] {
      let exact = share * 100_000_000
      #expect(abs(Double(histogram.value(at: share)) - exact) <= exact * 0.032)
    }
    histogram.clear()
    #expect(histogram.value(at: 0.5) == 0)
    // Below the first octave each nanosecond has a place; beyond the last everything has one.
    histogram.record(-5)
    histogram.record(7)
    histogram.record(.max)
    #expect(histogram.value(at: 0.1) == 0)
    #expect(histogram.value(at: 0.5) == 7)
    #expect(histogram.value(at: 1) >= 1 << 42)
  }

  @Test("a summary has the figures of its histogram")
  func summary() {
    var histogram = LatencyHistogram(upTo: 60_000_000_000)
    for value in 1...10_000 as ClosedRange<UInt64> { histogram.record(value * 10_000) }
    let summary = LatencySummary(histogram)
    #expect(summary.count == 10_000)
    for (found, exact) in [
      (summary.p50, 50_000_000), (summary.p75, 75_000_000), (summary.p90, 90_000_000),
      (summary.p99, 99_000_000), (summary.p999, 99_900_000), (summary.p9999, 99_990_000),
      (summary.maximum, 100_000_000), (Int(summary.mean), 50_005_000),
      (Int(summary.deviation), 28_867_513),
    ] {
      #expect(abs(found - exact) <= exact / 500)
    }
    #expect(summary.histogram.reduce(0) { $0 + $1[1] } == 10_000)
    #expect(summary.histogram.map { $0[0] } == summary.histogram.map { $0[0] }.sorted())
    #expect(LatencySummary(LatencyHistogram(upTo: 1)).count == 0)
  }

  @Test("quarters of two threads become seconds, whichever thread is first")
  func courseJoinsThreads() {
    var course = LoadCourse(threads: 2)
    func quarter(_ completed: Int, _ latency: Int64) -> LoadQuarter {
      var quarter = LoadQuarter()
      quarter.completed = completed
      for _ in 0..<completed { quarter.latencies.record(latency) }
      return quarter
    }
    for index in -2..<8 {
      var mine = quarter(10, 1000)
      course.deliver(index, &mine)
    }
    #expect(course.intervals.isEmpty)
    for index in -2..<8 {
      var theirs = quarter(30, 5000)
      course.deliver(index, &theirs)
    }
    #expect(course.intervals.map(\.completed) == [160, 160])
    #expect(course.intervals.map(\.end) == [1, 2])
    #expect(course.completed == 400)
    #expect(course.rate == 160)
    #expect(abs(course.p50 - 5000) < 160)
    var rest = quarter(3, 1000)
    course.deliver(8, &rest)
    course.end(at: 2.1)
    #expect(course.intervals.map(\.end) == [1, 2, 2.1])
    #expect(course.intervals.map(\.completed) == [160, 160, 3])
  }

  @Test("points of time read as RFC 3339 writes them")
  func timeTexts() {
    #expect(RFC3339.text(0) == "")
    #expect(RFC3339.text(1_000) == "1970-01-01T00:00:00.001Z")
    #expect(RFC3339.text(951_782_400_000_000) == "2000-02-29T00:00:00.000Z")
    #expect(RFC3339.text(1_767_225_599_999_999) == "2025-12-31T23:59:59.999Z")
    #expect(RFC3339.text(4_107_542_400_012_000) == "2100-03-01T00:00:00.012Z")
  }

  @Test("a coarser histogram counts the same, within a hundredth")
  func coarsened() {
    var histogram = LatencyHistogram(upTo: 60_000_000_000)
    for value in 1...10_000 as ClosedRange<UInt64> { histogram.record(value * 10_000) }
    let fine = LatencySummary(histogram)
    let coarse = fine.coarsened()
    #expect(coarse.histogram.count < 600)
    #expect(coarse.histogram.map { $0[1] }.reduce(0, +) == 10_000)
    #expect(
      coarse.histogram.last == fine.histogram.last.map { [$0[0], coarse.histogram.last![1]] })
    var seen = 0
    for place in coarse.histogram {
      seen += place[1]
      // The value of that rank, which the histogram itself knows to a thousandth.
      let exact = Double(seen) * 10_000
      #expect(abs(Double(place[0]) - exact) <= exact * 0.011)
    }
    #expect(LatencySummary().coarsened().histogram.isEmpty)
  }
}
