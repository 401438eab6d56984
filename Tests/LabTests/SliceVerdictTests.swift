// The verdict on a comparison in slices: its four grades in words, with odds, costs and minutes, and what it
// says that no clock can change.

import Glibc
import Testing

@testable import Lab

@Suite struct SliceVerdictTests {
  /// Twenty batches of two blocks; CPU per request of io_uring differs by `ratio`, and each slice is off
  /// by up to `spread`.
  private func comparison(
    _ ratio: Double, spread: Double, batches: Int = 20, look: Int = 4, elsewhere: Double = 0,
    isAudited: Bool = false, decidedBy: [String] = []
  ) -> Comparison {
    var told = ToldComparison("epoll", "io_uring")
    told.rounds = batches
    told.adjust = { m in
      let isOther = m.subject == "io_uring"
      m.look = look
      m.systemCalls = Int(m.requestsInTime * (isOther ? 0.5 : 4))
      m.wakeUps = Int(m.requestsInTime * 0.25)
      if isAudited { (m.auditRecords, m.auditCommits) = (1000, 100) }
      m.slices = (0..<2).map { number in
        var slice = SliceFacts()
        slice.block = m.round * 2 + number
        slice.seconds = 0.3
        slice.completed = 3000
        slice.responses = 3300
        // A sequence that fills the interval evenly; not the same for both subjects.
        let place = Double(slice.block + (isOther ? 7 : 0)) * (isOther ? 0.618034 : 0.414214)
        let off = exp(spread * (2 * (place - place.rounded(.down)) - 1))
        slice.processSeconds = 3300 * 60e-6 * off * (isOther ? ratio : 1)
        slice.machineSeconds = 3300 * 90e-6
        slice.latency = [400_000, 700_000, 1_500_000]
        return slice
      }
    }
    var comparison = told.make()
    comparison.course.method = "slices"
    comparison.course.seconds = 240
    comparison.course.plannedSeconds = 240
    comparison.course.slices = 80
    comparison.course.decidedBy = decidedBy
    comparison.course.leftOut = 2
    comparison.course.stolenBound = SliceRule.stolen
    comparison.course.elsewhere = elsewhere
    comparison.conclude()
    return comparison
  }

  // Chosen deciding quantities

