// What two comparisons must have in common to say anything of each other: the machine, the workload and
// the variants' configurations. Most of it is known before anything is measured, so that a run for
// nothing is refused at its start.

extension ComparisonAgainst {
  /// What a run that has not begun would be refused for in the end; nil: nothing that is known by now.
  ///
  /// - Parameters:
  ///   - planned: the run, with machine, workload and subjects, and without measurements.
  ///   - rounds: how many it is going to have.
  static func refusal(
    beforehand planned: Comparison, rounds: Int, against earlier: Comparison
  ) -> Refusal? {
    var found = differences(planned, earlier)
    let variants = planned.subjects.filter { $0.kind == .variant }
    if !variants.contains(where: { works($0.name, earlier) }) {
      found.append("no variant in common")
    }
    let fewest = Bootstrap.fewestValues
    let before = Set(earlier.measurements.map(\.round)).count
    if before < fewest {
      found.append("the earlier run has \(before) rounds, of at least \(fewest)")
    }
    if rounds < fewest { found.append("this run has \(rounds) rounds, of at least \(fewest)") }
    return found.isEmpty ? nil : Refusal(differences: found)
  }

  /// The earlier run's rates for a later one, under the names that they had. Rates that follow from
  /// each run's own maxima are different ones as soon as a maximum moved, and what decides would be
  /// measured in both runs and compared in neither.
  static func repeatedStages(
    of earlier: Comparison
  ) -> [(stage: StageFacts, variantsOnly: Bool)] {
    earlier.stages.filter { $0.kind == .rate && ($0.rate ?? 0) > 0 }.map { before in
      var stage = before
      stage.reason = "the rate of the earlier run"
      return (stage, before.name == "saturation")
    }
  }

  /// Seconds that a later run counts and warms up for, as the earlier did; nil where that is not
  /// known, or others were asked for.
  static func repeatedTiming(
    of earlier: WorkloadFacts, asked: Double?
  ) -> (counted: Double, warmUp: Double)? {
    guard earlier.countedSeconds > 0, asked ?? earlier.countedSeconds == earlier.countedSeconds
    else { return nil }
    return (earlier.countedSeconds, earlier.warmUpSeconds)
  }

  /// What makes two runs incomparable, a sentence each. The later one need not have been measured yet.
  static func differences(_ later: Comparison, _ earlier: Comparison) -> [String] {
    var found: [String] = []
    func check(_ what: String, _ now: String, _ then: String) {
      if now != then {
        found.append("\(what) was \u{201c}\(then)\u{201d}, and is \u{201c}\(now)\u{201d}")
      }
    }
    check("the schema", String(later.schema), String(earlier.schema))
    check("the workload", later.workload.name, earlier.workload.name)
    check(
      "the load", portless(authorityless(later.workload.loadArguments)),
      portless(authorityless(earlier.workload.loadArguments)))
    check(
      "the origin", portless(later.workload.originArguments),
      portless(earlier.workload.originArguments))
    func checkKnown(_ what: String, _ now: String, _ then: String) {
      // An older build did not write it: not known is not different.
      if !now.isEmpty && !then.isEmpty { check(what, now, then) }
    }
    func seconds(_ value: Double) -> String { value > 0 ? "\(Figure.decimal(value, 2)) s" : "" }
    checkKnown("the pacing", later.workload.pacing, earlier.workload.pacing)
    checkKnown(
      "the measured interval", seconds(later.workload.countedSeconds),
      seconds(earlier.workload.countedSeconds))
    checkKnown(
      "the warm-up", seconds(later.workload.warmUpSeconds),
      seconds(earlier.workload.warmUpSeconds))
    if later.workload.files != earlier.workload.files {
      found.append("the workload's files differ")
    }
    for file in changedFiles(later, earlier) {
      found.append("the variants' configuration \(file) differs")
    }
    let (now, then) = (later.machine, earlier.machine)
    check("the processor", now.processor, then.processor)
    check("the kernel", now.kernel, then.kernel)
    check("the number of CPUs", String(now.processors.count), String(then.processors.count))
    check(
      "the number of the proxy's CPUs", String(now.proxyProcessors.count),
      String(then.proxyProcessors.count))
    check(
      "the number of the load's CPUs", String(now.loadProcessors.count),
      String(then.loadProcessors.count))
    return found
  }

  /// Arguments without `--ca FILE`: a certificate is made for each run, in a directory of its own.
  private static func authorityless(_ arguments: [String]) -> [String] {
    guard let flag = arguments.firstIndex(of: "--ca") else { return arguments }
    return Array(arguments[..<flag] + arguments[flag...].dropFirst(2))
  }

  /// Arguments without ports: free ones are taken for each run.
  static func portless(_ arguments: [String]) -> String {
    NormalizedText.portless(arguments.joined(separator: " "))
  }

  /// The names of the variants' configuration files whose text is another one; each once, though all
  /// variants start from the same file.
  private static func changedFiles(_ later: Comparison, _ earlier: Comparison) -> [String] {
    var changed: Set<String> = []
    for now in later.subjects where now.kind == .variant {
      guard let then = earlier.subjects.first(where: { $0.kind == .variant && $0.name == now.name })
      else { continue }
      let (a, b) = (NormalizedText.of(now.configurations), NormalizedText.of(then.configurations))
      changed.formUnion(Set(a.keys).union(b.keys).filter { a[$0] != b[$0] })
    }
    return changed.sorted()
  }
}
