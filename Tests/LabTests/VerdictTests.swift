// From measurements to outcomes, with ratios that are told round by round: what counts, what is left
// out, and where the bounds of the verdict lie to the last digit.

import Glibc
import Testing

@testable import Lab

/// A comparison whose every ratio is told: factors on the figures of an imaginary machine without
/// noise. Two stages: the maximum, and an equal load of 9000 requests per second.
struct ToldComparison {
  var rounds = 8
  var subjects: [SubjectFacts]
  /// By subject and quantity, the factor in each round.
  var factors: [String: [String: @Sendable (Int) -> Double]] = [:]
  /// Changes a measurement once it is made.
  var adjust: @Sendable (inout Measurement) -> Void = { _ in }
  var stages = [("maximum", nil), ("equal", 9000.0)] as [(String, Double?)]

  init(_ names: String...) { subjects = names.map { Self.variant($0) } }

  static func variant(_ name: String) -> SubjectFacts {
    var subject = SubjectFacts()
    subject.name = name
    subject.engine = name.hasPrefix("epoll") ? "epoll" : "io_uring"
    for option in name.split(separator: "+").dropFirst() {
      subject.options[String(option)] = "true"
    }
    return subject
  }

  static func peer(_ name: String) -> SubjectFacts {
    var subject = SubjectFacts()
    subject.name = name
    subject.kind = .peer
    subject.version = "1.2.3"
    subject.isTuned = name.hasSuffix("tuned")
    return subject
  }

  /// The factor with a spread to both sides of it, another in each round.
  mutating func tell(
    _ subject: String, _ quantity: Quantity, _ factor: Double, spread: Double = 0.002
  ) {
    factors[subject, default: [:]][quantity.rawValue] = { round in
      let place = Double(round) * 0.618034  // the golden ratio's fraction: no two alike
      return factor * exp(spread * (2 * (place - place.rounded(.down)) - 1))
    }
  }

  func make() -> Comparison {
    var comparison = Comparison()
    comparison.seed = 11
    comparison.baseline = subjects.first?.name ?? ""
    comparison.subjects = subjects
    comparison.stages = stages.map { name, rate in
      var stage = StageFacts()
      stage.name = name
      stage.kind = rate == nil ? .maximum : .rate
      stage.rate = rate
      return stage
    }
    for round in 0..<rounds {
      for stage in comparison.stages {
        for subject in subjects where subject.failure == nil {
          comparison.measurements.append(measurement(round, stage, subject.name))
        }
      }
    }
    return comparison
  }

  private func measurement(_ round: Int, _ stage: StageFacts, _ subject: String) -> Measurement {
    func figure(_ quantity: Quantity) -> Double {
      factors[subject]?[quantity.rawValue]?(round) ?? 1
    }
    var m = Measurement()
    m.round = round
    m.stage = stage.name
    m.subject = subject
    m.load.seconds = 3
    m.load.connections = 64
    m.load.completedRate = stage.rate ?? 14_000 * figure(.throughput)
    m.load.completed = Int(m.load.completedRate * 3)
    m.load.bytesReceived = m.load.completed * 1200
    m.load.latency.p50 = Int(400e6 * figure(.p50))
    m.load.latency.p90 = Int(700e6 * figure(.p90))
    m.load.latency.p99 = Int(1500e6 * figure(.p99) * figure(.p99OfAll))
    m.load.latency.p999 = Int(4000e6 * figure(.p999))
    m.processSeconds = 60e-6 * Double(m.load.completed) * figure(.cpuPerRequest)
    m.machineSeconds = 90e-6 * Double(m.load.completed) * figure(.machinePerRequest)
    m.userSeconds = m.processSeconds * 0.3
    m.systemSeconds = m.processSeconds * 0.7
    m.proxyBusy = stage.rate == nil ? 0.99 : 0.6
    m.processorBusy = ["0": m.proxyBusy, "1": 0.5]
    m.residentBytes = Int(9e6 * figure(.memory))
    adjust(&m)
    return m
  }
}

