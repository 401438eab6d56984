// The course of a comparison as arithmetic: every subject once per stage and round, an order by the
// seed, peers spread over the rounds, and as many rounds as fit the time.

import Testing

@testable import Lab

@Suite struct ScheduleTests {
  private func turns(
    seed: UInt64 = 7, rounds: Int = 9, peerRounds: Int = 9, variants: [String] = ["a", "b"],
    peers: [String] = ["p", "q"]
  ) -> [Turn] {
    Schedule.turns(
      seed: seed, rounds: rounds, peerRounds: peerRounds, variants: variants, peers: peers
    ) { peers.contains($0) ? ["maximum", "equal"] : ["maximum", "equal", "saturation"] }
  }

  @Test func everySubjectRunsOncePerStageAndRound() {
    let all = turns()
    for round in 1...9 {
      let part = all.filter { $0.round == round }.map { "\($0.subject) \($0.stage)" }
      #expect(Set(part).count == part.count && part.count == 2 * 3 + 2 * 2)
    }
    #expect(all.map(\.round) == all.map(\.round).sorted(), "a round ends before the next begins")
    #expect(!all.contains { $0.stage == "saturation" && $0.subject == "p" })
  }

  @Test func theSeedChoosesTheOrder() {
    #expect(turns(seed: 3) == turns(seed: 3))
    #expect(turns(seed: 3) != turns(seed: 4))
    let all = turns(rounds: 30, peerRounds: 30)
    // Within a run each round has an order of its own,
    let orders = (1...30).map { round in
      all.filter { $0.round == round }.map { $0.subject + $0.stage }
    }
    #expect(Set(orders).count == 30)
    // and each subject comes first about as often: 30 draws, 10 kinds of turn, six deviations.
    let first = orders.count { $0[0].hasPrefix("a") }
    #expect((1...25).contains(first), "\(first)")
  }

  @Test(arguments: [(9, 3), (15, 4), (7, 7), (10, 1), (8, 0)])
  func roundsOfPeersAreSpreadOut(_ rounds: Int, _ peerRounds: Int) {
    let all = turns(rounds: rounds, peerRounds: peerRounds)
    let found = Set(all.filter { $0.subject == "p" }.map(\.round)).sorted()
    #expect(found.count == peerRounds)
    #expect(Set(all.filter { $0.subject == "a" }.map(\.round)).count == rounds)
    guard let last = found.last, peerRounds > 0 else { return }
    #expect(last == rounds)
    let gaps = zip([0] + found, found).map { $1 - $0 }
    #expect(gaps.max()! - gaps.min()! <= 1, "\(found)")
  }

  // MARK: Time

