// One subject at one stage over all rounds: the figures that a table shows. They are medians, and
// therefore not what ratios are made of: those are paired within a round.

/// A row of the tables, and the points of the plots.
struct Row {
  let subject: SubjectFacts
  let stage: StageFacts
  let measurements: [Measurement]
  private let counted: [Measurement]

  init(_ subject: SubjectFacts, _ stage: StageFacts, _ measurements: [Measurement]) {
    self.subject = subject
    self.stage = stage
    self.measurements = measurements
    self.counted = measurements.filter { $0.failure == nil }
  }

  var failed: Int { measurements.count - counted.count }
  var failure: String? { measurements.first { $0.failure != nil }?.failure }

  func median(_ quantity: Quantity) -> Double? {
    Middle.of(counted.compactMap { quantity.value($0) })
  }

  func median(_ value: (Measurement) -> Double?) -> Double? {
    Middle.of(counted.compactMap(value))
  }

  var completedRate: Double { median { $0.load.completedRate } ?? 0 }
  var proxyBusy: Double { median { $0.proxyBusy } ?? 0 }

  /// Busy share by CPU.
  var processorBusy: [(processor: String, share: Double)] {
    let names = Set(counted.flatMap(\.processorBusy.keys))
    return names.sorted { (Int($0) ?? 0, $0) < (Int($1) ?? 0, $1) }
      .map { name in (name, median { $0.processorBusy[name] } ?? 0) }
  }

  /// The load, not the proxy, was the limit.
  var isLoadBound: Bool {
    stage.kind == .maximum && !counted.isEmpty && proxyBusy < PairedRatios.busyEnough
  }

  /// Whether the load's thread and the CPUs it shares with the origin had time left: then something
  /// else was waited for, such as a disk.
  func loadHadRoom(_ processors: [Int]) -> Bool {
    let busy = processors.compactMap { number in median { $0.processorBusy[String(number)] } }
    return max(median { $0.load.busiestThread } ?? 1, busy.max() ?? 1) < Self.room
  }

  /// Beyond it a CPU's queue, not its work, is what a request waits for.
  private static let room = 0.9

  /// Less than 99% of the rate came back: the offered rate itself is held within 1%.
  var missedRate: Bool {
    guard let rate = stage.rate, !counted.isEmpty else { return false }
    // Poisson gaps give another count in each run: what was planned in it is known.
    return (median { $0.load.completedRate / ($0.load.dueRate ?? rate) } ?? 1) < 0.99
  }
}
