// Which machines are refused and which only stained, at the bounds where that changes.

import Testing

@testable import Lab

@Suite struct FitnessTests {
  /// A machine with nothing to say against it.
  private static var fit: FitnessFacts {
    var facts = FitnessFacts()
    facts.processors = [0, 1, 2, 3]
    facts.proxyProcessors = [0]
    facts.loadProcessors = [1, 2]
    facts.siblings = [0: [0, 3], 1: [1], 2: [2], 3: [0, 3]]
    facts.governors = ["performance"]
    facts.boosts = false
    facts.loopNanoseconds = [100, 101, 100, 99]
    return facts
  }

  private func found(_ change: (inout FitnessFacts) -> Void) -> [MachineFinding] {
    var facts = Self.fit
    change(&facts)
    return facts.findings
  }

  @Test func aFitMachineHasNoFinding() { #expect(Self.fit.findings.isEmpty) }

  @Test func twoProcessorsAreNeeded() {
    let one = found {
      $0.processors = [0]
      $0.loadProcessors = []
    }
    #expect(one.map(\.severity) == [.refusal] && one[0].text.contains("there is only one CPU"))
    let two = found {
      $0.processors = [0, 1]
      $0.loadProcessors = [1]
    }
    #expect(two.isEmpty)
  }

  @Test(arguments: [(1.99, true), (2.0, false), (8, false)])
  func aQuotaBelowTwoProcessorsIsRefused(_ quota: Double, _ isRefused: Bool) {
    let findings = found { $0.quota = quota }
    #expect(findings.isEmpty == !isRefused)
    if isRefused {
      #expect(findings[0].severity == .refusal && findings[0].text.contains("cpu.max"))
    }
  }

  @Test func processorsMustBeThereAndApart() {
    let missing = found { $0.proxyProcessors = [7] }
    #expect(missing.map(\.severity) == [.refusal] && missing[0].text.contains("CPU 7 is not among"))
    let shared = found { $0.loadProcessors = [0, 1] }
    #expect(shared.map(\.severity) == [.refusal] && shared[0].text.contains("share a CPU"))
  }

  @Test func eachConnectionNeedsTwoDescriptors() {
    #expect(found { ($0.connections, $0.descriptorLimit) = (1000, 2256) }.isEmpty)
    let few = found { ($0.connections, $0.descriptorLimit) = (1000, 2255) }
    #expect(few.map(\.severity) == [.refusal])
    #expect(few[0].text.contains("2255") && few[0].text.contains("ulimit -n 2256"))
  }

  private static let warnings: [(String, @Sendable (inout FitnessFacts) -> Void, Bool)] = [
    ("run time of a fixed loop", { $0.loopNanoseconds = [97.1, 102.9, 97.1, 102.9] }, true),
    ("run time of a fixed loop", { $0.loopNanoseconds = [97.5, 102.5, 97.5, 102.5] }, false),
    ("run time of a fixed loop", { $0.loopNanoseconds = [5] }, false),
    ("steal time is", { $0.stolenNow = 0.011 }, true),
    ("steal time is", { $0.stolenNow = 0.01 }, false),
    ("steal time is", { $0.stolenEver = 0.2 }, true),
    ("other processes use", { $0.busyElsewhere = 0.051 }, true),
    ("other processes use", { $0.busyElsewhere = 0.05 }, false),
    (
      "governor powersave, schedutil",
      { $0.governors = ["schedutil", "powersave", "performance"] }, true
    ),
    ("frequency boost", { $0.boosts = true }, true),
    ("frequency boost", { $0.boosts = nil }, false),
    ("hyperthreads of one core", { $0.loadProcessors = [1, 3] }, true),
    ("virtual machine", { $0.isVirtual = true }, true),
    ("3 MiB are swapped out", { $0.swapUsedBytes = 3 << 20 }, true),
    ("swapped out", { $0.swapUsedBytes = 0 }, false),
  ]

  @Test(arguments: 0..<15)
  func aStainIsAWarningWithItsEffect(_ row: Int) {
    let (words, change, isFound) = Self.warnings[row]
    let findings = found(change)
    #expect(findings.count == (isFound ? 1 : 0), "\(findings)")
    #expect(!isFound || findings[0].severity == .warning && findings[0].text.contains(words))
  }

  @Test func theBusiestThreeAreNamedAndRefusalsComeFirst() {
    let findings = found {
      $0.busyElsewhere = 1.5
      $0.busiest = [("swift", 0.9), ("clang", 0.3), ("cron", 0.2), ("sshd", 0.1)]
      $0.quota = 0.5
      $0.isVirtual = true
    }
    #expect(findings.map(\.severity) == [.refusal, .warning, .warning])
    #expect(findings[1].text.contains("150.0% of a CPU (swift 90.0%, clang 30.0%, cron 20.0%)"))
  }

  @Test func aLoopsVariationIsItsDeviationOverItsMean() {
    var facts = Self.fit
    facts.loopNanoseconds = [90, 110]
    #expect(abs(facts.loopVariation - 0.141421) < 1e-6)
  }

  @Test(arguments: [
    (1.25, 1, "1.3"), (-0.04, 1, "0.0"), (-0.06, 1, "-0.1"), (9.996, 2, "10.00"), (7.4, 0, "7"),
    (0.005, 3, "0.005"),
  ])
  func decimalsAreFixed(_ value: Double, _ places: Int, _ text: String) {
    #expect(Decimals.text(value, places: places) == text)
  }

  // MARK: Which CPUs

  @Test func theLoadTakesCoresThatTheProxyDoesNotShare() {
    let siblings = [0: [0, 4], 1: [1, 5], 4: [0, 4], 5: [1, 5]]
    let chosen = MachineReading.choose([0, 1, 4, 5], siblings, proxy: nil, load: nil)
    #expect(chosen.proxy == [0] && chosen.load == [1, 5])
    let asked = MachineReading.choose([0, 1, 4, 5], siblings, proxy: [1], load: nil)
    #expect(asked.proxy == [1] && asked.load == [0, 4])
    let load = MachineReading.choose([0, 1, 4, 5], siblings, proxy: nil, load: [0])
    #expect(load.proxy == [1] && load.load == [0])
    // One core with two threads is better than none.
    let core = MachineReading.choose([0, 4], siblings, proxy: nil, load: nil)
    #expect(core.proxy == [0] && core.load == [4])
    let many = MachineReading.choose(Array(0..<16), [:], proxy: nil, load: nil)
    #expect(many.load == [1, 2, 3, 4])
    #expect(MachineReading.choose([3], [:], proxy: nil, load: nil) == ([3], []))
  }

  @Test(arguments: [
    ("0-2,5", [0, 1, 2, 5]), ("0", [0]), ("0,1\n", [0, 1]), ("3-1", []), ("", []), ("x", []),
    ("0-4096", []), ("2-2", [2]),
  ])
  func listsOfProcessorsAreRead(_ text: String, _ processors: [Int]) {
    #expect(MachineReading.processorList(text) == processors)
  }
}
