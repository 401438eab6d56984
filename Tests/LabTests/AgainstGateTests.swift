// What `--against` must not let through: variants that stopped working, decisive quantities that were
// compared in no run, references that have no figures. And what is settled before anything is measured.

import Testing

@testable import Lab

@Suite struct AgainstGateTests {
  private func run(
    _ subjects: [String] = ["epoll", "io_uring"], peer: Bool = false,
    _ change: (inout ToldComparison) -> Void = { _ in }
  ) -> Comparison {
    var told = ToldComparison()
    told.subjects = subjects.map { ToldComparison.variant($0) }
    if peer { told.subjects.append(ToldComparison.peer("nginx")) }
    change(&told)
    return told.make()
  }

  private func gaps(_ found: ComparisonAgainst) -> [String] {
    found.gaps.map { "\($0.subject) \($0.stage) \($0.quantity)" }
  }

  // MARK: Variants that fail

  @Test func aVariantThatIsLeftOutNowIsARegression() throws {
    let later = run { $0.subjects[1].failure = "did not start: io_uring refused" }
    let found = try ComparisonAgainst(later, against: run())
    #expect(found.hasRegression)
    #expect(found.failures.map(\.subject) == ["io_uring"])
    #expect(found.text.contains("io_uring worked in the earlier run, but fails now: did not start"))
    #expect(found.text.hasSuffix("1 regression.\n") && found.text.contains("REGRESSION"))
    // One that failed before, too, did not get worse; and working again is none.
    let both = try ComparisonAgainst(later, against: later)
    #expect(!both.hasRegression && both.isDecided)
    #expect(try !ComparisonAgainst(run(), against: later).hasRegression)
    // Even where nothing is left to be compared.
    let nothing = run { for i in $0.subjects.indices { $0.subjects[i].failure = "gone" } }
    #expect(try ComparisonAgainst(nothing, against: run()).failures.count == 2)
  }

  @Test func aVariantThatFailsInAllRoundsNowIsARegression() throws {
    let everywhere = run {
      $0.adjust = { if $0.subject == "io_uring" { $0.failure = "exited under load" } }
    }
    let found = try ComparisonAgainst(everywhere, against: run())
    #expect(found.failures.count == 1 && found.failures[0].stage == nil)
    #expect(found.failures[0].why == "in all of 16 measurements: exited under load")
    let atOne = run {
      $0.adjust = {
        if $0.subject == "io_uring" && $0.stage == "equal" { $0.failure = "reset" }
      }
    }
    let partly = try ComparisonAgainst(atOne, against: run())
    #expect(partly.hasRegression)
    #expect(partly.failures.map(\.stage) == ["equal"])
    #expect(partly.changes.contains { $0.subject == "io_uring" && $0.stage == "maximum" })
    #expect(try !ComparisonAgainst(atOne, against: atOne).hasRegression)
  }

  /// Who was not asked for did not fail.
  @Test func aVariantThatWasNotAskedForIsNoRegression() throws {
    let found = try ComparisonAgainst(run(["epoll"]), against: run())
    #expect(!found.hasRegression && found.isDecided)
    #expect(found.omissions == ["io_uring was measured in the earlier run, but not in this one."])
  }

  // MARK: What decides

