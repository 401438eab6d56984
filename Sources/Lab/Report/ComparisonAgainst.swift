// Two comparisons at different times: is the later one worse? They are not paired, and between two
// runs a machine drifts by more than any change that matters, so figures are divided by a reference
// that did not change: a peer, the same program with the same configuration in both. Where there is
// none, figures are compared as they are, with a bound that no drift seen here has exceeded.

import Glibc

/// What changed between two comparisons.
public struct ComparisonAgainst: Sendable {
  /// Two runs that say nothing about each other.
  public struct Refusal: Error, Sendable, CustomStringConvertible {
    /// What differs, a sentence each.
    public let differences: [String]

    public var description: String {
      "cannot compare with the earlier run: \(differences.joined(separator: "; ")). Run both with the"
        + " same workload on the same machine."
    }
  }

  /// One quantity of one subject in both runs.
  public struct Change: Sendable {
    public let subject: String
    public let stage: String
    public let quantity: String
    /// Later to earlier, with its 99% interval.
    public let ratio: Double
    public let low: Double
    public let high: Double
    /// Rounds of the run that has fewer.
    public let rounds: Int
    /// The whole interval, widened for the number of changes that are judged, lies beyond the bound on
    /// the worse side.
    public internal(set) var isRegression = false
    /// The same on the better side.
    public internal(set) var isImprovement = false
  }

  /// Up to this, a machine's drift explains a change of figures without a reference: they moved by 20%
  /// from minute to minute on the machine that this was written on.
  public static let driftBound = 0.25
  /// With a reference, what counts is the bound of every other difference.
  public static let bound = PairedRatios.bound

  /// The peer that both runs measured; nil: none, figures are compared as they are.
  public let reference: String?
  public private(set) var changes: [Change] = []
  /// What could not be compared, and why; a sentence each.
  public private(set) var omissions: [String] = []

  public var hasRegression: Bool { changes.contains(where: \.isRegression) }

  /// - Throws: `Refusal` when workload or machine differ.
  public init(_ later: Comparison, against earlier: Comparison) throws(Refusal) {
    let differences = Self.differences(later, earlier)
    guard differences.isEmpty else { throw Refusal(differences: differences) }
    self.reference = Self.sharedPeer(later, earlier)
    for subject in later.subjects where subject.kind == .variant && subject.failure == nil {
      guard earlier.subjects.contains(where: { $0.name == subject.name && $0.failure == nil })
      else {
        omit("\(subject.name) was not measured in the earlier run.")
        continue
      }
      for stage in later.stages { compare(subject.name, stage, later, earlier) }
    }
    judge()
    for subject in earlier.subjects where subject.kind == .variant && subject.failure == nil {
      if !later.subjects.contains(where: { $0.name == subject.name && $0.failure == nil }) {
        omit("\(subject.name) was measured in the earlier run, and not in this one.")
      }
    }
    // Who waits for a regression must not take "nothing was compared" for "nothing got worse".
    guard !changes.isEmpty else {
      throw Refusal(
        differences: omissions.isEmpty
          ? ["they have no measurement in common"] : omissions.map { String($0.dropLast()) })
    }
  }

  private mutating func omit(_ sentence: String) {
    if !omissions.contains(sentence) { omissions.append(sentence) }
  }

  /// The earlier run's stage under the same load: its name says how the load was chosen, and the
  /// same rate may have been chosen another way.
  private static func counterpart(_ stage: StageFacts, _ earlier: Comparison) -> StageFacts? {
    let kin = earlier.stages.filter { $0.kind == stage.kind }
    let named = kin.first { $0.name == stage.name }
    return [named].compactMap { $0 }.first { isSameLoad(stage, $0) }
      ?? kin.first { stage.rate != nil && isSameLoad(stage, $0) } ?? named
  }

  private static func isSameLoad(_ a: StageFacts, _ b: StageFacts) -> Bool {
    guard let now = a.rate, let then = b.rate else { return a.rate == nil && b.rate == nil }
    return abs(log(now / then)) <= log(1 + bound)
  }

  private mutating func compare(
    _ subject: String, _ stage: StageFacts, _ later: Comparison, _ earlier: Comparison
  ) {
    guard let before = Self.counterpart(stage, earlier) else {
      omit("The earlier run has no stage \(stage.name).")
      return
    }
    guard Self.isSameLoad(stage, before) else {
      let (now, then) = (stage.rate ?? 0, before.rate ?? 0)
      omit(
        "\(stage.name) had another rate in the earlier run (\(Figure.rate(then))/s, now"
          + " \(Figure.rate(now))/s); repeat with --rates \(Figure.decimal(then, 0)).")
      return
    }
    let paired = (now: PairedRatios(later), then: PairedRatios(earlier))
    for quantity in Quantity.allCases {
      guard let weight = paired.now.weight(quantity, stage), weight != .informative else {
        continue
      }
      let now = values(quantity, subject, stage, paired.now)
      let then = values(quantity, subject, before, paired.then)
      var random = SeededRandom(
        seed: later.seed, name: "against/\(subject)/\(stage.name)/\(quantity)")
      guard let interval = Bootstrap.difference(now, then, random: &random) else {
        if weight == .decisive {
          omit(
            "\(quantity.label) of \(subject) at \(stage.name): fewer than \(Bootstrap.fewestValues)"
              + " rounds count in one of the runs.")
        }
        continue
      }
      changes.append(
        Change(
          subject: subject, stage: stage.name, quantity: quantity.rawValue,
          ratio: exp(interval.estimate), low: exp(interval.low), high: exp(interval.high),
          rounds: min(now.count, then.count)))
    }
  }

