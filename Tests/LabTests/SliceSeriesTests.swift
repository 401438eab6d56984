// Whether the analysis of slices keeps what it promises, by simulation with fixed seeds: how often it
// declares a difference that is not there, how often it finds one of 5%, and how often its interval
// covers the truth, on machines of several kinds, and with a look after each quarter.

import Glibc
import Testing

@testable import Lab

/// Paired logarithms of slices on a machine with this noise.
private struct Machine: Sendable, CustomTestStringConvertible {
  var name: String
  /// Whether values depend on those before them.
  var memory = 0.0
  /// One value in ten is off by ten times the usual, to either side.
  var hasOutliers = false
  /// Student's t with 3 degrees.
  var isHeavy = false
  /// Slow over the whole run; alternating orders turn its sign with each block.
  var drift = 0.0

  var testDescription: String { name }

  static let all = [
    Machine(name: "calm"), Machine(name: "remembering", memory: 0.5),
    Machine(name: "outliers", hasOutliers: true), Machine(name: "heavy", isHeavy: true),
    Machine(name: "drifting", drift: 1),
  ]

  func values(_ count: Int, truth: Double, spread: Double, _ random: inout TestRandom) -> [Double] {
    var last = random.normal()
    return (0..<count).map { i in
      let fresh = isHeavy ? random.student3() : random.normal()
      last = memory * last + (1 - memory * memory).squareRoot() * fresh
      var value = last
      if hasOutliers && random.uniform() < 0.1 { value *= 10 }
      let turned = i % 4 == 0 || i % 4 == 3 ? drift : -drift
      return truth + spread * (value + turned * Double(i) / Double(count))
    }
  }
}

/// Logarithms of a percentile of paired slices beside a neighbour that works in bursts: of three slices one has
/// met a burst, and its percentile is that.
private func burstyPercentiles(_ count: Int, more: Double, _ random: inout TestRandom) -> [Double] {
  func slice(_ more: Double) -> Double {
    random.uniform() < 0.35
      ? 2 + 0.4 * random.normal() : 0.3 * random.normal() + more
  }
  return (0..<count).map { _ in slice(more) - slice(0) }
}

@Suite struct SliceSeriesTests {
  /// Looks after each quarter of `count` values; the first that excludes 0 stops the run.
  private func declares(
    _ values: [Double], of family: Int, trim: (Int) -> Double = { _ in SliceSeries.costTrim }
  ) -> (declared: Double?, last: Int) {
    for look in 1...Looks.count {
      let part = Array(values.prefix(values.count * look / Looks.count))
      guard let found = SliceSeries.estimate(part, trim: trim(part.count)) else { continue }
      let half = found.half(missing: 0.01 * Looks.share(look) / Double(family))
      if abs(found.mean) > half { return (found.mean, look) }
    }
    return (nil, Looks.count)
  }

  @Test(arguments: Machine.all)
  private func aDifferenceThatIsNotThereIsDeclaredOnceInAHundred(_ machine: Machine) {
    var random = TestRandom(state: 41)
    var false_ = 0
    for _ in 0..<1000 {
      let values = machine.values(96, truth: 0, spread: 0.05, &random)
      if declares(values, of: 1).declared != nil { false_ += 1 }
    }
    // 10 are promised over all looks; three deviations of that are 9. Memory costs what 32 groups of
    // two or four cannot see of it.
    #expect(false_ <= (machine.memory > 0 ? 40 : 19), "\(false_)")
  }

  @Test(arguments: [60, 400])
  private func percentilesBesideANeighbourKeepTheRate(_ count: Int) {
    var random = TestRandom(state: 61)
    var false_ = 0
    for _ in 0..<400 {
      let values = burstyPercentiles(count, more: 0, &random)
      if declares(values, of: 1, trim: SliceSeries.latencyTrim).declared != nil { false_ += 1 }
    }
    // 4 are promised over all looks; three deviations of that are 6.
    #expect(false_ <= 10, "\(false_)")
  }

  /// A late share that is seen only in slices without a burst.
  @Test func aLateShareIsFoundBesideANeighbour() {
    var random = TestRandom(state: 67)
    var (right, wrong, before) = (0, 0, 0)
    for _ in 0..<100 {
      let values = burstyPercentiles(330, more: 0.4, &random)
      let found = declares(values, of: 4, trim: SliceSeries.latencyTrim).declared
      if let found, found > 0 { right += 1 }
      if let found, found < 0 { wrong += 1 }
      if declares(values, of: 4, trim: { _ in 0.2 }).declared != nil { before += 1 }
    }
    #expect(right >= 85 && wrong == 0, "\(right) \(wrong)")
    #expect(before < right - 20, "\(before): with a fifth it was found less often")
  }

