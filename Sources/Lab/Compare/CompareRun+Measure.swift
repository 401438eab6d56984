// One measurement: a fresh process of the subject, a load, usage while it runs, and the end of both.
// A subject that fails says so in the measurement, with its last words; only what keeps the whole
// comparison from going on is thrown.

import Glibc
import Metrics
import MillraceEngine

/// Counters read at the start and the end of the measured interval only, because reading them is costly.
private struct CounterSample {
  var wallMicroseconds: Int64
  var voluntary: Int
  var involuntary: Int
  /// nil where they are not counted.
  var systemCalls: Int?
  /// Metrics published by Millrace; nil for other subjects.
  var metrics: MetricReading?
}

/// Everything sampled while a load ran.
private struct Samples {
  var usage: [UsageSample] = []
  var counters: [CounterSample] = []
  var residentBytes: Int?
  var hasDied = false
}

extension CompareRun {
  /// Seconds that a subject has to accept connections, and to end.
  static let waitLimit = 10.0

  func measure(
    _ trial: inout Trial, _ turn: Turn, _ stage: StageFacts, _ setup: Setup
  ) throws(CompareFailure) -> Measurement {
    var measurement = Measurement()
    measurement.round = turn.round
    measurement.stage = stage.name
    measurement.subject = trial.facts.name
    for path in trial.scratch {
      Workspace.empty(path)
      _ = unlink(path)
    }
    _ = unlink(trial.launch.output)
    trial.launch.metrics = trial.hasMetrics ? MetricFile() : nil
    defer { trial.launch.metrics = nil }
    do {
      let process = try ChildProcess(trial.launch)
      let port = trial.port
      let isReady = try interruptibleWait.wait(seconds: Self.waitLimit) {
        !process.isRunning || Workspace.accepts(port)
      }
      guard isReady && process.isRunning else {
        measurement.failure = Self.words("did not start", process)
        return measurement
      }
      try load(&measurement, &trial, process, stage, setup)
      process.send(SIGTERM)
      _ = try interruptibleWait.wait(seconds: Self.waitLimit) { !process.isRunning }
      process.kill()
    } catch {
      guard error.status == 1 else { throw error }
      measurement.failure = error.description
      return measurement
    }
    return measurement
  }

  static func words(_ what: String, _ process: ChildProcess) -> String {
    let lines = process.lastLines()
    let end = process.status.map { " (exit status \($0))" } ?? ""
    return what + end
      + (lines.isEmpty ? ", no output" : ": " + lines.joined(separator: " / "))
  }

  // MARK: The load

  private func load(
    _ measurement: inout Measurement, _ trial: inout Trial, _ process: ChildProcess,
    _ stage: StageFacts, _ setup: Setup
  ) throws(CompareFailure) {
    let request = LabTools.Load(
      urls: setup.urls(port: trial.port), arguments: setup.workload.loadArguments,
      rate: stage.rate, gapsAreRandom: options.gapsAreRandom, duration: timing.duration,
      warmUp: timing.warmUp,
      // Each round asks for the same in the same order of every subject.
      seed: options.seed &+ UInt64(measurement.round), result: workspace.path("load.json"),
      log: workspace.path("load.log"))
    _ = unlink(request.log)
    let load = try tools.startLoad(request)
    // Counting system calls costs each of them some 100 ns, so it is done where nothing is timed.
    let samples = try watch(
      load, process, trial, isRehearsal: measurement.round == 0 && !trial.hasMetrics)
    guard let result = LabTools.result(request.result) else {
      throw CompareFailure(Self.words("the load generator gave no result", load), hint: "")
    }
    measurement.load = Self.coarsened(result)
    if samples.hasDied || !process.isRunning {
      measurement.failure = Self.words("exited under load", process)
      return
    }
    fill(&measurement, samples)
    judge(&measurement)
    fill(&measurement, &trial, MetricsView(samples.counters.compactMap(\.metrics)))
  }

  /// A result as a comparison keeps it: some kilobytes.
  static func coarsened(_ result: LoadResult) -> LoadResult {
    var result = result
    result.latency = result.latency.coarsened()
    // Only figures of these are shown; and of the requests of a mix, the report has no curves.
    result.uncorrected.histogram = []
    result.delay.histogram = []
    result.connectTime.histogram = []
    for index in result.requests.indices { result.requests[index].latency.histogram = [] }
    return result
  }