  /// A run is judged by dozens of changes, and must not fail by chance.
  private mutating func judge() {
    let bound = log(1 + (reference == nil ? Self.driftBound : Self.bound))
    for i in changes.indices {
      let change = changes[i]
      let half =
        log(change.high / change.ratio)
        * Family.widening(of: changes.count, values: change.rounds)
      let up = log(change.ratio) - half > bound
      let down = log(change.ratio) + half < -bound
      let prefersMore = Quantity(rawValue: change.quantity)?.prefersMore ?? false
      changes[i].isRegression = prefersMore ? down : up
      changes[i].isImprovement = prefersMore ? up : down
    }
  }

  /// Logarithms, one a round; divided by the reference's figure in the same round. Memory and the
  /// like do not drift with the machine, but a peer's is as constant as ours, so dividing costs nothing.
  private func values(
    _ quantity: Quantity, _ subject: String, _ stage: StageFacts, _ paired: PairedRatios
  ) -> [Double] {
    func figure(_ m: Measurement) -> Double? {
      guard m.failure == nil else { return nil }
      if quantity == .throughput && m.proxyBusy < PairedRatios.busyEnough { return nil }
      return quantity.value(m)
    }
    return paired.measurements(subject, stage.name).compactMap { m in
      guard let ours = figure(m) else { return nil }
      guard let reference else { return log(ours) }
      return paired.measurement(reference, stage.name, m.round).flatMap(figure).map {
        log(ours / $0)
      }
    }
  }

  /// A peer whose version, arguments and configuration are the same in both.
  private static func sharedPeer(_ later: Comparison, _ earlier: Comparison) -> String? {
    later.subjects.first { now in
      now.kind == .peer && now.failure == nil
        && earlier.subjects.contains { then in
          then.kind == .peer && then.failure == nil && then.name == now.name
            && then.version == now.version && then.isTuned == now.isTuned
            && LastingText.of(then.configurations) == LastingText.of(now.configurations)
        }
    }?.name
  }

  private static func differences(_ later: Comparison, _ earlier: Comparison) -> [String] {
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
    if later.workload.files != earlier.workload.files {
      found.append("the workload's files differ")
    }
    for file in changedFiles(later, earlier) {
      found.append("the variants' configuration \(file) is another one")
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
    LastingText.portless(arguments.joined(separator: " "))
  }

  /// The names of the variants' configuration files whose text is another one; each once, though all
  /// variants start from the same file.
  private static func changedFiles(_ later: Comparison, _ earlier: Comparison) -> [String] {
    var changed: Set<String> = []
    for now in later.subjects where now.kind == .variant {
      guard let then = earlier.subjects.first(where: { $0.kind == .variant && $0.name == now.name })
      else { continue }
      let (a, b) = (LastingText.of(now.configurations), LastingText.of(then.configurations))
      changed.formUnion(Set(a.keys).union(b.keys).filter { a[$0] != b[$0] })
    }
    return changed.sorted()
  }
}

extension ComparisonAgainst {
  /// For the terminal; regressions last.
  public var text: String {
    var table = TextTable(["", "at", "quantity", "change", "99% interval", ""])
    for change in changes {
      table.add([
        change.subject, change.stage, Quantity(rawValue: change.quantity)?.label ?? change.quantity,
        Figure.change(change.ratio),
        "\(Figure.change(change.low)) to \(Figure.change(change.high))",
        change.isRegression ? "REGRESSION" : change.isImprovement ? "improved" : "",
      ])
    }
    var out = "Against the earlier run\n" + table.text(width: ComparisonText.columns)
    if let reference {
      out += ComparisonText.wrap(
        "Divided by \(reference) of the same round, so that the machine's drift falls out. The bound is"
          + " \(Figure.percent(Self.bound)).", "  ")
    } else {
      out += ComparisonText.wrap(
        "No peer was measured in both runs, so the machine's own drift is in these figures: only"
          + " changes beyond \(Figure.percent(Self.driftBound)) are judged. Run both with a peer"
          + " (--peers) to see finer ones.", "  ")
    }
    for omission in omissions { out += ComparisonText.wrap(omission, "  - ") }
    let count = changes.count(where: \.isRegression)
    out +=
      count == 0
      ? "No regression beyond the bound.\n" : "\(count) regression\(count == 1 ? "" : "s").\n"
    return out
  }
}
