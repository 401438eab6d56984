// Two runs at different times: a change is found, a drift of the machine is not called one, and runs
// that say nothing about each other are refused.

import Glibc
import Testing

@testable import Lab

@Suite struct AgainstTests {
  /// Figures of a run: two variants, and a peer where one is asked for.
  private func run(
    peer: Bool = false, drift: Double = 1, _ change: (inout ToldComparison) -> Void = { _ in }
  )
    -> Comparison
  {
    var told = ToldComparison("epoll", "io_uring")
    if peer { told.subjects.append(ToldComparison.peer("nginx")) }
    for subject in told.subjects {
      for quantity in [Quantity.p99, .p50, .cpuPerRequest, .machinePerRequest] {
        told.tell(subject.name, quantity, drift, spread: 0.004)
      }
    }
    change(&told)
    return told.make()
  }

  private func against(_ later: Comparison, _ earlier: Comparison) throws -> ComparisonAgainst {
    try ComparisonAgainst(later, against: earlier)
  }

  private func change(
    _ found: ComparisonAgainst, _ subject: String, _ quantity: Quantity, _ stage: String
  )
    -> ComparisonAgainst.Change?
  {
    found.changes.first {
      $0.subject == subject && $0.quantity == quantity.rawValue && $0.stage == stage
    }
  }

  // MARK: Changes

  @Test func aRunAgainstItselfChangesNothing() throws {
    for peer in [false, true] {
      let comparison = run(peer: peer)
      let found = try against(comparison, comparison)
      #expect(!found.hasRegression && !found.changes.contains(where: \.isImprovement))
      #expect(found.changes.count >= 20)
      #expect(found.changes.allSatisfy { $0.ratio == 1 && $0.low <= 1 && $0.high >= 1 })
      #expect(found.omissions.isEmpty)
      #expect(found.text.hasSuffix("No regression beyond the bound.\n"))
    }
  }

  @Test(arguments: [(1.2, false), (1.4, true)])
  func withoutAPeerOnlyWhatNoDriftExplainsIsARegression(_ factor: Double, _ isOne: Bool) throws {
    let later = run { $0.tell("io_uring", .cpuPerRequest, factor) }
    let found = try against(later, run())
    #expect(found.reference == nil)
    let cpu = try #require(change(found, "io_uring", .cpuPerRequest, "equal"))
    #expect(cpu.isRegression == isOne && !cpu.isImprovement)
    #expect(abs(cpu.ratio - factor) < 0.001 && cpu.low < cpu.ratio && cpu.high > cpu.ratio)
    #expect(found.hasRegression == isOne)
    #expect(!found.changes.contains { $0.subject == "epoll" && $0.isRegression })
    #expect(found.text.contains("REGRESSION") == isOne)
    // The other way round it is an improvement.
    let back = try against(run(), later)
    #expect(!back.hasRegression)
    #expect(change(back, "io_uring", .cpuPerRequest, "equal")!.isImprovement == isOne)
  }

  @Test func lessThroughputIsARegressionAndMoreIsNot() throws {
    let less = run { $0.tell("io_uring", .throughput, 0.6) }
    #expect(try change(against(less, run()), "io_uring", .throughput, "maximum")!.isRegression)
    #expect(try change(against(run(), less), "io_uring", .throughput, "maximum")!.isImprovement)
    #expect(try !against(run(), less).hasRegression)
  }

  @Test func aPeerTakesTheDriftOfTheMachineOut() throws {
    // Everything takes 1.6 times as long, the peer too: that was the machine.
    let slow = try against(run(peer: true, drift: 1.6), run(peer: true))
    #expect(slow.reference == "nginx")
    #expect(!slow.hasRegression, "\(slow.text)")
    // Without it the same figures are a regression.
    #expect(try against(run(drift: 1.6), run()).hasRegression)
    // And 6% more in one variant shows through the drift.
    let worse = try against(
      run(peer: true, drift: 1.6) { $0.tell("io_uring", .cpuPerRequest, 1.6 * 1.06) },
      run(peer: true))
    #expect(change(worse, "io_uring", .cpuPerRequest, "equal")!.isRegression)
    #expect(worse.changes.filter(\.isRegression).allSatisfy { $0.subject == "io_uring" })
    #expect(abs(change(worse, "io_uring", .cpuPerRequest, "equal")!.ratio - 1.06) < 0.005)
  }

  /// The user's file as the report keeps it, and as a peer's is made from it.
  private func configured(_ text: String, _ peers: String = "") -> Comparison {
    var comparison = run(peer: true)
    for index in comparison.subjects.indices {
      let isPeer = comparison.subjects[index].kind == .peer
      comparison.subjects[index].configurations =
        isPeer ? ["nginx.conf": peers] : ["millrace.yaml": text]
    }
    return comparison
  }