  @Test func secondsAreThoseOfEveryTurnAndTheFirstLook() {
    let timing = Timing(rounds: 5, peerRounds: 2, duration: 2, warmUp: 0.5)
    let turns = 2 + 3 + 5 * 2 * 3 + 2 * 3 * 2
    #expect(
      timing.seconds(variants: 2, peers: 3, stages: 3, peerStages: 2)
        == Double(turns) * (2.5 + Timing.overhead))
  }

  @Test(arguments: [(2, 0, 3), (2, 2, 3), (3, 0, 3), (2, 6, 3), (4, 2, 3), (2, 8, 3), (1, 1, 2)])
  func whatIsChosenFitsTheBudget(_ variants: Int, _ peers: Int, _ stages: Int) {
    let timing = Timing.fitting(variants: variants, peers: peers, stages: stages, peerStages: 2)
    let seconds = timing.seconds(
      variants: variants, peers: peers, stages: stages, peerStages: 2)
    #expect(seconds <= Timing.budget)
    #expect((7...15).contains(timing.rounds) && timing.duration >= 1)
    // A peer with fewer rounds than an interval needs would be measured for nothing.
    #expect(
      peers == 0 || (Bootstrap.fewestValues...timing.rounds).contains(timing.peerRounds))
    #expect(peers == 0 || peers > 4 || timing.peerRounds >= 7)
    // It is not short without need: a round more of all would not fit, or there are fifteen.
    var longer = timing
    longer.rounds += 1
    longer.peerRounds += 1
    let more = longer.seconds(variants: variants, peers: peers, stages: stages, peerStages: 2)
    #expect(timing.rounds == 15 || more > Timing.budget)
  }

  @Test func aSmallerBudgetGivesFewerRoundsAndThenShorterOnes() {
    let whole = Timing.fitting(variants: 2, peers: 0, stages: 3, peerStages: 2)
    let half = Timing.fitting(variants: 2, peers: 0, stages: 3, peerStages: 2, budget: 135)
    let little = Timing.fitting(variants: 2, peers: 0, stages: 3, peerStages: 2, budget: 95)
    #expect(whole.rounds > half.rounds || whole.duration > half.duration)
    #expect(half.duration == 2 && little.duration < 2)
    // Nothing fits: the least that says anything.
    let least = Timing.fitting(variants: 9, peers: 9, stages: 3, peerStages: 3, budget: 1)
    #expect(least == Timing(rounds: 7, peerRounds: 5, duration: 1))
  }

  // MARK: Rates

  private func stages(_ maxima: [(String, Double)], asked: [Double] = [])
    -> [(stage: StageFacts, variantsOnly: Bool)]
  {
    Schedule.rateStages(
      maxima: maxima.map { (name: $0.0, rate: $0.1) }, variants: ["epoll", "io_uring"], asked: asked
    )
  }

  @Test func theEqualLoadIsThatOfTheSlowestSubject() {
    let found = stages([("epoll", 20_000), ("io_uring", 23_711), ("nginx", 10_000)])
    #expect(found.map(\.stage.name) == ["equal", "saturation"])
    #expect(found[0].stage.rate == 7000 && !found[0].variantsOnly)
    #expect(found[0].stage.reason.contains("nginx"))
    #expect(found[1].stage.rate == 20_000 && found[1].variantsOnly)
    #expect(found[1].stage.reason.contains("epoll"))
    #expect(found.allSatisfy { $0.stage.kind == .rate })
  }

  /// A peer that is far slower does not choose the load: the others would idle.
  @Test(arguments: [(9999.0, 14_000.0), (10_000, 7000), (10_001, 7000)])
  func aPeerBelowHalfDoesNotChooseTheEqualLoad(_ peer: Double, _ rate: Double) {
    let found = stages([("epoll", 20_000), ("io_uring", 50_000), ("caddy", peer)])
    #expect(found[0].stage.rate == rate)
    #expect(found[0].stage.reason.contains("except caddy, less than half") == (peer < 10_000))
    // Of variants the slower one always counts: it is what the comparison is about.
    #expect(stages([("epoll", 60_000), ("io_uring", 1000)])[0].stage.rate == 700)
  }

  @Test func oneVariantHasNoBrinkAndNobodyNoRate() {
    #expect(stages([("epoll", 20_000), ("nginx", 30_000)]).map(\.stage.name) == ["equal"])
    #expect(stages([]).isEmpty)
    #expect(stages([("epoll", 0)]).isEmpty)
  }

  @Test func askedRatesAreTakenAsTheyAreAndOnce() {
    let found = stages([("epoll", 9)], asked: [5000, 20_000, 5000, 0.4, 0.6])
    #expect(found.map(\.stage.name) == ["5000/s", "20000/s", "0.400/s", "0.600/s"])
    #expect(found.map(\.stage.rate) == [5000, 20_000, 0.4, 0.6])
    #expect(found.allSatisfy { !$0.variantsOnly && $0.stage.reason == "set by --rates" })
  }

  @Test(arguments: [
    (23_711.0, 23_700.0), (999.9, 999), (1000, 1000), (12.7, 12), (0.3, 1), (123_456, 123_000),
  ])
  func ratesHaveThreeDigits(_ rate: Double, _ rounded: Double) {
    #expect(Schedule.rounded(rate) == rounded)
  }
}
