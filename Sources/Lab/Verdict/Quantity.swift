// What is compared: each quantity's name in the JSON, how a measurement gives it, which direction is
// better, and how much it weighs in the verdict.

/// A quantity that a measurement gives.
enum Quantity: String, CaseIterable {
  case throughput
  case p50, p90, p99, p999
  case p99OfAll = "p99_of_all"
  case cpuPerRequest = "cpu_per_request"
  case machinePerRequest = "machine_per_request"
  case userPerRequest = "user_per_request"
  case systemPerRequest = "system_per_request"
  case memory
  case systemCallsPerRequest = "system_calls_per_request"
  case turnsPerRequest = "turns_per_request"
  case completionsPerTurn = "completions_per_turn"
  case switchesPerRequest = "context_switches_per_request"
  case wakeUpsPerRequest = "wake_ups_per_request"
  case completionsPerRequest = "completions_per_request"
  case copiedPerRequest = "bytes_copied_per_request"
  case instructionsPerRequest = "instructions_per_request"
  case recordsPerCommit = "audit_records_per_commit"

  enum Weight {
    /// The recommendation reads it.
    case decisive
    /// Judged, and named as a gain or a cost.
    case secondary
    /// Shown with its interval; nobody gains or loses by it alone.
    case informative
  }

  /// Whether more is better.
  var prefersMore: Bool { self == .throughput }

  /// Its name in a sentence or a row.
  var label: String {
    switch self {
    case .throughput: "throughput"
    case .p50: "p50"
    case .p90: "p90"
    case .p99: "p99"
    case .p999: "p99.9"
    case .p99OfAll: "p99 of all requests"
    case .cpuPerRequest: "CPU per request"
    case .machinePerRequest: "whole machine per request"
    case .userPerRequest: "user time per request"
    case .systemPerRequest: "system time per request"
    case .memory: "memory"
    case .systemCallsPerRequest: "system calls per request"
    case .turnsPerRequest: "loop turns per request"
    case .completionsPerTurn: "completions per turn"
    case .switchesPerRequest: "context switches per request"
    case .wakeUpsPerRequest: "wake-ups per request"
    case .completionsPerRequest: "completions per request"
    case .copiedPerRequest: "bytes copied per request"
    case .instructionsPerRequest: "instructions per request"
    case .recordsPerCommit: "audit records per commit"
    }
  }

  var isLatency: Bool {
    switch self {
    case .p50, .p90, .p99, .p999, .p99OfAll: true
    default: false
    }
  }

  /// Of slices: the share that lies below it among all requests of a stage together; nil: it is averaged over slices
  /// or batches.
  var pooledShare: Double? {
    switch self {
    case .p99OfAll: 0.99
    case .p999: 0.999
    default: nil
    }
  }

  /// How much it weighs at a stage of this kind. `isFirstRate`: the lowest of the equal loads, where
  /// no subject is near its limit.
  func weight(_ kind: StageFacts.Kind, isFirstRate: Bool) -> Weight? {
    switch self {
    case .throughput: kind == .maximum ? .decisive : nil
    case .p99, .cpuPerRequest, .machinePerRequest: isFirstRate ? .decisive : .secondary
    case .p50, .p90, .p999, .p99OfAll: .secondary
    case .memory: kind == .maximum ? .secondary : nil
    default: .informative
    }
  }

  /// The quantity in base units: requests per second, seconds, bytes or a count; nil where it was not
  /// measured, or a logarithm of it would not exist.
  func value(_ measurement: Measurement) -> Double? {
    guard let value = rawValue(measurement), value > 0, value.isFinite else { return nil }
    return value
  }

  private func rawValue(_ m: Measurement) -> Double? {
    let requests = m.requestsInTime
    guard requests > 0, m.load.completed > 0 else { return nil }
    func perRequest(_ count: Int?) -> Double? { count.map { Double($0) / requests } }
    switch self {
    case .throughput: return m.load.completedRate
    case .p50: return Double(m.load.latency.p50) / 1e9
    case .p90: return Double(m.load.latency.p90) / 1e9
    case .p99: return Double(m.load.latency.p99) / 1e9
    case .p999: return Double(m.load.latency.p999) / 1e9
    case .p99OfAll: return Double(m.load.latency.p99) / 1e9
    case .cpuPerRequest: return m.processSeconds / requests
    case .machinePerRequest: return m.machineSeconds / requests
    case .userPerRequest: return Self.split(m).user / requests
    case .systemPerRequest: return Self.split(m).system / requests
    case .memory: return m.residentBytes.map(Double.init)
    case .systemCallsPerRequest: return perRequest(m.systemCalls)
    case .turnsPerRequest: return perRequest(m.turns)
    case .switchesPerRequest: return perRequest(m.contextSwitches)
    case .wakeUpsPerRequest: return perRequest(m.wakeUps)
    case .completionsPerRequest: return perRequest(m.completions)
    case .copiedPerRequest: return perRequest(m.bytesCopied)
    case .instructionsPerRequest: return perRequest(m.instructions)
    case .completionsPerTurn:
      guard let completions = m.completions, let turns = m.turns, turns > 0 else { return nil }
      return Double(completions) / Double(turns)
    case .recordsPerCommit:
      guard let records = m.auditRecords, let commits = m.auditCommits, commits > 0 else {
        return nil
      }
      return Double(records) / Double(commits)
    }
  }

  /// Whether slices are paired one by one, and not only their batches: what a slice gives by itself.
  var isOfSlices: Bool {
    switch self {
    case .throughput, .cpuPerRequest, .machinePerRequest, .p50, .p90, .p99: true
    default: false
    }
  }

  /// The quantity of one slice; nil where it has too few requests for it, or no logarithm.
  func value(_ slice: SliceFacts) -> Double? {
    let value: Double?
    switch self {
    case .throughput: value = slice.seconds > 0 ? slice.completed / slice.seconds : nil
    case .cpuPerRequest: value = slice.processSeconds / Double(max(1, slice.responses))
    case .machinePerRequest: value = slice.machineSeconds / Double(max(1, slice.responses))
    case .p50: value = latency(slice, 0, beyond: 0.5)
    case .p90: value = latency(slice, 1, beyond: 0.1)
    case .p99: value = latency(slice, 2, beyond: 0.01)
    default: value = nil
    }
    guard let value, value > 0, value.isFinite, slice.responses > 0 else { return nil }
    return value
  }

  /// Requests of a slice that lie beyond a percentile of its own, at least.
  private static let fewestBeyond = 3.0
  /// Requests that a slice needs for a p99 of its own.
  static let requestsForP99 = fewestBeyond / 0.01

  /// A percentile of a slice, if enough of its requests lie beyond it.
  private func latency(_ slice: SliceFacts, _ place: Int, beyond share: Double) -> Double? {
    guard slice.latency.count > place, slice.completed * share >= Self.fewestBeyond else {
      return nil
    }
    return Double(slice.latency[place]) / 1e9
  }

  /// The process's exact CPU seconds, divided in the proportion that the kernel sampled.
  static func split(_ m: Measurement) -> (user: Double, system: Double) {
    let sampled = m.userSeconds + m.systemSeconds
    guard sampled > 0 else { return (0, 0) }
    return (
      m.processSeconds * m.userSeconds / sampled, m.processSeconds * m.systemSeconds / sampled
    )
  }
}