  @Test(arguments: Machine.all)
  private func fivePercentAreFoundWithTheRightSign(_ machine: Machine) {
    var random = TestRandom(state: 43)
    var (right, wrong, early) = (0, 0, 0)
    for _ in 0..<300 {
      let values = machine.values(96, truth: log(1.05), spread: 0.05, &random)
      let (declared, look) = declares(values, of: 4)
      if let declared, declared > 0 { right += 1 }
      if let declared, declared < 0 { wrong += 1 }
      if look < Looks.count { early += 1 }
    }
    #expect(right >= (machine.memory > 0 ? 250 : 270), "\(right)")
    #expect(wrong == 0)
    #expect(early > 100, "\(early): a clear case ends early")
  }

  @Test(arguments: Machine.all)
  private func anIntervalCoversTheTruthAtItsRateWhereverTheRunStops(_ machine: Machine) {
    var random = TestRandom(state: 47)
    var missed = 0
    for _ in 0..<1000 {
      let values = machine.values(64, truth: log(1.05), spread: 0.05, &random)
      let look = declares(values, of: 1).last
      let part = Array(values.prefix(values.count * look / Looks.count))
      let found = SliceSeries.estimate(part, trim: SliceSeries.costTrim)!
      if abs(found.mean - log(1.05)) > found.half(missing: 0.01 * Looks.share(look)) { missed += 1 }
    }
    #expect(missed <= (machine.memory > 0 ? 45 : 19), "\(missed)")
  }

  /// What is called likely is said with its odds, and those have to be right on the average.
  @Test func oddsAreWhatTheyAreCalled() {
    var random = TestRandom(state: 53)
    var (said, right) = (0.0, 0.0)
    for _ in 0..<2000 {
      // As if nothing was known beforehand: the truth may be anywhere.
      let truth = (random.uniform() - 0.5) * 0.1
      let values = Machine.all[0].values(40, truth: truth, spread: 0.1, &random)
      let found = SliceSeries.estimate(values, trim: SliceSeries.costTrim)!
      let probability = found.probability()
      guard probability > 0.9, probability < 0.99 else { continue }
      said += probability
      if (found.mean > 0) == (truth > 0) { right += 1 }
    }
    #expect(abs(right / said - 1) < 0.04, "\(right) of \(said)")
  }

  // MARK: Arithmetic

  @Test func aTrimmedMeanLeavesOutBothEnds() throws {
    var values = (0..<20).map { Double($0 % 10) }
    let plain = try #require(SliceSeries.estimate(values, trim: 0.1))
    #expect(abs(plain.mean - 4.5) < 1e-9)
    values[3] = 1e9
    let found = try #require(SliceSeries.estimate(values, trim: 0.1))
    #expect(found.mean < 6 && found.error < 3)
    #expect(SliceSeries.estimate(Array(values.prefix(4)), trim: 0.1) == nil)
    let same = try #require(SliceSeries.estimate([Double](repeating: 2, count: 9), trim: 0.2))
    #expect(same == SeriesEstimate(mean: 2, error: 0, degrees: 6))
    #expect(same.half(missing: 0.01) == 0 && same.probability() == 1)
  }

  /// Positive memory makes the error larger than that of independent values.
  @Test func memoryMakesTheErrorLarger() {
    var random = TestRandom(state: 59)
    var (with, without) = (0.0, 0.0)
    for _ in 0..<100 {
      with +=
        SliceSeries.estimate(
          Machine.all[1].values(256, truth: 0, spread: 1, &random), trim: 0.1)!.error
      without +=
        SliceSeries.estimate(
          Machine.all[0].values(256, truth: 0, spread: 1, &random), trim: 0.1)!.error
    }
    #expect(with > without * 1.4, "\(with) \(without)")
  }

  @Test func looksSpendTheWholeErrorAndNoMore() {
    let shares = (1...Looks.count).map(Looks.share)
    #expect(abs(shares.reduce(0, +) - 1) < 1e-12)
    #expect(shares == shares.sorted() && Looks.share(0) == 1)
    #expect(Looks.number(0) == 1 && Looks.number(0.26) == 2 && Looks.number(1) == 4)
  }
}