extension [Ratio] {
  func one(_ quantity: Quantity, _ stage: String) -> Ratio? {
    first { $0.quantity == quantity.rawValue && $0.stage == stage }
  }
}

@Suite struct VerdictTests {
  private func ratios(_ told: ToldComparison) -> [Ratio] {
    PairedRatios(told.make(), resamples: 999).ratios("io_uring", to: "epoll")
  }

  // MARK: The bound of 2%

  /// One request whose CPU time is `ratio` seconds against one second: no rounding is in between.
  private func exactly(_ ratio: Double) -> Ratio? {
    var told = ToldComparison("epoll", "io_uring")
    told.adjust = { m in
      m.load.completed = 1
      (m.load.completedRate, m.load.seconds) = (1, 1)
      m.processSeconds = m.subject == "io_uring" ? ratio : 1
    }
    return ratios(told).one(.cpuPerRequest, "equal")
  }

  @Test func aDifferenceOfExactlyTheBoundIsNone() throws {
    let bound = 1 + PairedRatios.bound
    for (ratio, outcome): (Double, Ratio.Outcome) in [
      (bound.nextDown, .same), (bound, .same), (bound + 1e-9, .worse),
      ((1 / bound).nextUp, .same), (1 / bound - 1e-9, .better), (1, .same),
    ] {
      let found = try #require(exactly(ratio))
      #expect(found.outcome == outcome, "\(ratio): \(found)")
      #expect(found.low == found.estimate && found.high == found.estimate)
    }
  }

  @Test func anIntervalAcrossTheBoundIsUndecided() throws {
    var told = ToldComparison("epoll", "io_uring")
    told.tell("io_uring", .cpuPerRequest, 1.015, spread: 0.02)
    told.tell("io_uring", .p99, 1.1, spread: 0.2)
    let found = ratios(told)
    let cpu = try #require(found.one(.cpuPerRequest, "equal"))
    #expect(cpu.outcome == .undecided && cpu.low! < 1.02 && cpu.high! > 1.02)
    let p99 = try #require(found.one(.p99, "equal"))
    #expect(p99.outcome == .undecided && p99.low! < 1 && p99.high! > 1.1)
  }

  @Test func moreIsBetterForThroughputOnly() {
    var told = ToldComparison("epoll", "io_uring")
    for quantity in [Quantity.throughput, .p99, .cpuPerRequest, .memory] {
      told.tell("io_uring", quantity, 1.2)
    }
    let found = ratios(told)
    #expect(found.one(.throughput, "maximum")?.outcome == .better)
    #expect(found.one(.p99, "equal")?.outcome == .worse)
    #expect(found.one(.cpuPerRequest, "equal")?.outcome == .worse)
    #expect(found.one(.memory, "maximum")?.outcome == .worse)
    // Nobody has ever more throughput at a rate that all get.
    #expect(found.one(.throughput, "equal") == nil)
  }

  /// Spread that a family of one would pass, and a family of four does not.
  @Test func whatIsJudgedTogetherIsJudgedHarder() {
    #expect(Family.widening(of: 1, values: 8) == 1)
    // t of 0.99875 over t of 0.995, 7 degrees.
    #expect(abs(Family.widening(of: 4, values: 8) - 1.3130) < 0.001)
    #expect(Family.widening(of: 40, values: 8) > Family.widening(of: 4, values: 8))
  }

  @Test func aDifferenceIsDeclaredOnlyIfItsWholeFamilyBearsIt() throws {
    var reasons: [String] = []
    for step in 5..<30 {
      var told = ToldComparison("epoll", "io_uring")
      told.tell("io_uring", .cpuPerRequest, 1.05, spread: Double(step) * 0.004)
      let found = try #require(ratios(told).one(.cpuPerRequest, "equal"))
      let distance = log(found.estimate!)
      let wide = log(found.high! / found.estimate!) * Family.widening(of: 4, values: 8)
      #expect((found.outcome == .worse) == (distance > wide), "\(found)")
      #expect(found.outcome == .worse || found.outcome == .undecided)
      reasons.append(found.reason ?? "")
    }
    #expect(reasons.contains { $0.hasSuffix("among 4 quantities that is not significant") })
    #expect(reasons.contains("the interval contains 1") && reasons.contains(""))
  }

