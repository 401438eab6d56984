// Two comparisons at different times: is the later one worse? They are not paired, and between two
// runs a machine drifts by more than any change that matters, so figures are divided by a reference
// that did not change: a peer, the same program with the same configuration in both. Where there is
// none, figures are compared as they are, with a bound that no drift seen here has exceeded. What decides
// a verdict must have been compared for "no regression" to be said.

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
    /// The peer that figures were divided by; nil: they were compared as they are.
    public let reference: String?
    /// Rounds of the run that has fewer.
    public let rounds: Int
    /// The whole interval, widened for the number of changes that are judged, lies beyond the bound on
    /// the worse side.
    public internal(set) var isRegression = false
    /// The same on the better side.
    public internal(set) var isImprovement = false

    /// Up to this, a change is none.
    public var bound: Double {
      reference == nil ? ComparisonAgainst.driftBound : ComparisonAgainst.bound
    }
  }

  /// A variant that worked in the earlier run and does not now: worse than any figure.
  public struct Failure: Sendable, CustomStringConvertible {
    public let subject: String
    /// nil: everywhere.
    public let stage: String?
    public let why: String

    public var description: String {
      "\(subject) worked in the earlier run\(stage.map { " at \($0)" } ?? ""), but fails now: \(why)"
    }
  }

  /// A quantity that decides, of a variant that works in both runs, for which there is no change.
  public struct Gap: Sendable, Equatable {
    public let subject: String
    public let stage: String
    public let quantity: String
  }

  /// Up to this, a machine's drift explains a change of figures without a reference: they moved by 20%
  /// from minute to minute on the machine that this was written on.
  public static let driftBound = 0.25
  /// With a reference, what counts is the bound of every other difference.
  public static let bound = PairedRatios.bound

  /// The peer that both runs measured in enough rounds; nil: none, figures are compared as they are.
  public let reference: String?
  public private(set) var changes: [Change] = []
  /// What could not be compared, and why; a sentence each.
  public private(set) var omissions: [String] = []

  public private(set) var failures: [Failure] = []
  public private(set) var gaps: [Gap] = []

  public var hasRegression: Bool {
    !failures.isEmpty || changes.contains(where: \.isRegression)
  }
  /// Whether every deciding quantity of the later run was compared for every variant that works in both.
  /// Without that, no regression found is none looked for.
  public var isDecided: Bool { gaps.isEmpty }

  /// - Throws: `Refusal` when workload or machine differ.
  public init(_ later: Comparison, against earlier: Comparison) throws(Refusal) {
    let differences = Self.differences(later, earlier)
    guard differences.isEmpty else { throw Refusal(differences: differences) }
    self.reference = Self.sharedPeer(later, earlier, among: Self.canDivide)
    if reference == nil, let rare = Self.sharedPeer(later, earlier, among: { _, _, _ in true }) {
      omit(
        "\(rare) is not a reference: it was measured in \(Self.rounds(rare, later)) rounds, and in"
          + " \(Self.rounds(rare, earlier)) of the earlier run; \(Bootstrap.fewestValues) of both are"
          + " needed.")
    }
    let paired = Runs(now: PairedRatios(later), then: PairedRatios(earlier))
    for subject in later.subjects where subject.kind == .variant {
      guard Self.works(subject.name, earlier) else {
        if subject.failure == nil { omit("\(subject.name) was not measured in the earlier run.") }
        continue
      }
      if let why = Self.failure(of: subject, paired.now) {
        failures.append(Failure(subject: subject.name, stage: nil, why: why))
        continue
      }
      for stage in later.stages { compare(subject.name, stage, paired) }
      findGaps(subject.name, paired)
    }
    judge()
    for subject in earlier.subjects where subject.kind == .variant && subject.failure == nil {
      if !later.subjects.contains(where: { $0.kind == .variant && $0.name == subject.name }) {
        omit("\(subject.name) was measured in the earlier run, but not in this one.")
      }
    }
    // Who waits for a regression must not take "nothing was compared" for "nothing got worse".
    guard !changes.isEmpty || !failures.isEmpty else {
      throw Refusal(
        differences: omissions.isEmpty
          ? ["no measurement in common"] : omissions.map { String($0.dropLast()) })
    }
  }

  private mutating func omit(_ sentence: String) {
    if !omissions.contains(sentence) { omissions.append(sentence) }
  }

  /// The earlier run's stage under the same load: its name says how the load was chosen, and the
  /// same rate may have been chosen another way.
  private static func counterpart(_ stage: StageFacts, _ earlier: Comparison) -> StageFacts? {
    let sameKind = earlier.stages.filter { $0.kind == stage.kind }
    let named = sameKind.first { $0.name == stage.name }
    return [named].compactMap { $0 }.first { isSameLoad(stage, $0) }
      ?? sameKind.first { stage.rate != nil && isSameLoad(stage, $0) } ?? named
  }

  private static func isSameLoad(_ a: StageFacts, _ b: StageFacts) -> Bool {
    guard let now = a.rate, let then = b.rate else { return a.rate == nil && b.rate == nil }
    return abs(log(now / then)) <= log(1 + bound)
  }

  /// Both runs, ready to be paired.
  private struct Runs {
    let now: PairedRatios
    let then: PairedRatios
  }

  /// Whether a subject was measured at least once without failing.
  static func works(_ name: String, _ comparison: Comparison) -> Bool {
    comparison.subjects.contains { $0.name == name && $0.failure == nil }
      && comparison.measurements.contains { $0.subject == name && $0.failure == nil }
  }

  /// Why a subject was left out, or failed in all of its rounds; nil if it did neither.
  private static func failure(of subject: SubjectFacts, _ paired: PairedRatios) -> String? {
    if let why = subject.failure { return why }
    return failure(of: paired.comparison.measurements.filter { $0.subject == subject.name })
  }

  private static func failure(of measurements: [Measurement]) -> String? {
    guard let first = measurements.first?.failure,
      measurements.allSatisfy({ $0.failure != nil })
    else { return nil }
    return "in all of \(measurements.count) measurements: \(first)"
  }

  private mutating func compare(_ subject: String, _ stage: StageFacts, _ paired: Runs) {
    guard let before = Self.counterpart(stage, paired.then.comparison) else {
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
    if let why = Self.failure(of: paired.now.measurements(subject, stage.name)),
      paired.then.measurements(subject, before.name).contains(where: { $0.failure == nil })
    {
      failures.append(Failure(subject: subject, stage: stage.name, why: why))
      return
    }
    for quantity in Quantity.allCases {
      // The p99 of all requests is p99 here, which has its own row.
      guard let weight = paired.now.weight(quantity, stage), weight != .informative,
        quantity != .p99OfAll || weight == .decisive
      else { continue }
      var peer = reference
      func both(_ peer: String?) -> (now: [Double], then: [Double]) {
        (
          Self.values(quantity, subject, stage, paired.now, dividedBy: peer),
          Self.values(quantity, subject, before, paired.then, dividedBy: peer)
        )
      }
      var values = both(peer)
      if let missing = peer, min(values.now.count, values.then.count) < Bootstrap.fewestValues {
        // Peers do not go through every stage, and may be load-bound at the maximum.
        peer = nil
        values = both(nil)
        if min(values.now.count, values.then.count) >= Bootstrap.fewestValues {
          undivided(quantity, stage, before, missing, paired)
        }
      }
      var random = SeededRandom(
        seed: paired.now.comparison.seed, name: "against/\(subject)/\(stage.name)/\(quantity)")
      guard let interval = Bootstrap.difference(values.now, values.then, random: &random) else {
        if weight == .decisive {
          omit(
            "\(quantity.label) of \(subject) at \(stage.name): fewer than \(Bootstrap.fewestValues)"
              + " valid rounds in one of the runs.")
        }
        continue
      }
      changes.append(
        Change(
          subject: subject, stage: stage.name, quantity: quantity.rawValue,
          ratio: exp(interval.estimate), low: exp(interval.low), high: exp(interval.high),
          reference: peer, rounds: min(values.now.count, values.then.count)))
    }
  }

  /// Says that the reference has no figure there, so that the wider bound holds.
  private mutating func undivided(
    _ quantity: Quantity, _ stage: StageFacts, _ before: StageFacts, _ peer: String, _ paired: Runs
  ) {
    func isThere(_ runs: PairedRatios, _ stage: StageFacts) -> Bool {
      runs.measurements(peer, stage.name).count { $0.failure == nil } >= Bootstrap.fewestValues
    }
    let isThroughout = !isThere(paired.now, stage) || !isThere(paired.then, before)
    omit(
      (isThroughout ? stage.name : "\(quantity.label) at \(stage.name)")
        + ": \(peer) has no figures there in both runs, so only changes beyond"
        + " \(Figure.percent(Self.driftBound)) are judged.")
  }

  /// What decides a verdict and was not compared, at the maximum or at the lowest rate of either run.
  private mutating func findGaps(_ subject: String, _ paired: Runs) {
    let later = paired.now.comparison
    let shared: [(now: StageFacts, then: StageFacts)] = later.stages.compactMap { stage in
      Self.counterpart(stage, paired.then.comparison)
        .flatMap { Self.isSameLoad(stage, $0) ? (stage, $0) : nil }
    }
    let maximum = later.stages.first { $0.kind == .maximum }?.name ?? "maximum"
    let (now, then) = (paired.now.decisiveStage, paired.then.decisiveStage)
    let hasRate = now?.kind == .rate || then?.kind == .rate
    let deciding = shared.filter {
      ($0.now.kind == .rate) == hasRate
        && ($0.now.name == now?.name || $0.then.name == then?.name)
    }
    let chosen = later.course.decidedBy.compactMap { DecidingQuantity($0) }
    for need in chosen.isEmpty ? DecidingQuantity.usual : chosen {
      let isAtMaximum = need.kind == .maximum
      let stages = isAtMaximum ? [maximum] : deciding.map(\.now.name)
      let isCompared = changes.contains {
        $0.subject == subject && $0.quantity == need.quantity.rawValue && stages.contains($0.stage)
      }
      if !isCompared {
        let place = isAtMaximum ? maximum : deciding.first?.now.name ?? now?.name ?? maximum
        gaps.append(Gap(subject: subject, stage: place, quantity: need.quantity.rawValue))
      }
    }
  }

  /// A run is judged by dozens of changes, and must not fail by chance.
  private mutating func judge() {
    for i in changes.indices {
      let change = changes[i]
      let bound = log(1 + change.bound)
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
  private static func values(
    _ quantity: Quantity, _ subject: String, _ stage: StageFacts, _ paired: PairedRatios,
    dividedBy reference: String?
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
  private static func sharedPeer(
    _ later: Comparison, _ earlier: Comparison,
    among isFit: (String, Comparison, Comparison) -> Bool
  ) -> String? {
    later.subjects.first { now in
      now.kind == .peer && now.failure == nil
        && earlier.subjects.contains { then in
          then.kind == .peer && then.failure == nil && then.name == now.name
            && then.version == now.version && then.isTuned == now.isTuned
            && NormalizedText.of(then.arguments.joined(separator: " "))
              == NormalizedText.of(now.arguments.joined(separator: " "))
            && NormalizedText.of(then.configurations) == NormalizedText.of(now.configurations)
        } && isFit(now.name, later, earlier)
    }?.name
  }

  /// Fewer rounds give no interval: a peer that was measured less often, as there was no time, would
  /// take every figure of the variants with it.
  private static func canDivide(_ peer: String, _ later: Comparison, _ earlier: Comparison) -> Bool
  {
    min(rounds(peer, later), rounds(peer, earlier)) >= Bootstrap.fewestValues
  }

  /// Rounds in which a subject was measured without failing.
  private static func rounds(_ subject: String, _ comparison: Comparison) -> Int {
    Set(
      comparison.measurements.lazy.filter { $0.subject == subject && $0.failure == nil }
        .map(\.round)
    ).count
  }
}