  @Test func whatWasChosenDecidesAndTheRestIsForInformation() throws {
    let usual = comparison(0.9, spread: 0.03)
    #expect(usual.verdict.recommended == "io_uring")
    let made = comparison(0.9, spread: 0.03, decidedBy: ["p99@equal"])
    #expect(made.verdict.recommended == nil, "\(made.verdict.headline)")
    #expect(made.verdict.headline.hasPrefix("No relevant difference between io_uring and epoll"))
    #expect(cpu(made)?.outcome == .better, "it is judged all the same")
    #expect(
      made.verdict.reasons.first?.hasPrefix(
        "Deciding quantities (--decide-by): p99 at the lowest equal load. Other quantities are")
        == true)
    let paired = PairedRatios(made)
    #expect(made.stages.filter(paired.decides).map(\.kind) == [.rate])
  }

  /// Of a stage where it decides nothing by default, and with the narrower interval of one quantity alone.
  @Test func aQuantityAtTheMaximumCanDecideAlone() throws {
    let made = comparison(0.9, spread: 0.03, decidedBy: ["cpu_per_request@maximum"])
    let paired = PairedRatios(made)
    #expect(made.stages.filter(paired.decides).map(\.kind) == [.maximum])
    let ratio = try #require(made.ratios.one(.cpuPerRequest, "maximum"))
    #expect(ratio.outcome == .better && made.verdict.recommended == "io_uring")
  }

  /// A verdict for each, decided and undecided, either way: no sentence with a hole in it.
  @Test(
    arguments: DecidingQuantity.all.map(\.text),
    [(0.8, 0.002), (1.25, 0.002), (0.95, 0.1), (1.06, 0.1)])
  func everyChoiceHasItsWords(_ name: String, _ change: (factor: Double, spread: Double)) throws {
    let choice = try #require(DecidingQuantity(name))
    var told = ToldComparison("epoll", "io_uring")
    told.tell("io_uring", choice.quantity, change.factor, spread: change.spread)
    var made = told.make()
    made.course.decidedBy = [name]
    // What is said is looked at, not how exact it is.
    made.conclude(resamples: 499)
    let text = ([made.verdict.headline] + made.verdict.reasons).joined(separator: "\n")
    #expect(made.verdict.headline.contains(choice.quantity.label), "\(text)")
    for hole in [":  ", " is .", "gives ,", "has .", ": ."] {
      #expect(!text.contains(hole), "\(text)")
    }
    let ratio = try #require(
      made.ratios.first { $0.quantity == choice.quantity.rawValue && made.isDecisive($0) })
    if let low = ratio.low, let high = ratio.high, low < 1 && high > 1 {
      #expect(!text.contains(" nothing"), "\(text)")
    }
  }

  @Test(arguments: [
    ("throughput", "throughput@maximum"), ("p99", "p99@equal"),
    ("cpu_per_request", "cpu_per_request@equal"), ("p99@maximum", "p99@maximum"),
    ("memory", "memory@maximum"), ("throughput@equal", nil), ("memory@equal", nil),
    ("system_calls_per_request", nil), ("p99@", nil), ("p99@later", nil), ("p99@equal@equal", nil),
    ("", nil), ("@equal", nil),
  ])
  func namesOfWhatMayDecide(_ text: String, _ wanted: String?) {
    #expect(DecidingQuantity(text)?.text == wanted)
  }

  @Test func whatMayDecideReadsBack() {
    #expect(DecidingQuantity.all.count == 16)
    for each in DecidingQuantity.all { #expect(DecidingQuantity(each.text) == each) }
  }

  private func cpu(_ comparison: Comparison) -> Ratio? {
    comparison.ratios.one(.cpuPerRequest, "equal")
  }

  @Test func aClearDifferenceIsDecidedAndSaysWhatBeingWrongCosts() throws {
    let made = comparison(0.9, spread: 0.03)
    let ratio = try #require(cpu(made))
    #expect(ratio.outcome == .better && ratio.pairs == 40 && ratio.likely == .none)
    #expect(abs(ratio.estimate! - 0.9) < 0.01)
    #expect(made.verdict.grade == "decided" && made.verdict.recommended == "io_uring")
    let text = made.verdict.reasons.joined(separator: "\n")
    #expect(
      text.contains("If this is wrong (one time in a hundred), io_uring costs nothing"), "\(text)")
  }

  @Test func aDifferenceThatIsOnlyLikelyIsSaidWithItsOdds() throws {
    for spread in stride(from: 0.08, to: 0.4, by: 0.01) {
      let made = comparison(0.95, spread: spread)
      let ratio = try #require(cpu(made))
      guard ratio.likely == .better, ratio.high! > 1 else { continue }
      #expect(ratio.outcome == .undecided && ratio.probability! > 0.9)
      #expect(made.verdict.grade == "likely" && made.verdict.recommended == nil)
      #expect(
        made.verdict.headline.hasPrefix("Likely io_uring, not yet decided: CPU per request −"))
      #expect(made.verdict.headline.contains(" to 1) against epoll"))
      #expect(
        made.verdict.headline.contains("If that is wrong, it costs at most CPU per request +"))
      #expect(ratio.minutes! > 4)
      #expect(made.verdict.wouldChange[0].hasPrefix("A longer run: --minutes "))
      #expect(ComparisonText.render(made).contains("likely better"))
      return
    }
    Issue.record("no spread was likely")
  }

  @Test func noDifferenceIsTheSame() {
    let made = comparison(1.002, spread: 0.01)
    #expect(cpu(made)?.outcome == .same && made.verdict.grade == "same")
    #expect(made.verdict.recommended == nil)
    #expect(made.verdict.headline.hasPrefix("No relevant difference between io_uring and epoll"))
  }

  @Test func whatIsUndecidedSaysHowManyMinutesAndWhatIsCertain() throws {
    let made = comparison(1.0, spread: 0.4)
    let ratio = try #require(cpu(made))
    #expect(ratio.outcome == .undecided && ratio.likely == .none)
    #expect(made.verdict.grade == "undecided")
    let headline = made.verdict.headline
    #expect(headline.contains(" would decide CPU per request"), "\(headline)")
    #expect(headline.contains("Certain, whatever the clock says: io_uring has −88% system calls"))
    #expect(!headline.contains("wake-ups"))
    let text = made.verdict.reasons.joined(separator: "\n")
    #expect(text.contains("a request takes io_uring (epoll) 0.50 system calls (4.00)"), "\(text)")
    #expect(text.contains("2 slices (2.5%)") && text.contains("steal"))
  }

  @Test func onSharedProcessorsItNamesThreadsForAnAuditLog() {
    func isNamed(_ made: Comparison) -> Bool {
      made.verdict.wouldChange.contains { $0.contains("io_uring+threaded_writes") }
    }
    #expect(isNamed(comparison(0.9, spread: 0.03, elsewhere: 0.3, isAudited: true)))
    #expect(!isNamed(comparison(0.9, spread: 0.03, elsewhere: 0.29, isAudited: true)))
    #expect(!isNamed(comparison(0.9, spread: 0.03, elsewhere: 1)))
    var neighboured = comparison(0.9, spread: 0.03, isAudited: true)
    #expect(!isNamed(neighboured))
    neighboured.course.neighbours = [0]
    neighboured.conclude()
    #expect(isNamed(neighboured))
  }

  /// What a look may spend makes its interval wider than the last one's.
  @Test func anEarlyLookHasAWiderInterval() throws {
    let (early, last) = (
      try #require(cpu(comparison(0.9, spread: 0.03, look: 1))),
      try #require(cpu(comparison(0.9, spread: 0.03)))
    )
    #expect(early.estimate == last.estimate && early.high! > last.high! && early.low! < last.low!)
  }

  @Test func slicesWithTooFewRequestsLeaveAPercentileToTheBatch() {
    var slice = SliceFacts()
    (slice.responses, slice.latency) = (299, [1, 2, 3])
    slice.completed = 299
    #expect(Quantity.p99.value(slice) == nil && Quantity.p90.value(slice) != nil)
    slice.completed = 300
    #expect(Quantity.p99.value(slice) == 3e-9)
    slice.responses = 0
    #expect(Quantity.p99.value(slice) == nil && Quantity.memory.value(slice) == nil)
  }

  @Test(arguments: [(0.0, 0.01, 1.0), (0.0, 0.0396, 4.0), (0.1, 0.2, 6.76)])
  func timeFollowsFromTheSpread(_ estimate: Double, _ half: Double, _ factor: Double) throws {
    let found = try #require(TimeNeeded.factor(estimate: estimate, half: half))
    #expect(abs(found / factor - 1) < 0.02, "\(found)")
    #expect(TimeNeeded.factor(estimate: log(1.02), half: half) == nil)
  }
}

extension Comparison {
  fileprivate func isDecisive(_ ratio: Ratio) -> Bool {
    stages.first { $0.name == ratio.stage }.map { stage in
      Quantity(rawValue: ratio.quantity).map { PairedRatios(self).weight($0, stage) == .decisive }
        ?? false
    } ?? false
  }
}
