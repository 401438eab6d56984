// Percentiles of all requests together: that their intervals miss as often as they say, beside a machine that stalls,
// and that they show what a typical slice does not.

import Glibc
import Testing

@testable import Lab

@Suite struct PooledPercentileTests {
  /// Two slices of 60 requests; of the slices that stall, most requests wait.
  private func batch(stalling: Double, _ random: inout TestRandom) -> [[Int]] {
    var places: [[Int]] = []
    for _ in 0..<2 {
      let isStalled = random.uniform() < stalling
      for _ in 0..<60 {
        let waits = isStalled && random.uniform() < 0.6
        places.append([Int(1000 * exp(0.3 * random.normal() + (waits ? 2 : 0))), 1])
      }
    }
    return places
  }

  private func batches(
    _ count: Int, stalling: Double, _ random: inout TestRandom
  ) -> [[[Int]]] {
    (0..<count).map { _ in batch(stalling: stalling, &random) }
  }

  /// With a sixth of the slices stalled p90 lies where one kind of requests ends and the other begins.
  @Test(arguments: [0, 0.3, 1.0 / 6])
  private func intervalsMissAsOftenAsTheySay(_ stalling: Double) throws {
    var random = TestRandom(state: 71)
    var (narrow, wide) = (0, 0)
    for _ in 0..<100 {
      let found = try #require(
        PooledPercentile.estimate(
          batches(24, stalling: stalling, &random), batches(24, stalling: stalling, &random),
          at: 0.9))
      // Also where both have the same share of requests below a value.
      #expect(found.error < 2)
      if abs(found.mean) > found.half(missing: 0.1) { narrow += 1 }
      if abs(found.mean) > found.half(missing: 0.01) { wide += 1 }
    }
    // 10 and 1 are promised; three deviations of those are 9 and 3.
    #expect(narrow <= 19 && wide <= 4, "\(narrow) \(wide)")
  }

  /// A stall in one of five slices: a tenth of all requests, and nothing that most slices show.
  @Test func aStallInFewSlicesIsSeen() throws {
    var random = TestRandom(state: 73)
    let calm = batches(60, stalling: 0, &random)
    let stalled = batches(60, stalling: 0.2, &random)
    let found = try #require(PooledPercentile.estimate(stalled, calm, at: 0.95))
    #expect(found.mean > 0.5 && found.mean > found.half(missing: 0.01), "\(found)")
    func percentile(_ batch: [[Int]]) -> Double {
      log(Double(batch.map { $0[0] }.sorted()[batch.count * 95 / 100]))
    }
    let pairs = zip(stalled, calm).map { percentile($0) - percentile($1) }
    let typical = try #require(SliceSeries.estimate(pairs, trim: SliceSeries.latencyTrim(of: 100)))
    #expect(typical.mean < found.mean / 2)
  }

  @Test func whatLiesBeyondItHasToBeEnough() {
    func batches(_ requests: Int) -> [[[Int]]] { (0..<5).map { [[1000 + $0, requests]] } }
    // 10 of 1000 lie beyond p99.
    #expect(PooledPercentile.estimate(batches(199), batches(300), at: 0.99) == nil)
    #expect(PooledPercentile.estimate(batches(200), batches(300), at: 0.99) != nil)
    #expect(PooledPercentile.estimate(batches(201), batches(300), at: 0.99) != nil)
    #expect(PooledPercentile.estimate(batches(300), batches(199), at: 0.99) == nil)
    // Four batches are no series.
    #expect(
      PooledPercentile.estimate(Array(batches(300).prefix(4)), batches(300), at: 0.99) == nil)
    #expect(PooledPercentile.estimate([], [], at: 0.5) == nil)
    // The same share of requests lies below 1500 on both sides, and the percentiles differ by chance.
    let (one, other) = (
      Array(repeating: [[1000, 990], [1500, 1], [2000, 9]], count: 5),
      Array(repeating: [[1000, 990], [1400, 1], [2000, 9]], count: 5)
    )
    let found = PooledPercentile.estimate(one, other, at: 0.9905)
    #expect(
      found.map { $0.error < 1 && abs($0.mean) < $0.half(missing: 0.1) } == true, "\(found as Any)")
    // What a file may hold.
    let odd: [[[Int]]] = Array(
      repeating: [[1000, 300], [], [-5, 3], [7], [9, 0], [2000, 9]], count: 5)
    #expect(PooledPercentile.estimate(odd, odd, at: 0.5)?.mean == 0)
  }
}