  /// A rate that was not held: CPU seconds are those of the counted part, and what was answered after
  /// it took none of them.
  @Test func whatIsPerRequestIsPerRequestInTime() {
    var m = Measurement()
    m.load.seconds = 2
    m.load.completedRate = 20_000
    m.load.completed = 57_000
    m.processSeconds = 2
    m.machineSeconds = 3
    m.userSeconds = 0.5
    m.systemSeconds = 1.5
    m.contextSwitches = 80_000
    m.systemCalls = 120_000
    for (quantity, expected) in [
      (Quantity.cpuPerRequest, 50e-6), (.machinePerRequest, 75e-6), (.userPerRequest, 12.5e-6),
      (.systemPerRequest, 37.5e-6), (.switchesPerRequest, 2), (.systemCallsPerRequest, 3),
    ] {
      #expect(abs((quantity.value(m) ?? 0) / expected - 1) < 1e-9, "\(quantity)")
    }
  }

  // MARK: What does not count

  @Test(arguments: [(0.949, false), (0.9499, false), (0.95, true), (1.0, true)])
  func throughputNeedsABusyProxy(_ busy: Double, _ counts: Bool) throws {
    for idle in ["epoll", "io_uring"] {
      var told = ToldComparison("epoll", "io_uring")
      told.tell("io_uring", .throughput, 1.3)
      told.adjust = { if $0.subject == idle && $0.stage == "maximum" { $0.proxyBusy = busy } }
      let found = try #require(ratios(told).one(.throughput, "maximum"))
      #expect((found.estimate != nil) == counts)
      #expect(found.outcome == (counts ? .better : .none))
      if !counts {
        let reason = try #require(found.reason)
        #expect(reason.contains("load-bound") && reason.contains(idle), "\(reason)")
        #expect(found.low == nil && found.high == nil && found.pairs == 0)
      }
      // Latency at the maximum stands whoever was the limit.
      #expect(ratios(told).one(.p99, "maximum")?.outcome == .same)
    }
  }

