// What one slice gave: the load's result, and what was used between the look before its first request and
// the look after its last response. The subject was idle before and is idle after, so that all it used is
// its requests', and no request belongs to two slices.

import Glibc
import Metrics

/// Counters of a subject that cost too much to be read of all.
struct SubjectDetails {
  var userTicks = 0
  var systemTicks = 0
  var voluntary = 0
  var involuntary = 0
  var instructions: Int?
  var metrics: MetricReading?
}

extension SliceSubject {
  func details() -> SubjectDetails {
    var details = SubjectDetails()
    for pid in tree.pids {
      guard let ticks = ProcText.processTicks(TextFile.read("/proc/\(pid)/stat")) else { continue }
      details.userTicks += ticks.user
      details.systemTicks += ticks.system
    }
    (details.voluntary, details.involuntary) = tree.switches()
    details.instructions = counter?.count()
    details.metrics = metrics?.reading()
    return details
  }
}

struct SliceTaken {
  let before: SliceReading
  var after: SliceReading
  private let detailsBefore: SubjectDetails
  private var detailsAfter = SubjectDetails()
  var load = LoadResult()
  var facts = SliceFacts()
  /// System calls, where they were counted.
  var calls: Int?
  /// Seconds between the looks in which nothing was asked yet.
  private var slack = 0.0
  /// CPU seconds of the subjects that were not asked.
  var idleSeconds = 0.0

  init(before: SliceReading, details: SubjectDetails) {
    self.before = before
    after = before
    detailsBefore = details
  }

  mutating func finish(_ result: LoadResult, _ details: SubjectDetails, warmUp: Double) {
    load = result
    detailsAfter = details
    if let counted = WallTime.microseconds(result.started) {
      slack = max(0, Double(counted - before.wallMicroseconds) / 1e6 - warmUp)
    }
  }

  mutating func readFacts(
    _ result: LoadResult, _ bench: SliceBench, _ subject: SliceSubject, _ proxy: [Int],
    _ processors: [Int]
  ) {
    facts.seconds = result.seconds
    facts.completed = result.completedRate * result.seconds
    facts.responses = result.completedWithWarmUp
    facts.latency = [result.latency.p50, result.latency.p90, result.latency.p99]
    for (place, each) in bench.subjects.enumerated() {
      let used = ((after.subjects[place] ?? 0) - (before.subjects[place] ?? 0)) / 1e9
      if each === subject { facts.processSeconds = used } else { idleSeconds += used }
    }
    let busy = after.busy(since: before)
    let neighbours = (after.neighbours - before.neighbours) / 1e9
    facts.machineSeconds = max(0, busy - neighbours)
    facts.stolen = after.stolen(processors, since: before)
    let seconds = after.seconds(since: before)
    facts.elsewhere = seconds > 0 ? max(0, busy - after.ownSeconds(since: before)) / seconds : 0
  }

  /// Busy share of a CPU while it was asked.
  fileprivate func idle(_ cpu: Int) -> Double {
    max(0, after.seconds(since: before) - after.busy(cpu, since: before) - slack)
  }

  fileprivate var activeSeconds: Double { max(0, after.seconds(since: before) - slack) }

  fileprivate var ticks: (user: Int, system: Int) {
    (
      detailsAfter.userTicks - detailsBefore.userTicks,
      detailsAfter.systemTicks - detailsBefore.systemTicks
    )
  }
  fileprivate var voluntary: Int { detailsAfter.voluntary - detailsBefore.voluntary }
  fileprivate var involuntary: Int { detailsAfter.involuntary - detailsBefore.involuntary }
  fileprivate var instructions: Int? {
    guard let now = detailsAfter.instructions, let then = detailsBefore.instructions else {
      return nil
    }
    return now - then
  }
  fileprivate var metrics: [MetricReading] {
    [detailsBefore.metrics, detailsAfter.metrics].compactMap { $0 }
  }
}

extension [SliceTaken] {
  /// The slices of a batch as one measurement. CPU seconds and counts are those of all responses; they
  /// are told for those that came in the counted parts, by their share.
  func measurement(_ proxy: [Int]) -> Measurement {
    var m = Measurement()
    m.load = .merging(map(\.load))
    m.slices = map(\.facts)
    let responses = Double(reduce(0) { $0 + $1.facts.responses })
    let share = responses > 0 ? m.requestsInTime / responses : 0
    func scaled(_ count: (SliceTaken) -> Int) -> Int {
      Int((Double(reduce(0) { $0 + count($1) }) * share).rounded())
    }
    m.processSeconds = reduce(0) { $0 + $1.facts.processSeconds } * share
    m.machineSeconds = reduce(0) { $0 + $1.facts.machineSeconds } * share
    let user = Double(reduce(0) { $0 + $1.ticks.user })
    let ticks = user + Double(reduce(0) { $0 + $1.ticks.system })
    m.userSeconds = ticks > 0 ? m.processSeconds * user / ticks : 0
    m.systemSeconds = ticks > 0 ? m.processSeconds - m.userSeconds : 0
    let active = reduce(0) { $0 + $1.activeSeconds }
    for cpu in first?.after.ticks.idle.keys.sorted() ?? [] where active > 0 {
      let idle = reduce(0) { $0 + $1.idle(cpu) }
      m.processorBusy[String(cpu)] = Swift.min(1, Swift.max(0, 1 - idle / active))
    }
    let busy = proxy.compactMap { m.processorBusy[String($0)] }
    m.proxyBusy = busy.isEmpty ? 0 : busy.reduce(0, +) / Double(busy.count)
    m.wakeUps = scaled(\.voluntary)
    m.involuntarySwitches = scaled(\.involuntary)
    m.contextSwitches = scaled { $0.voluntary + $0.involuntary }
    if allSatisfy({ $0.instructions != nil }) { m.instructions = scaled { $0.instructions ?? 0 } }
    return m
  }

  /// What Millrace counted in all of them.
  var metricsView: MetricsView {
    var views = map { MetricsView($0.metrics) }[...]
    guard var sum = views.popFirst() else { return MetricsView([]) }
    for view in views {
      guard let more = view.counted else { continue }
      guard let counted = sum.counted else {
        sum.counted = more
        continue
      }
      sum.counted = .init(
        responses: counted.responses + more.responses,
        differences: counted.differences.merging(more.differences, uniquingKeysWith: +))
    }
    return sum
  }
}