  /// Samples until the load has ended.
  private func watch(
    _ load: ChildProcess, _ process: ChildProcess, _ trial: Trial, isRehearsal: Bool
  ) throws(CompareFailure) -> Samples {
    let begun = SystemClock.monotonicNanoseconds()
    // Twice what it should take, and what a slow end may: a load that hangs must not hang us.
    let limit = (timing.warmUp + timing.duration) * 2 + 30
    var samples = Samples()
    // Workers of nginx exist a moment after its first socket does.
    try interruptibleWait.wait(milliseconds: Int64(timing.warmUp * 200))
    let tree = ProcessTree(root: process.pid)
    let counter = isRehearsal ? SystemCallCounter(threads: tree.threads) : nil
    while load.isRunning {
      let elapsed = Double(SystemClock.monotonicNanoseconds() - begun) / 1e9
      guard elapsed < limit else {
        load.kill()
        break
      }
      guard let sample = tree.sample() else {
        samples.hasDied = true
        load.kill()
        break
      }
      samples.usage.append(sample)
      // The counted part begins after the connections stand: never before the warm-up's length, so
      // the second look is inside it.
      let isFirst = samples.counters.isEmpty && elapsed >= timing.warmUp + timing.duration * 0.1
      let isSecond = samples.counters.count == 1 && elapsed >= timing.warmUp + timing.duration * 0.9
      if isFirst || isSecond {
        let switches = tree.switches()
        samples.counters.append(
          CounterSample(
            wallMicroseconds: SystemClock.wallMicroseconds(), voluntary: switches.voluntary,
            involuntary: switches.involuntary, systemCalls: Self.count(counter),
            metrics: trial.launch.metrics?.reading()))
        if isSecond { samples.residentBytes = tree.residentBytes() }
      }
      try interruptibleWait.wait(milliseconds: 10)
    }
    if let last = tree.sample() { samples.usage.append(last) }
    return samples
  }

  private static func count(_ counter: borrowing SystemCallCounter?) -> Int? { counter?.count() }

  // MARK: What it adds up to

  private func fill(_ measurement: inout Measurement, _ samples: Samples) {
    measurement.residentBytes = samples.residentBytes
    guard let start = WallTime.microseconds(measurement.load.started),
      let usage = Usage.between(
        start, start + Int64(measurement.load.seconds * 1e6), samples.usage)
    else {
      measurement.failure = "the measured interval is incomplete; see load.log"
      return
    }
    measurement.processSeconds = usage.processSeconds
    measurement.userSeconds = usage.userSeconds
    measurement.systemSeconds = usage.systemSeconds
    measurement.machineSeconds = usage.machineSeconds
    for (cpu, seconds) in usage.busySeconds {
      measurement.processorBusy[String(cpu)] = min(1, seconds / usage.seconds)
    }
    let own = comparison.machine.proxyProcessors
    let busy = own.compactMap { measurement.processorBusy[String($0)] }
    measurement.proxyBusy = busy.isEmpty ? 0 : busy.reduce(0, +) / Double(busy.count)
    if samples.counters.count == 2 {
      let (a, b) = (samples.counters[0], samples.counters[1])
      let share = usage.seconds / (Double(b.wallMicroseconds - a.wallMicroseconds) / 1e6)
      let involuntary = Double(b.involuntary - a.involuntary) * share
      let voluntary = Double(b.voluntary - a.voluntary) * share
      measurement.involuntarySwitches = Int(involuntary)
      measurement.contextSwitches = Int(involuntary + voluntary)
      measurement.wakeUps = Int(voluntary)
      if let first = a.systemCalls, let second = b.systemCalls {
        measurement.systemCalls = Int(Double(second - first) * share)
      }
    }
  }

  /// Requests that failed make the others' figures those of another load. What a rate left unsent is
  /// no failure: it is what the rate was for.
  func judge(_ measurement: inout Measurement) {
    let load = measurement.load
    let failures = load.failures.filter { $0.key != "unsent" && $0.value > 0 }
    let failed = failures.values.reduce(0, +)
    if load.completed == 0 {
      measurement.failure = "no valid response"
    } else if Double(failed) > Double(load.completed) * Self.failedShare {
      measurement.failure = "\(failed) of \(failed + load.completed) requests failed"
    }
    guard measurement.failure != nil, failed > 0 else { return }
    let kinds = failures.sorted { $0.value > $1.value }.map { "\($0.key) \($0.value)" }
    measurement.failure! += " (\(kinds.joined(separator: ", ")))"
  }

  /// One in a thousand: above that, p99.9 is that of the failures.
  private static let failedShare = 0.001

  // MARK: Millrace's own figures

  func fill(_ measurement: inout Measurement, _ trial: inout Trial, _ view: MetricsView) {
    if let engine = view.engine { trial.facts.engine = engine }
    // A variant whose option the kernel refused is another variant.
    for (feature, cause) in view.refused where trial.facts.options[feature] == "true" {
      measurement.failure = measurement.failure ?? "\(feature) is not available here: \(cause)"
    }
    guard let counted = view.counted else { return }
    // Figures are those between two counters; the load counts a little longer.
    let share = measurement.requestsInTime / Double(counted.responses)
    func scaled(_ name: String) -> Int? {
      counted.differences[name].map { Int((Double($0) * share).rounded()) }
    }
    measurement.turns = scaled("turns")
    measurement.systemCalls = scaled("system_calls")
    measurement.completions = scaled("completions")
    measurement.bytesCopied = scaled("bytes_copied")
    // Not scaled: one is one too many.
    measurement.completionQueueOverflows = counted.differences["cq_overflows"]
    if let commits = counted.differences["audit_commits"], commits > 0 {
      measurement.auditRecords = scaled("audit_records")
      measurement.auditCommits = scaled("audit_commits")
    }
  }
}
