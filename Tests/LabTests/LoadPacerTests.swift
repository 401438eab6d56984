// The moments of an open loop, against arithmetic: rates that do not drift, shares that add up, gaps
// that are distributed as they should be, and sequences that a seed repeats.

import MillraceEngine
import Testing

@testable import Lab

private func source(
  _ pacing: LoadPacing, seed: UInt64 = 1, warmUp: Int64 = 0, limit: Int? = nil,
  weights: [Double] = [1]
) -> PacingSource {
  var plan = LoadPlan()
  plan.pacing = pacing
  plan.seed = seed
  plan.warmUpNanoseconds = warmUp
  plan.requestLimit = limit
  plan.requests = weights.map { weight in
    var request = RequestTemplate(name: "r")
    request.weight = weight
    return request
  }
  return PacingSource(plan)
}

private func moments(
  _ source: PacingSource, thread: Int = 0, of threads: Int = 1, until end: Int64
) -> [Int64] {
  var pacer = Pacer(source, thread: thread, of: threads)
  var found: [Int64] = []
  while let moment = pacer.next(), moment.offset < end { found.append(moment.offset) }
  return found
}

@Suite("Moments of an open loop")
struct LoadPacerTests {
  @Test(
    "a constant rate is exact in every second, awkward rates included",
    arguments: [1.0, 3, 7, 999.5, 10_000, 33_333, 1_000_003])
  func constantRateIsExact(rate: Double) {
    let all = moments(source(.constant(rate: rate)), until: 2_000_000_000)
    for second in 1...2 {
      let before = all.count { $0 < Int64(second) * 1_000_000_000 }
      // The moments i / rate below s are those with i < s × rate.
      #expect(before == Int((Double(second) * rate).rounded(.up)))
    }
    let gap = 1e9 / rate
    #expect(zip(all, all.dropFirst()).allSatisfy { abs(Double($1 - $0) - gap) <= 1 })
  }

  @Test("a constant rate has not drifted by a nanosecond after days")
  func constantRateDoesNotDrift() {
    // 7,000 per second, 100 hours in: 2,520,000,000 gaps of 142,857.142857… ns are exactly 100 hours.
    #expect(Pacer.offset(2_520_000_000, 7_000) == 360_000_000_000_000)
    // A third of a million per second, a day in, against integers.
    for number: UInt64 in [28_799_971_200, 28_799_971_201, 28_799_971_777] {
      let exact = number.multipliedFullWidth(by: 1_000_000_000)
      let quotient = UInt64(333_333).dividingFullWidth(exact).quotient
      #expect(abs(Pacer.offset(number, 333_333) - Int64(quotient)) <= 1)
    }
  }

  @Test("threads' shares of a constant rate are the sequence itself", arguments: [2, 3, 7])
  func sharesAddUp(threads: Int) {
    let source = source(.constant(rate: 12_345))
    let whole = moments(source, until: 500_000_000)
    let parts = (0..<threads).flatMap {
      moments(source, thread: $0, of: threads, until: 500_000_000)
    }
    #expect(parts.sorted() == whole)
  }

  @Test("a limit counts moments after the warm-up, over all threads", arguments: [1, 2, 3])
  func limitIsExact(threads: Int) {
    let warmUp: Int64 = 300_000_000
    var schedule = LoadSchedule(sendTimes: [], templates: [])
    for i in 0..<2000 {
      schedule.sendTimes.append(Int64(i) * 1_000_000)
      schedule.templates.append(0)
    }
    for pacing in [
      LoadPacing.constant(rate: 999), .poisson(rate: 2_000), .replay(schedule),
    ] {
      let source = source(pacing, warmUp: warmUp, limit: 101)
      let counted = (0..<threads).reduce(0) {
        $0 + moments(source, thread: $1, of: threads, until: .max).count { $0 >= warmUp }
      }
      #expect(counted == 101)
    }
  }

