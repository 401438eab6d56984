// Which subject runs when, and for how long: pure arithmetic over a seed and a budget of time. Rounds
// hold every subject once per stage in an order of their own, so that what drifts (the host's other
// guests, temperature) falls on all alike.

/// Numbers by a seed: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
/// OOPSLA 2014).
struct SeededNumbers: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// One measurement that is to be made.
struct Turn: Equatable {
  var round: Int
  var stage: String
  var subject: String
}

/// How long everything takes.
struct Timing: Equatable {
  /// Rounds in which the variants run.
  var rounds = 9
  /// Of them, those in which the peers run as well.
  var peerRounds = 9
  /// Seconds that are counted, and seconds of load before them.
  var duration = 2.0
  var warmUp = 0.5

  /// Starting a proxy, probing its engine, opening connections, draining it: seconds that a
  /// measurement takes beside its load. Measured here: 0.25 for Millrace, 0.4 for Caddy.
  static let overhead = 0.45

  /// What is left of five minutes for measurements once the machine was looked at and the report
  /// written.
  static let budget = 270.0

  /// Seconds that all measurements take, the first look at everybody's maximum included.
  func seconds(variants: Int, peers: Int, stages: Int, peerStages: Int) -> Double {
    let one = duration + warmUp + Self.overhead
    let turns =
      variants + peers + rounds * variants * stages + peerRounds * peers * peerStages
    return one * Double(turns)
  }

  /// The most rounds that fit the budget. Variants come first: they are the question, and an
  /// interval of 99% over fewer than seven pairs says next to nothing. Peers get seven as well, in
  /// shorter measurements if need be; where not even those of a second fit, the five without which
  /// nothing is judged.
  static func fitting(
    variants: Int, peers: Int, stages: Int, peerStages: Int, budget: Double = Self.budget
  ) -> Timing {
    func fits(_ timing: Timing) -> Bool {
      timing.seconds(variants: variants, peers: peers, stages: stages, peerStages: peerStages)
        <= budget
    }
    for duration in [2.0, 1.5, 1.0] {
      for rounds in stride(from: 15, through: fewestRounds, by: -1) {
        // More rounds for variants are worth more than more rounds for peers, up to nine.
        let fewest = peers == 0 || rounds > 9 ? rounds : fewestRounds
        for peerRounds in stride(from: rounds, through: fewest, by: -1) {
          let timing = Timing(rounds: rounds, peerRounds: peerRounds, duration: duration)
          if fits(timing) { return timing }
        }
      }
    }
    // It may take longer then; whoever asked for so many subjects is told how long.
    let fewest = peers == 0 ? fewestRounds : Bootstrap.fewestValues
    let short = stride(from: fewestRounds, through: fewest, by: -1).map {
      Timing(rounds: fewestRounds, peerRounds: $0, duration: 1)
    }
    return short.first(where: fits) ?? short[short.count - 1]
  }

  private static let fewestRounds = 7
}

enum Schedule {
  /// Every measurement in the order in which it is to be made.
  ///
  /// - Parameters:
  ///   - stages: names of the stages of each subject.
  ///   - peerRounds: spread evenly over the rounds, so that no peer sees only the beginning.
  static func turns(
    seed: UInt64, rounds: Int, peerRounds: Int, variants: [String], peers: [String],
    stages: (String) -> [String]
  ) -> [Turn] {
    var numbers = SeededNumbers(seed: seed)
    var turns: [Turn] = []
    for round in 1...max(1, rounds) {
      let hasPeers = round * peerRounds / rounds > (round - 1) * peerRounds / rounds
      let subjects = hasPeers ? variants + peers : variants
      var part = subjects.flatMap { subject in
        stages(subject).map { Turn(round: round, stage: $0, subject: subject) }
      }
      part.shuffle(using: &numbers)
      turns += part
    }
    return turns
  }

  /// The stages after the maximum, from what each subject reached at it (requests per second).
  /// Rates are rounded down to three digits: a rate is a round number in a report.
  static func rateStages(
    maxima: [(name: String, rate: Double)], variants: [String], asked: [Double]
  ) -> [(stage: StageFacts, variantsOnly: Bool)] {
    if !asked.isEmpty {
      // A stage is known by its name: the same rate twice is one stage.
      var seen: Set<Double> = []
      return asked.filter { seen.insert($0).inserted }.map { rate in
        let places = rate == rate.rounded() ? 0 : 3
        let name = "\(Decimals.text(rate, places: places))/s"
        return (stage(name, rate, "set by --rates"), false)
      }
    }
    let own = maxima.filter { variants.contains($0.name) }
    // A peer that is far slower would have everybody else compared while they idle.
    let bound = (own.map(\.rate).min() ?? 0) / 2
    let slower = maxima.filter { !variants.contains($0.name) && $0.rate < bound }.map(\.name)
    let asked = maxima.filter { !slower.contains($0.name) }
    guard let slowest = asked.min(by: { $0.rate < $1.rate }), slowest.rate > 0 else { return [] }
    let who =
      slower.isEmpty
      ? "a rate that all sustain"
      : "a rate that all sustain except \(slower.joined(separator: ", ")), less than half as fast"
    var stages = [
      (
        stage(
          "equal", rounded(slowest.rate * 0.7),
          "70% of the maximum of the slowest, \(slowest.name): \(who)"), false
      )
    ]
    if own.count > 1, let lesser = own.min(by: { $0.rate < $1.rate }) {
      stages.append(
        (
          stage(
            "saturation", rounded(lesser.rate),
            "the maximum of the slower variant, \(lesser.name): the latency of the better one"
              + " where the other one is saturated"), true
        ))
    }
    return stages
  }

  private static func stage(_ name: String, _ rate: Double, _ reason: String) -> StageFacts {
    var facts = StageFacts()
    facts.name = name
    facts.kind = .rate
    facts.rate = rate
    facts.reason = reason
    return facts
  }

  /// Down to three digits that count: 23711 is 23700.
  static func rounded(_ rate: Double) -> Double {
    var unit = 1.0
    while rate / unit >= 1000 { unit *= 10 }
    return max(1, (rate / unit).rounded(.down) * unit)
  }
}