  @Test(arguments: [(0, true), (1, true), (2, true), (3, false), (10, false)])
  func upToAFifthOfTheRoundsMayBeLost(_ lost: Int, _ counts: Bool) throws {
    var told = ToldComparison("epoll", "io_uring")
    told.rounds = 10
    told.tell("io_uring", .cpuPerRequest, 0.8)
    told.adjust = { m in
      if m.round < lost && m.subject == "io_uring" { m.failure = "12 of 90 requests failed" }
    }
    let found = try #require(ratios(told).one(.cpuPerRequest, "equal"))
    #expect(found.outcome == (counts ? .better : .none))
    #expect(found.pairs == 10 - lost)
    if counts && lost > 0 { #expect(found.reason == "\(lost) of 10 rounds excluded") }
    if !counts { #expect(found.reason!.contains("io_uring: 12 of 90 requests failed")) }
  }

  @Test(arguments: [(1, false), (4, false), (5, true), (6, true)])
  func anIntervalNeedsFiveRounds(_ rounds: Int, _ counts: Bool) throws {
    var told = ToldComparison("epoll", "io_uring")
    told.rounds = rounds
    told.tell("io_uring", .cpuPerRequest, 0.5, spread: 0)
    let found = try #require(ratios(told).one(.cpuPerRequest, "equal"))
    #expect(found.outcome == (counts ? .better : .none))
    if !counts { #expect(found.reason == "\(rounds) rounds; a 99% interval needs 5 or more") }
  }

  @Test func roundsThatOnlyOneOfTwoSawAreNotPaired() throws {
    var told = ToldComparison("epoll", "io_uring")
    told.rounds = 12
    var comparison = told.make()
    comparison.measurements.removeAll { $0.subject == "io_uring" && $0.round % 2 == 1 }
    let found = PairedRatios(comparison, resamples: 99).ratios("io_uring", to: "epoll")
    #expect(found.one(.p99, "equal")?.pairs == 6)
    told.adjust = { if $0.subject == "io_uring" { $0.load.completed = 0 } }
    let none = try #require(ratios(told).one(.cpuPerRequest, "equal"))
    #expect(none.outcome == .none && none.reason == "not measured")
  }

  // MARK: Far values

  @Test func oneRoundThatIsFarOffLeavesAFiniteInterval() throws {
    var told = ToldComparison("epoll", "io_uring")
    told.adjust = { if $0.subject == "io_uring" && $0.round == 3 { $0.processSeconds *= 1e12 } }
    let found = try #require(ratios(told).one(.cpuPerRequest, "equal"))
    let (low, estimate, high) = (found.low!, found.estimate!, found.high!)
    #expect(low > 0 && low <= estimate && estimate <= high && high.isFinite)
    #expect(found.outcome == .undecided)
  }

  /// A subject whose every request runs into a timeout is ten thousand times as slow.
  @Test(arguments: [1e5, 1e-5, 1e150])
  func anEstimateLiesWithinItsInterval(_ factor: Double) throws {
    var told = ToldComparison("epoll", "io_uring")
    told.adjust = { m in
      if m.subject == "io_uring" {
        m.processSeconds *= factor * (m.round % 2 == 0 ? 1.001 : 1)
      } else {
        m.processSeconds /= factor
      }
    }
    let found = try #require(ratios(told).one(.cpuPerRequest, "equal"))
    let (low, estimate, high) = (try #require(found.low), found.estimate!, found.high!)
    #expect(low <= estimate && estimate <= high, "\(low) \(estimate) \(high)")
    #expect(low > 0 && high.isFinite)
    #expect(found.outcome == (factor > 1 ? .worse : .better))
  }

  @Test func valuesWithoutALogarithmAreNotMeasured() {
    var m = ToldComparison("epoll").make().measurements[0]
    #expect(Quantity.cpuPerRequest.value(m) != nil)
    for odd in [0, -1, Double.nan, .infinity] {
      m.processSeconds = odd
      #expect(Quantity.cpuPerRequest.value(m) == nil)
    }
    m.completions = 8
    m.turns = 0
    #expect(Quantity.completionsPerTurn.value(m) == nil)
    m.turns = 2
    #expect(Quantity.completionsPerTurn.value(m) == 4)
    m.load.completed = 0
    #expect(Quantity.allCases.allSatisfy { $0.value(m) == nil })
  }

  // MARK: More rounds

  private func undecided(_ estimate: Double, half: Double, pairs: Int = 10) -> Ratio {
    var ratio = Ratio()
    ratio.outcome = .undecided
    ratio.estimate = estimate
    ratio.low = estimate / exp(half)
    ratio.high = estimate * exp(half)
    ratio.pairs = pairs
    return ratio
  }

  /// A half-width falls with the root of the number of rounds.
  @Test func moreRoundsFollowFromTheSpread() throws {
    // It has to fit inside log 1.02 = 0.0198: twice as narrow, four times as many rounds.
    #expect(RoundsNeeded.more(undecided(1, half: 0.0396)) == 30)
    // 0.1 / 1.5 has to be reached from 0.1333: again twice.
    #expect(RoundsNeeded.more(undecided(exp(0.1), half: 0.4 / 3)) == 30)
    #expect(RoundsNeeded.more(undecided(exp(0.1), half: 0.01)) == 1)
    // More than ten times as many is no advice.
    #expect(RoundsNeeded.more(undecided(1, half: 0.0198 * 3.1)) != nil)
    #expect(RoundsNeeded.more(undecided(1, half: 0.0198 * 3.2)) == nil)
    #expect(RoundsNeeded.more(undecided(1.0199, half: 0.01)) == nil)
    var decided = undecided(1, half: 0.0396)
    decided.outcome = .same
    #expect(RoundsNeeded.more(decided) == nil)
  }
}