  @Test func anotherConfigurationIsAnotherWorkload() throws {
    let text = "audit: {directory: /srv/audit}\nworkers: 1\nroutes: [{rate: 5}]\n"
    _ = try against(configured(text), configured(text))
    for other in [
      text.replacing("workers: 1", with: "workers: 2"), text.replacing("/srv/", with: "/var/"),
      text.replacing("rate: 5", with: "rate: 50"), text + "#", "",
    ] {
      do {
        _ = try ComparisonAgainst(configured(other), against: configured(text))
        Issue.record("\(other) is no matter")
      } catch {
        // Both variants run it, and it is said once.
        #expect(error.differences == ["the variants' configuration millrace.yaml differs"])
      }
    }
    // One that a peer was given is no workload, but then the peer is no reference.
    let told = try against(
      configured(text, "worker_processes 1;"), configured(text, "worker_processes 2;"))
    #expect(told.reference == nil)
  }

  @Test func whatIsMadeForARunIsNoOtherConfiguration() throws {
    func text(_ place: String, _ port: Int) -> String {
      """
      listeners: [{address: "127.0.0.1:\(port)", tls: {certificates: [{certificate: "\(place)/trial.pem"}]}}]
      upstreams: {origin: {servers: ["[::1]:\(port + 1)"]}}
      audit: {directory: "\(place)/audit"}
      """
    }
    let (a, b) = (
      text("/var/tmp/millrace-compare-aB3dEf", 32_767), text("/here/kept/run-zzzzz1", 999)
    )
    let found = try against(
      configured(a, "listen 127.0.0.1:32767;\nport: 32766\nport_value: 3}"),
      configured(b, "listen 127.0.0.1:1;\nport: 2\nport_value: 31999}"))
    #expect(found.reference == "nginx")
  }

  @Test(arguments: [
    ("address: \":8443\"", "address: \":*\""), ("{\"a\":5,\"b\": 6}", "{\"a\":5,\"b\": 6}"),
    ("http://:80 {", "http://:* {"), ("limit: 80", "limit: 80"), ("port: 80", "port: *"),
    ("report: 80", "report: 80"), ("a:123456", "a:123456"),
    ("x=/a/b/.millrace-compare-abc123/log y", "x=*/log y"),
    ("/a/run-abcdefg/b", "/a/run-abcdefg/b"),
    ("run-abcdef", "run-abcdef"), (":", ":"), ("", ""),
  ])
  func whatLastsOfAText(_ text: String, _ lasting: String) {
    #expect(NormalizedText.of(text) == lasting)
  }

  @Test func aPeerThatChangedItselfIsNoReference() throws {
    for mend: (inout SubjectFacts) -> Void in [
      { $0.version = "9.9" }, { $0.isTuned = true }, { $0.failure = "did not start" },
      { $0.configurations["other.conf"] = "" }, { $0.name = "caddy" },
      { $0.arguments = ["-g", "worker_processes 2;"] },
    ] {
      var later = run(peer: true)
      mend(&later.subjects[2])
      let found = try against(later, run(peer: true))
      #expect(found.reference == nil)
    }
  }

  /// A run is judged by dozens of changes: one that only a single one would pass is not declared.
  @Test func noiseIsNoRegression() throws {
    var failed = 0
    for seed in 0..<6 {
      var (one, two) = (
        SyntheticComparison(seed: UInt64(seed)), SyntheticComparison(seed: UInt64(seed + 50))
      )
      one.noise = .outliers
      two.noise = .heavy
      one.spread = 0.05
      two.spread = 0.05
      if try against(two.make(), one.make()).hasRegression { failed += 1 }
    }
    #expect(failed == 0)
  }

  // MARK: What cannot be compared

  @Test func otherMachinesAndWorkloadsAreRefused() throws {
    let changes: [(String, (inout Comparison) -> Void)] = [
      ("schema", { $0.schema = 2 }), ("workload", { $0.workload.name = "other" }),
      ("load", { $0.workload.loadArguments = ["--connections", "8"] }),
      ("origin", { $0.workload.originArguments = ["--size", "9KiB"] }),
      ("files", { $0.workload.files["mix.yaml"] = "requests: []" }),
      ("pacing", { $0.workload.pacing = "poisson" }),
      ("measured interval", { $0.workload.countedSeconds = 1.5 }),
      ("warm-up", { $0.workload.warmUpSeconds = 0.25 }),
      ("processor", { $0.machine.processor = "another" }),
      ("kernel", { $0.machine.kernel = "5.15" }),
      ("number of CPUs", { $0.machine.processors = [0, 1, 2] }),
      ("proxy's CPUs", { $0.machine.proxyProcessors = [0, 1] }),
      ("load's CPUs", { $0.machine.loadProcessors = [1, 2] }),
    ]
    var timed = run()
    timed.workload.pacing = "constant"
    (timed.workload.countedSeconds, timed.workload.warmUpSeconds) = (2, 0.5)
    for (word, change) in changes {
      var later = timed
      change(&later)
      do {
        _ = try ComparisonAgainst(later, against: timed)
        Issue.record("\(word) is no matter")
      } catch {
        #expect(error.differences.count == 1)
        #expect(error.differences[0].contains(word), "\(error)")
        #expect("\(error)".hasSuffix("same workload on the same machine."))
      }
    }
  }