  @Test("Poisson gaps have the mean and the spread of an exponential distribution")
  func poissonGapsAreExponential() {
    let rate = 5_000.0
    let all = moments(source(.poisson(rate: rate), seed: 42), until: 40_000_000_000)
    let mean = 1e9 / rate
    // 200,000 gaps: the mean's standard error is 0.22%, the deviation's 0.32%; five of them.
    #expect(abs(Double(all.count) / (40 * rate) - 1) < 0.011)
    let gaps = zip(all, all.dropFirst()).map { Double($1 - $0) }
    let average = gaps.reduce(0, +) / Double(gaps.count)
    let variance = gaps.reduce(0) { $0 + ($1 - average) * ($1 - average) } / Double(gaps.count)
    #expect(abs(average / mean - 1) < 0.011)
    #expect(abs(variance.squareRoot() / mean - 1) < 0.016)
    // A share e⁻¹ is longer than the mean, e⁻³ longer than three of it.
    let beyond = Double(gaps.count { $0 > mean }) / Double(gaps.count)
    let far = Double(gaps.count { $0 > 3 * mean }) / Double(gaps.count)
    #expect(abs(beyond - 0.3679) < 0.006)
    #expect(abs(far - 0.0498) < 0.003)
  }

  @Test("counts of Poisson moments per interval have a variance equal to their mean")
  func poissonCountsDisperse() {
    // Two threads: the sum of the shares is a Poisson process, too.
    let source = source(.poisson(rate: 10_000), seed: 7)
    var counts = [Int](repeating: 0, count: 10_000)
    for thread in 0..<2 {
      for moment in moments(source, thread: thread, of: 2, until: 10_000_000_000) {
        counts[Int(moment / 1_000_000)] += 1
      }
    }
    let mean = Double(counts.reduce(0, +)) / Double(counts.count)
    let variance =
      counts.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / Double(counts.count)
    #expect(abs(mean - 10) < 0.2)
    // Its standard error is √(2/10,000) = 1.4%; five of them.
    #expect(abs(variance / mean - 1) < 0.075)
  }

  @Test("the same seed plans the same moments and templates, another one others")
  func seedsRepeat() {
    func walk(_ seed: UInt64) -> [PlannedRequest] {
      var pacer = Pacer(
        source(.poisson(rate: 1000), seed: seed, weights: [1, 2, 3]), thread: 0, of: 1)
      return (0..<1000).compactMap { _ in pacer.next() }
    }
    #expect(walk(5) == walk(5))
    #expect(walk(5) != walk(6))
  }

  @Test("a copy of a pacer walks on where the original stood")
  func copiesWalkAlone() {
    var pacer = Pacer(source(.poisson(rate: 1000), weights: [1, 1]), thread: 0, of: 1)
    for _ in 0..<10 { _ = pacer.next() }
    var copy = pacer
    let first = (0..<50).map { _ in pacer.next() }
    #expect(first == (0..<50).map { _ in copy.next() })
  }

  @Test("a replay keeps its moments and templates, whoever takes them", arguments: [1, 2, 5])
  func replayIsKept(threads: Int) {
    let schedule = LoadSchedule(sendTimes: [0, 10, 10, 500, 9_000], templates: [0, 1, 0, 1, 1])
    let source = source(.replay(schedule), weights: [1, 1])
    var found: [PlannedRequest] = []
    for thread in 0..<threads {
      var pacer = Pacer(source, thread: thread, of: threads)
      while let moment = pacer.next() { found.append(moment) }
    }
    found.sort { ($0.offset, $0.template) < ($1.offset, $1.template) }
    #expect(found.map(\.offset) == schedule.sendTimes)
    #expect(found.map(\.template) == [0, 0, 1, 1, 1])
  }

  @Test("templates come in proportion to their weights; weight 0 never")
  func weightsHold() {
    let chooser = RequestChooser(weights: [5, 0, 1, 2, 2], seed: 3)
    var counts = [Int](repeating: 0, count: 5)
    for number in 0..<100_000 as Range<UInt64> { counts[Int(chooser.template(number))] += 1 }
    #expect(counts[1] == 0)
    for (count, share) in zip(counts, [0.5, 0, 0.1, 0.2, 0.2]) {
      // The standard error of a share of one half is 0.16%; five of them.
      #expect(abs(Double(count) / 100_000 - share) < 0.008)
    }
  }
}
