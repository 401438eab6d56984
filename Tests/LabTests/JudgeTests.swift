// The recommendation and its words: every standing, every rule, and that no sentence says more than
// the intervals hold.

import Glibc
import Testing

@testable import Lab

@Suite struct JudgeTests {
  private func concluded(_ told: ToldComparison) -> Comparison {
    var comparison = told.make()
    comparison.conclude()
    return comparison
  }

  private func standing(_ comparison: Comparison) -> Candidate.Standing? {
    Judge(comparison).candidates.first?.standing
  }

  private func said(_ verdict: Verdict) -> String {
    ([verdict.headline] + verdict.reasons + verdict.wouldChange).joined(separator: "\n")
  }

  // MARK: Standings

  @Test func betterInOneAndWorseInNoneWins() {
    var told = ToldComparison("epoll", "io_uring")
    told.tell("io_uring", .cpuPerRequest, 0.85)
    let comparison = concluded(told)
    #expect(standing(comparison) == .wins)
    #expect(comparison.verdict.recommended == "io_uring")
    #expect(
      comparison.verdict.headline
        == "io_uring: CPU per request \u{2212}15% against epoll, on a kernel and container that support it."
    )
    // The other three stand in the reasons, as what they are.
    let inside = comparison.verdict.reasons.filter { $0.contains("inside ±2%") }
    #expect(inside.count == 3, "\(comparison.verdict.reasons)")
  }

  @Test func worseInOneAndBetterInNoneLoses() {
    var told = ToldComparison("epoll", "io_uring")
    told.tell("io_uring", .p99, 1.25)
    let comparison = concluded(told)
    #expect(standing(comparison) == .loses)
    #expect(comparison.verdict.recommended == "epoll")
    #expect(comparison.verdict.headline == "Stay with epoll: with io_uring it is p99 +25%.")
  }

  @Test func aMixtureIsATradeAndTheBaselineStays() {
    var told = ToldComparison("epoll", "io_uring")
    told.tell("io_uring", .throughput, 1.2)
    told.tell("io_uring", .p99, 1.1)
    let comparison = concluded(told)
    #expect(standing(comparison) == .trades)
    #expect(comparison.verdict.recommended == "epoll")
    #expect(
      comparison.verdict.headline
        == "Stay with epoll, unless throughput matters more than p99: io_uring gives +20% throughput,"
        + " and costs p99 +10%.")
  }

  @Test func noDifferenceRecommendsNobody() {
    let comparison = concluded(ToldComparison("epoll", "io_uring"))
    #expect(standing(comparison) == .same)
    #expect(comparison.verdict.recommended == nil)
    #expect(comparison.verdict.headline.hasPrefix("No relevant difference between io_uring"))
  }

  @Test func aVersionIsItsNumber() {
    for (said, number): (String, Substring?) in [
      ("nginx version: nginx/1.22.1", "1.22.1"),
      ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6.12-1+deb12u4"),
      ("envoy  version: 7b8baff1758f0a584dcc3cb657b5032000bcb3d7/1.30.1/Clean/RELEASE", "1.30.1"),
      ("v2.6.2 h1:abc", "2.6.2"), ("h2o version 2.2.5\nOpenSSL: OpenSSL 3.0.17", "2.2.5"),
      ("unknown", nil), ("", nil), ("a.b 1. .5", nil),
    ] {
      #expect(Sentences.number(in: said) == number, "\(said)")
    }
  }

  /// Four quantities of which one was not measured: "no difference" is not said of that one.
  @Test func noDifferenceIsOnlySaidOfWhatWasMeasured() {
    var told = ToldComparison("epoll", "io_uring")
    told.adjust = { if $0.stage == "maximum" { $0.proxyBusy = 0.8 } }
    let comparison = concluded(told)
    #expect(standing(comparison) == .same)
    #expect(comparison.verdict.headline.contains("throughput was not measured"))
    #expect(comparison.verdict.reasons.contains { $0.contains("load-bound at the maximum") })
    #expect(comparison.verdict.wouldChange.contains { $0.contains("--load-cpus") })
  }

  /// A proxy that waits for its disk leaves the load with room: not everything that ends below the
  /// proxy's CPU is the load's fault.
  @Test(arguments: [(0.89, 0.89, true), (0.9, 0.5, false), (0.5, 0.9, false)])
  func whoWasTheLimitIsSaid(_ thread: Double, _ processor: Double, _ hadRoom: Bool) {
    var told = ToldComparison("epoll", "io_uring")
    told.adjust = {
      guard $0.stage == "maximum" else { return }
      $0.proxyBusy = 0.8
      $0.processorBusy = ["0": 0.8, "1": processor]
      $0.load.busiestThread = thread
    }
    var comparison = told.make()
    comparison.machine.proxyProcessors = [0]
    comparison.machine.loadProcessors = [1]
    comparison.conclude()
    let verdict = comparison.verdict
    #expect(verdict.wouldChange.contains { $0.contains("--load-cpus") } == !hadRoom)
    #expect(verdict.wouldChange.contains { $0.contains("--connections") } == hadRoom)
    #expect(
      verdict.reasons.contains { $0.contains("waited for the origin or the disk") } == hadRoom)
  }

  @Test func anIntervalThatIsTooWideIsUndecidedAndSaysHowManyRounds() throws {
    var told = ToldComparison("epoll", "io_uring")
    told.tell("io_uring", .cpuPerRequest, 1.05, spread: 0.06)
    let comparison = concluded(told)
    #expect(standing(comparison) == .undecided)
    #expect(comparison.verdict.recommended == nil)
    let more = try #require(Judge(comparison).candidates[0].roundsNeeded)
    #expect(comparison.verdict.headline.contains("about \(more) more"))
    #expect(comparison.verdict.wouldChange[0].hasPrefix("About \(more) more rounds (--rounds)"))
  }

  @Test func tooFewRoundsAreNoVerdict() {
    var told = ToldComparison("epoll", "io_uring")
    told.rounds = 4
    told.tell("io_uring", .cpuPerRequest, 0.5)
    let comparison = concluded(told)
    #expect(standing(comparison) == .unmeasured)
    #expect(comparison.verdict.recommended == nil)
    #expect(
      comparison.verdict.headline
        == "No verdict on io_uring against epoll: 4 rounds; a 99% interval needs 5 or more.")
  }

  // MARK: Out of reach

  /// Noise, not closeness: an interval that is wide around a large difference is not "too close".
  @Test func aWideIntervalIsNotCalledTooClose() {
    var told = ToldComparison("epoll", "io_uring")
    told.tell("io_uring", .cpuPerRequest, 1.3, spread: 2)
    let headline = concluded(told).verdict.headline
    #expect(headline.hasPrefix("Undecided"))
    #expect(!headline.contains("too close"), "\(headline)")
  }

  /// Some rounds decide one quantity, none that can be run the other: only the first is promised.
  @Test func roundsArePromisedOnlyForWhatTheyDecide() {
    var told = ToldComparison("epoll", "io_uring")
    told.tell("io_uring", .cpuPerRequest, 1.05, spread: 0.06)
    told.tell("io_uring", .p99, 1.0195, spread: 0.01)
    let comparison = concluded(told)
    let text = said(comparison.verdict)
    #expect(standing(comparison) == .undecided)
    #expect(!text.contains("would decide what is undecided"), "\(text)")
    #expect(text.contains("would decide CPU per request"), "\(text)")
    #expect(text.contains("p99 is not decidable"), "\(text)")
  }

  // MARK: Rule 3: simpler if as good

  private var twoWinners: ToldComparison {
    var told = ToldComparison("epoll", "io_uring+sqpoll", "io_uring")
    told.tell("io_uring", .cpuPerRequest, 0.85)
    return told
  }

  @Test func aSimplerVariantThatIsAsGoodIsRecommended() {
    var told = twoWinners
    told.tell("io_uring+sqpoll", .cpuPerRequest, 0.845)
    let comparison = concluded(told)
    #expect(Judge(comparison).winners.first?.subject.name == "io_uring+sqpoll")
    #expect(comparison.verdict.recommended == "io_uring")
    #expect(
      comparison.verdict.reasons.contains {
        $0.hasPrefix("io_uring+sqpoll is also better than epoll")
      })
  }

  @Test func aBetterVariantIsRecommendedInSpiteOfItsOptions() {
    var told = twoWinners
    told.tell("io_uring+sqpoll", .cpuPerRequest, 0.7)
    #expect(concluded(told).verdict.recommended == "io_uring+sqpoll")
  }

  // MARK: Rule 4: what the target refuses

  private func target(_ features: [String: String]) -> TargetFacts {
    var target = TargetFacts()
    target.name = "production"
    target.features = features
    return target
  }

  private func judged(_ told: ToldComparison, _ features: [String: String]) -> Verdict {
    var comparison = told.make()
    comparison.target = target(features)
    comparison.conclude()
    return comparison.verdict
  }

  @Test func whatTheTargetRefusesIsNotRecommended() {
    var told = twoWinners
    told.tell("io_uring+sqpoll", .cpuPerRequest, 0.7)
    let all = judged(told, ["io_uring": "refused: RuntimeDefault seccomp"])
    #expect(all.recommended == "epoll")
    #expect(all.headline.contains("production does not support it (RuntimeDefault seccomp)"))
    #expect(
      all.reasons.contains("production does not support io_uring: RuntimeDefault seccomp."))
    let one = judged(told, ["sqpoll": "off", "io_uring": "on"])
    #expect(one.recommended == "io_uring")
    #expect(one.headline.hasSuffix("against epoll, and production supports it."))
    #expect(judged(told, ["busy_poll": "off"]).recommended == "io_uring+sqpoll")
  }

  /// Silence is no leave: neither a profile that speaks of something else, nor an older build's word
  /// that nobody knows.
  @Test func aTargetThatSaysNothingIsNotSaidToAllow() {
    for features in [[:], ["sqpoll": "on"], ["io_uring": "blocked"]] {
      var told = ToldComparison("epoll", "io_uring")
      told.tell("io_uring", .cpuPerRequest, 0.85)
      let headline = judged(told, features).headline
      #expect(
        headline.hasSuffix("if production supports it: the profile does not say."), "\(headline)")
      #expect(!headline.contains("and production supports it"))
    }
  }

  /// `millrace doctor` says so of each feature that works and that nobody asked for.
  @Test func whatIsOffOnlyBecauseNobodyAskedIsNotRefused() {
    let features = [
      "sqpoll": "off: available; off by default, or in conflict with another feature",
      "io_uring": "on",
    ]
    #expect(target(features).refusal(of: ToldComparison.variant("io_uring+sqpoll")) == nil)
  }

  /// The baseline is measured first, not exempt.
  @Test func notEvenTheBaselineIsRecommendedWhereItIsRefused() {
    for factor in [0.8, 1.0, 1.3] {
      var told = ToldComparison("io_uring", "io_uring+sqpoll")
      told.tell("io_uring+sqpoll", .cpuPerRequest, factor)
      let verdict = judged(told, ["io_uring": "refused: seccomp"])
      #expect(verdict.recommended == nil)
      #expect(!verdict.headline.lowercased().contains("stay with"), "\(verdict.headline)")
      #expect(verdict.headline.contains("production does not support io_uring (seccomp)"))
    }
  }

  @Test(arguments: [
    ("refused: seccomp", "seccomp"), ("off", "off"), ("Refused (ENOSYS)", "ENOSYS"),
    ("off: by policy", "by policy"),
  ])
  func aRefusalIsReadWithItsReason(_ text: String, _ why: String) {
    #expect(TargetFacts.refusal(text) == why)
    #expect(target(["io_uring": text]).refusal(of: ToldComparison.variant("io_uring")) == why)
    #expect(target(["io_uring": text]).refusal(of: ToldComparison.variant("epoll")) == nil)
    #expect(
      target(["sqpoll": text]).refusal(of: ToldComparison.variant("io_uring+sqpoll"))
        == "sqpoll: \(why)")
  }

  @Test func whatIsOnOrUnknownIsAllowed() {
    #expect(TargetFacts.refusal("on") == nil && TargetFacts.refusal(nil) == nil)
    #expect(target([:]).refusal(of: ToldComparison.variant("io_uring+sqpoll")) == nil)
  }

  // MARK: Fewer subjects

  @Test func oneSubjectOrNoneIsNoVerdict() {
    var alone = ToldComparison("epoll", "io_uring")
    alone.subjects[1].failure = "io_uring_setup: EPERM"
    let verdict = concluded(alone).verdict
    #expect(verdict.headline == "No verdict: fewer than two subjects were measured.")
    #expect(verdict.reasons == ["io_uring could not be measured: io_uring_setup: EPERM"])
    #expect(verdict.recommended == nil)
    var empty = Comparison()
    empty.conclude()
    #expect(empty.verdict.headline.hasPrefix("No verdict") && empty.ratios.isEmpty)
  }

  @Test func oneVariantAmongPeersIsComparedWithThem() {
    var told = ToldComparison("epoll")
    told.subjects.append(ToldComparison.peer("nginx tuned"))
    told.tell("nginx tuned", .cpuPerRequest, 1.3)
    let verdict = concluded(told).verdict
    #expect(verdict.headline == "Only epoll was measured, against nginx tuned.")
    #expect(verdict.recommended == nil)
    #expect(
      verdict.reasons.contains {
        $0.hasPrefix("epoll is ahead of nginx tuned 1.2.3: CPU per request \u{2212}23%")
      }, "\(verdict.reasons)")
  }

  /// A loss against a peer is told in the same words as a win.
  @Test func aPeerThatIsAheadIsSaidToBe() {
    var told = ToldComparison("epoll", "io_uring")
    told.subjects.append(ToldComparison.peer("haproxy"))
    told.tell("io_uring", .cpuPerRequest, 0.9)
    told.tell("haproxy", .cpuPerRequest, 0.6)
    let verdict = concluded(told).verdict
    #expect(verdict.recommended == "io_uring")
    #expect(
      verdict.reasons.contains {
        $0 == "haproxy 1.2.3 (defaults) is ahead of io_uring, which has CPU per request +50%."
      }, "\(verdict.reasons)")
  }

  // MARK: What else is said

  @Test func costsAndLimitsAreSaidWithAWin() {
    var told = ToldComparison("epoll", "io_uring")
    told.tell("io_uring", .cpuPerRequest, 0.8)
    told.tell("io_uring", .memory, 1.5)
    told.adjust = { m in
      if m.subject == "io_uring" && m.stage == "equal" {
        m.load.completedRate = 8900
        if m.round == 0 { m.failure = "reset 4" }
      }
    }
    let reasons = concluded(told).verdict.reasons
    #expect(reasons.contains("Other costs of io_uring: memory +50%."))
    #expect(reasons.contains { $0.hasPrefix("io_uring did not sustain 9,000 requests/s") })
    #expect(reasons.contains("io_uring failed in 1 of 8 rounds at equal: reset 4."))
    #expect(!reasons.contains { $0.contains("epoll did not sustain") })
  }

  @Test func prospectsFollowFromWhatWasSeen() {
    var told = ToldComparison("epoll", "io_uring")
    told.adjust = { m in
      m.turns = 1000
      m.completions = 2000
      m.auditRecords = 900
      m.auditCommits = 100
    }
    var comparison = told.make()
    comparison.machine.features = ["ktls": "refused: ENOENT", "sqpoll": "on", "napi": "off"]
    comparison.findings = [MachineFinding(.warning, "a"), MachineFinding(.refusal, "b")]
    comparison.conclude()
    let said = comparison.verdict.wouldChange.joined(separator: "\n")
    #expect(said.contains("70.0% of epoll's CPU time is spent in the kernel"))
    #expect(
      said.contains("with 64 connections, an io_uring loop iteration handled 2.00 completions"))
    #expect(said.contains("Larger responses: at 1.17 KiB each"))
    #expect(said.contains("9.00 audit records shared a commit"))
    #expect(said.contains("not available here were ktls (ENOENT)."))
    #expect(said.contains("1 finding on this one"))
    #expect(!said.contains("--load-cpus") && !said.contains("more rounds"))

    told.adjust = { m in
      m.userSeconds = m.processSeconds * 0.6
      m.systemSeconds = m.processSeconds * 0.4
      m.turns = 1000
      m.completions = 4000
      m.load.bytesReceived = m.load.completed * 16_384
    }
    comparison = told.make()
    comparison.workload.loadArguments = ["https://198.51.100.7/"]
    comparison.conclude()
    #expect(comparison.verdict.wouldChange.count == 1)
    #expect(comparison.verdict.wouldChange[0].hasPrefix("Smaller responses: at 16.0 KiB each"))
  }

  // MARK: The same, and no more

  @Test func theSameMeasurementsAndSeedGiveTheSameValues() {
    var world = SyntheticComparison(seed: 5)
    world.truth = ["io_uring": ["cpu_per_request": 0.9]]
    var first = world.make()
    var second = first
    second.measurements.shuffle()
    var third = first
    third.seed &+= 1
    first.conclude()
    second.conclude()
    third.conclude()
    #expect(first.ratios.map(\.low) == second.ratios.map(\.low))
    #expect(first.verdict.headline == second.verdict.headline)
    #expect(first.verdict.reasons == second.verdict.reasons)
    #expect(first.ratios.map(\.low) != third.ratios.map(\.low))
    #expect(first.ratios.map(\.estimate) == third.ratios.map(\.estimate))
  }

  /// Worlds with differences of all sizes: whatever they conclude, the figures of the headline are
  /// those of quantities whose intervals exclude equality, or called likely, and nothing else is claimed.
  @Test(arguments: 0..<10)
  func theHeadlineClaimsNoMoreThanTheIntervals(_ number: Int) {
    var world = SyntheticComparison(seed: UInt64(900 + number))
    world.noise = MachineNoise.allCases[number % MachineNoise.allCases.count]
    let sizes = [0.7, 0.93, 0.97, 1, 1.01, 1.04, 1.08, 1.3]
    for quantity in ["throughput", "p99", "cpu_per_request", "machine_per_request"] {
      world.truth["io_uring", default: [:]][quantity] =
        sizes[Int(world.random.next() % UInt64(sizes.count))]
    }
    var comparison = world.make()
    comparison.conclude()
    let candidate = Judge(comparison).candidates[0]
    let (headline, recommended) = (comparison.verdict.headline, comparison.verdict.recommended)
    for ratio in candidate.decisive {
      let isDeclared = ratio.outcome == .better || ratio.outcome == .worse
      if isDeclared {
        #expect(abs(log(ratio.estimate!)) > log(1.02))
        #expect(ratio.low! > 1 || ratio.high! < 1, "\(ratio)")
      } else if headline.contains(ratio.inWords) {
        #expect(ratio.likely != .none, "\(headline): \(ratio)")
        let said = headline.lowercased().firstRange(of: "likely ")
        let place = headline.firstRange(of: ratio.inWords)
        #expect(said != nil && said!.lowerBound < place!.lowerBound, "\(headline)")
        #expect(headline.contains("\(ratio.inWords) (odds "), "\(headline)")
      }
    }
    switch candidate.standing {
    case .wins: #expect(recommended == "io_uring")
    case .loses, .trades: #expect(recommended == "epoll")
    case .same, .undecided, .unmeasured: #expect(recommended == nil)
    }
    #expect((recommended == "io_uring") == (!candidate.gains.isEmpty && candidate.losses.isEmpty))
    #expect(!said(comparison.verdict).contains("nan") && !said(comparison.verdict).contains("inf"))
  }
}