  /// What differs between any two runs, because it is made for each.
  @Test func portsAndTheTrialsOwnCertificateAreNoDifference() throws {
    var (later, earlier) = (run(), run())
    later.workload.loadArguments = [
      "--connections", "64", "--ca", "/var/tmp/millrace-compare-Xa/trial.pem",
    ]
    earlier.workload.loadArguments = [
      "--connections", "64", "--ca", "/var/tmp/millrace-compare-Yb/trial.pem",
    ]
    later.workload.originArguments = ["--listen", "127.0.0.1:32767"]
    earlier.workload.originArguments = ["--listen", "127.0.0.1:31999"]
    later.machine.processors = [2, 3]
    earlier.machine.processors = [0, 1]
    #expect(try !against(later, earlier).hasRegression)
    earlier.workload.loadArguments[1] = "32"
    #expect(throws: ComparisonAgainst.Refusal.self) { try against(later, earlier) }
  }

  @Test(arguments: [
    (["http://127.0.0.1:8080/a"], "http://127.0.0.1:*/a"), (["[::1]:80"], "[::*]:*"),
    (["Accept: 5", "a:b"], "Accept: 5 a:b"), (["1:2:3x:"], "1:*:*x:"), ([], ""),
  ])
  func portsAreStars(_ arguments: [String], _ text: String) {
    #expect(ComparisonAgainst.portless(arguments) == text)
  }

  @Test func anotherRateIsNotComparedAndTheAdviceWorks() throws {
    let earlier = run()
    let other = try against(run { $0.stages[1] = ("equal", 9500) }, earlier)
    #expect(!other.changes.contains { $0.stage == "equal" })
    // The lack of what decides is no lack of regressions.
    #expect(!other.isDecided && !other.hasRegression)
    #expect(other.text.contains("NOT COMPARED") && !other.text.contains("No regression"))
    let told = other.omissions.filter { $0.contains("--rates 9000") }
    #expect(told.count == 1, "once for all subjects: \(other.omissions)")
    // What --rates 9000 makes is a stage of another name.
    let advised = try against(
      run {
        $0.stages[1] = ("9000/s", 9000)
        $0.tell("epoll", .p99, 2)
      }, earlier)
    #expect(change(advised, "epoll", .p99, "9000/s")?.isRegression == true)
    #expect(advised.omissions.isEmpty && advised.isDecided)
    // Within the bound it is the same load.
    #expect(try against(run { $0.stages[1] = ("equal", 9100) }, earlier).omissions.isEmpty)
  }

  @Test func whatOnlyOneRunHasIsSaidOnce() throws {
    let more = run {
      $0.subjects.append(ToldComparison.variant("io_uring+sqpoll"))
      $0.stages.append(("saturation", 14_000))
    }
    let gained = try against(more, run())
    #expect(gained.omissions.filter { $0.contains("io_uring+sqpoll") }.count == 1)
    #expect(
      gained.omissions.filter { $0.contains("no stage saturation") }.count == 1,
      "\(gained.omissions)")
    let lost = try against(run(), more)
    #expect(
      lost.omissions == ["io_uring+sqpoll was measured in the earlier run, but not in this one."])
  }

  @Test func roundsThatDoNotCountAreLeftOut() throws {
    let idle = run { $0.adjust = { if $0.stage == "maximum" { $0.proxyBusy = 0.9 } } }
    let found = try against(idle, run())
    #expect(change(found, "epoll", .throughput, "maximum") == nil)
    #expect(
      found.omissions.contains { $0.contains("throughput of epoll at maximum: fewer than 5") })
    let failed = run {
      $0.adjust = { if $0.round < 4 && $0.stage == "equal" { $0.failure = "reset" } }
    }
    #expect(try change(against(failed, run()), "epoll", .p99, "equal") == nil)
  }

  /// A gate that compared nothing must not pass.
  @Test func runsWithNothingInCommonAreRefused() {
    let short = run { $0.rounds = 4 }
    #expect(throws: ComparisonAgainst.Refusal.self) { try against(short, run()) }
    var other = run()
    for i in other.subjects.indices { other.subjects[i].name += "+sqpoll" }
    #expect(throws: ComparisonAgainst.Refusal.self) { try against(other, run()) }
  }

  @Test func theTextFitsATerminal() throws {
    let name = "io_uring+" + String(repeating: "registered_buffers+", count: 9)
    func named(_ factor: Double) -> Comparison {
      var comparison = run { $0.tell("io_uring", .p99, factor) }
      comparison.subjects[1].name = name
      for i in comparison.measurements.indices
      where comparison.measurements[i].subject == "io_uring" {
        comparison.measurements[i].subject = name
      }
      return comparison
    }
    let text = try against(named(3), named(1)).text
    #expect(text.contains("REGRESSION") && text.hasSuffix(" regressions.\n"))
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 100 })
  }
}