  @Test func anEqualLoadThatMovedDecidesNothing() throws {
    // The maximum moved by 3%, and so did the load that follows from it; p99 doubled unseen.
    let later = run {
      $0.stages[1] = ("equal", 9270)
      $0.adjust = { if $0.stage == "equal" { $0.load.latency.p99 *= 2 } }
    }
    let found = try ComparisonAgainst(later, against: run(["epoll"]))
    #expect(!found.hasRegression)
    #expect(
      gaps(found)
        == ["epoll equal p99", "epoll equal cpu_per_request", "epoll equal machine_per_request"])
    let rows = found.text.split(separator: "\n").filter { $0.hasSuffix("NOT COMPARED") }
    #expect(rows.count == 3, "\(found.text)")
    #expect(found.text.split(separator: "\n").last?.hasPrefix("Undecided: ") == true)
  }

  @Test func anyQuantityThatDecidesIsMissedOfAnyVariant() throws {
    let idle = run {
      $0.adjust = {
        if $0.stage == "maximum" && $0.subject == "io_uring" { $0.proxyBusy = 0.9 }
      }
    }
    #expect(gaps(try ComparisonAgainst(idle, against: run())) == ["io_uring maximum throughput"])
    let unmeasured = run { $0.adjust = { if $0.stage == "equal" { $0.machineSeconds = 0 } } }
    #expect(
      gaps(try ComparisonAgainst(run(["epoll"]), against: unmeasured))
        == ["epoll equal machine_per_request"])
    // A regression is one whatever else is missing.
    let worse = run {
      $0.tell("epoll", .throughput, 0.5)
      $0.stages[1] = ("equal", 8000)
    }
    let found = try ComparisonAgainst(worse, against: run())
    #expect(found.hasRegression && !found.isDecided)
    #expect(found.text.hasSuffix("1 regression.\n"))
  }

  @Test func onlyChosenQuantitiesHaveToBeCompared() throws {
    func idle(_ chosen: String) -> Comparison {
      var made = run {
        $0.adjust = {
          if $0.stage == "maximum" && $0.subject == "io_uring" {
            ($0.proxyBusy, $0.residentBytes) = (0.9, nil)
          }
        }
      }
      made.course.decidedBy = [chosen]
      return made
    }
    #expect(try ComparisonAgainst(idle("p99@equal"), against: run()).isDecided)
    #expect(
      gaps(try ComparisonAgainst(idle("memory@maximum"), against: run()))
        == ["io_uring maximum memory"])
  }

  /// A lower rate beside the earlier one does not take the decision away.
  @Test func theLowestRateOfEitherRunDecides() throws {
    let more = run { $0.stages = [("maximum", nil), ("5000/s", 5000), ("9000/s", 9000)] }
    #expect(try ComparisonAgainst(more, against: run()).isDecided)
    #expect(try ComparisonAgainst(run(), against: more).isDecided)
    let none = run { $0.stages = [("maximum", nil)] }
    #expect(try !ComparisonAgainst(none, against: run()).isDecided)
    #expect(try ComparisonAgainst(none, against: none).isDecided)
  }

  // MARK: References

  /// Peers do not run the saturation stage.
  @Test func aStageWithoutPeersIsComparedWithoutThem() throws {
    func saturated(_ factor: Double) -> Comparison {
      var made = run(peer: true) {
        $0.stages.append(("saturation", 14_000))
        $0.tell("io_uring", .p99, factor)
      }
      made.measurements.removeAll { $0.subject == "nginx" && $0.stage == "saturation" }
      return made
    }
    let found = try ComparisonAgainst(saturated(1.1), against: saturated(1))
    #expect(found.reference == "nginx" && found.isDecided)
    let p99 = found.changes.filter { $0.subject == "io_uring" && $0.quantity == "p99" }
    #expect(p99.map(\.stage) == ["maximum", "equal", "saturation"])
    #expect(p99.map(\.reference) == ["nginx", "nginx", nil])
    #expect(p99.map(\.isRegression) == [true, true, false])
    #expect(
      found.omissions.count == 1 && found.omissions[0].hasPrefix("saturation: nginx has no figures")
    )
    let far = try ComparisonAgainst(saturated(1.4), against: saturated(1))
    #expect(far.changes.filter { $0.stage == "saturation" && $0.isRegression }.count == 1)
  }

  @Test func aReferenceThatIsLoadBoundDoesNotHideThroughput() throws {
    func bound(_ factor: Double) -> Comparison {
      run(peer: true) {
        $0.tell("io_uring", .throughput, factor)
        $0.adjust = { if $0.subject == "nginx" { $0.proxyBusy = 0.5 } }
      }
    }
    let found = try ComparisonAgainst(bound(0.6), against: bound(1))
    #expect(found.changes.contains { $0.quantity == "throughput" && $0.isRegression })
    #expect(found.omissions.count == 1, "\(found.omissions)")
    #expect(found.omissions[0].hasPrefix("throughput at maximum: nginx has no figures"))
  }

  @Test func aPeerOfThreeRoundsIsNoReference() throws {
    func rare(_ factor: Double) -> Comparison {
      var made = run(peer: true) { $0.tell("io_uring", .cpuPerRequest, factor) }
      made.measurements.removeAll { $0.subject == "nginx" && $0.round >= 3 }
      return made
    }
    for (now, then) in [(rare(1.4), rare(1)), (rare(1.4), run(peer: true))] {
      let found = try ComparisonAgainst(now, against: then)
      #expect(found.reference == nil && found.hasRegression && found.isDecided)
      #expect(
        found.omissions.contains { $0.hasPrefix("nginx is not a reference: it was measured in 3") })
    }
    // Another peer with enough of them stands in.
    func two() -> Comparison {
      var made = run(peer: true) { $0.subjects.append(ToldComparison.peer("haproxy")) }
      made.measurements.removeAll { $0.subject == "nginx" && $0.round >= 3 }
      return made
    }
    #expect(try ComparisonAgainst(two(), against: two()).reference == "haproxy")
  }

  // MARK: Workloads of an older build

  @Test func whatAnOlderBuildDidNotWriteIsNoDifference() throws {
    var later = run()
    later.workload.pacing = "poisson"
    (later.workload.countedSeconds, later.workload.warmUpSeconds) = (2, 0.5)
    #expect(try ComparisonAgainst(later, against: run()).isDecided)
    #expect(try ComparisonAgainst(run(), against: later).isDecided)
  }

  // MARK: Before anything is measured

  @Test func theRatesOfTheEarlierRunAreTakenUnderTheirNames() {
    let earlier = run { $0.stages.append(("saturation", 14_000)) }
    let stages = ComparisonAgainst.repeatedStages(of: earlier)
    #expect(stages.map(\.stage.name) == ["equal", "saturation"])
    #expect(stages.map(\.stage.rate) == [9000, 14_000])
    #expect(stages.map(\.variantsOnly) == [false, true])
    #expect(stages.allSatisfy { $0.stage.kind == .rate && !$0.stage.reason.isEmpty })
  }

  @Test func theSecondsOfTheEarlierRunAreTakenUnlessOthersAreAskedFor() {
    var workload = WorkloadFacts()
    #expect(ComparisonAgainst.repeatedTiming(of: workload, asked: nil) == nil)
    (workload.countedSeconds, workload.warmUpSeconds) = (1.5, 0.5)
    for asked in [nil, 1.5] {
      let taken = ComparisonAgainst.repeatedTiming(of: workload, asked: asked)
      #expect(taken?.counted == 1.5 && taken?.warmUp == 0.5)
    }
    #expect(ComparisonAgainst.repeatedTiming(of: workload, asked: 2) == nil)
  }

  @Test func whatCannotBeComparedIsKnownBeforehand() {
    var planned = run()
    planned.measurements = []
    func refused(
      _ rounds: Int = 8, _ earlier: Comparison? = nil,
      _ change: (inout Comparison) -> Void = { _ in }
    ) -> [String] {
      var other = planned
      change(&other)
      let refusal = ComparisonAgainst.refusal(
        beforehand: other, rounds: rounds, against: earlier ?? run())
      return refusal?.differences ?? []
    }
    #expect(refused().isEmpty)
    #expect(refused { $0.machine.kernel = "5.15" }.count == 1)
    #expect(refused { $0.workload.name = "other" }.count == 1)
    #expect(refused(4) == ["this run has 4 rounds, of at least 5"])
    #expect(refused(8, run { $0.rounds = 3 }) == ["the earlier run has 3 rounds, of at least 5"])
    #expect(refused(8, run(["io_uring+sqpoll"])) == ["no variant in common"])
    // One in common is enough.
    #expect(refused(8, run(["epoll", "io_uring+sqpoll"])).isEmpty)
  }
}
