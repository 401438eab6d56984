// Comparisons with known truth: subjects whose real ratios are given, on a machine whose noise is
// given. The verdict's tests ask whether it finds the first in spite of the second.

import Glibc

@testable import Lab

/// What the machine does to every figure.
enum MachineNoise: String, CaseIterable {
  /// Small and normal.
  case calm
  /// One figure in ten is off by ten times the usual: a neighbour woke up.
  case outliers
  /// Student's t with 3 degrees: far values are common.
  case heavy
  /// The machine slows by a fifth over the run and wanders besides.
  case drifting
  /// Stalls: noise that only ever makes things slower.
  case stalls
}

struct SyntheticComparison {
  var random: TestRandom
  var noise = MachineNoise.calm
  /// The usual size of noise of throughput and CPU time; percentiles have more.
  var spread = 0.015
  var rounds = 8
  /// True ratios to the first subject by quantity; 1 where none is given.
  var truth: [String: [String: Double]] = [:]
  var subjects = ["epoll", "io_uring"]
  private var wander = 0.0
  private var moment = 0

  init(seed: UInt64) { random = TestRandom(state: seed) }

  mutating func make() -> Comparison {
    var comparison = Comparison()
    comparison.seed = random.next()
    comparison.baseline = subjects[0]
    comparison.subjects = subjects.map { name in
      var subject = SubjectFacts()
      subject.name = name
      subject.engine = name
      return subject
    }
    comparison.stages = ["maximum", "equal load", "high load"].map { name in
      var stage = StageFacts()
      stage.name = name
      stage.kind = name == "maximum" ? .maximum : .rate
      stage.rate = name == "maximum" ? nil : name == "equal load" ? 9000 : 12_000
      return stage
    }
    for round in 0..<rounds {
      for stage in comparison.stages {
        var order = subjects
        for i in stride(from: order.count - 1, to: 0, by: -1) {
          order.swapAt(i, Int(random.next() % UInt64(i + 1)))
        }
        for subject in order {
          comparison.measurements.append(measurement(round, stage, subject))
        }
      }
    }
    return comparison
  }

  private mutating func measurement(
    _ round: Int, _ stage: StageFacts, _ subject: String
  ) -> Measurement {
    moment += 1
    wander += 0.01 * random.normal()
    var m = Measurement()
    m.round = round
    m.stage = stage.name
    m.subject = subject
    let rate = stage.rate ?? 14_000 * figure(subject, "throughput")
    m.load.seconds = 3
    m.load.completedRate = rate
    m.load.completed = Int(rate * 3)
    m.load.latency.p50 = Int(400_000 * figure(subject, "p50", 2))
    m.load.latency.p90 = Int(700_000 * figure(subject, "p90", 2))
    m.load.latency.p99 = Int(1_500_000 * figure(subject, "p99", 4))
    m.load.latency.p999 = Int(4_000_000 * figure(subject, "p999", 8))
    m.processSeconds = 60e-6 * Double(m.load.completed) * figure(subject, "cpu_per_request")
    m.machineSeconds = 70e-6 * Double(m.load.completed) * figure(subject, "machine_per_request")
    m.userSeconds = m.processSeconds * 0.3
    m.systemSeconds = m.processSeconds * 0.7
    m.proxyBusy = stage.kind == .maximum ? 0.99 : 0.6
    m.residentBytes = Int(9e6 * figure(subject, "memory"))
    return m
  }

  private mutating func figure(_ subject: String, _ quantity: String, _ times: Double = 1) -> Double
  {
    (truth[subject]?[quantity] ?? 1) * exp(times * spread * disturbance())
  }

  private mutating func disturbance() -> Double {
    switch noise {
    case .calm: random.normal()
    case .outliers: random.normal() * (random.uniform() < 0.1 ? 10 : 1)
    case .heavy: random.student3()
    case .drifting:
      random.normal() + (wander + 0.2 * Double(moment) / Double(rounds * 6)) / spread / 2
    case .stalls: random.exponential() * (random.uniform() < 0.2 ? 5 : 1)
    }
  }
}

/// SplitMix64 with the distributions that the tests draw from.
struct TestRandom: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  mutating func uniform() -> Double { (Double(next() >> 11) + 0.5) / 9_007_199_254_740_992 }
  mutating func exponential() -> Double { -log(uniform()) }
  mutating func normal() -> Double {
    (-2 * log(uniform())).squareRoot() * cos(2 * Double.pi * uniform())
  }
  /// Student's t with 3 degrees of freedom.
  mutating func student3() -> Double {
    let (a, b, c) = (normal(), normal(), normal())
    return normal() / ((a * a + b * b + c * c) / 3).squareRoot()
  }
}
