// A comparison in slices, up to the course itself: every subject started beside the others, tried at its
// maximum, looked at while idle, and a pilot that chooses how long a slice is. What cannot run side by
// side is a reason for rounds, and no failure.

import Glibc
import Metrics
import MillraceEngine

/// Why subjects cannot run side by side.
struct NotSideBySide: Error {
  var reason: String
}

extension CompareRun {
  /// Seconds of load before the counted part of a slice: what a cache forgets in the other subjects'
  /// slices is read again.
  static let sliceWarmUp = 0.05
  /// After a slice a worker publishes its figures, within 10 ms (`WorkerCounters.publishInterval`).
  private static let settling: Int64 = 12
  /// Seconds of a slice that are neither lead-in nor counted: messages, the last responses, the pause.
  static let sliceOverhead = 0.03

  /// Whether slices are what was asked for.
  var wantsSlices: Bool {
    if options.rounds != nil || options.duration != nil { return false }
    if let earlier = options.earlier { return earlier.course.method == "slices" }
    return true
  }

  // MARK: Side by side

  /// Starts every subject and its load. Subjects that do not work at all leave with their failure.
  mutating func startBench(_ setup: Setup, origin: ChildProcess?) throws(CompareFailure)
    -> SliceBench
  {
    var started: [SliceSubject] = []
    var neighbours: [ChildProcess] = []
    if options.hasNeighbour {
      // Another container is another group to the scheduler, and gets half of the CPU as one.
      for cpu in comparison.machine.proxyProcessors {
        neighbours.append(
          try ChildProcess(
            Launch(
              command: ["/bin/sh", "-c", "while :; do :; done"],
              output: workspace.path("neighbour.log"), processors: [cpu], hasSession: true)))
      }
      comparison.course.neighbours = comparison.machine.proxyProcessors
    }
    for index in trials.indices where trials[index].facts.failure == nil {
      do {
        started.append(try startBeside(index, setup))
      } catch {
        guard error.status == 1 else { throw error }
        trials[index].facts.failure = error.description
        printProgress("\(trials[index].facts.name): skipped: \(error.description)")
      }
    }
    let bench = SliceBench(started, origin: origin?.pid, neighbours: neighbours)
    return bench
  }

  private mutating func startBeside(
    _ index: Int, _ setup: Setup
  ) throws(CompareFailure) -> SliceSubject {
    var trial = trials[index]
    for path in trial.scratch {
      Workspace.empty(path)
      _ = unlink(path)
    }
    _ = unlink(trial.launch.output)
    let metrics = trial.hasMetrics ? MetricFile() : nil
    trial.launch.metrics = metrics
    let process = try ChildProcess(trial.launch)
    let port = trial.port
    let isReady = try interruptibleWait.wait(seconds: Self.waitLimit) {
      !process.isRunning || Workspace.accepts(port)
    }
    guard isReady && process.isRunning else {
      throw CompareFailure(Self.words("did not start", process), hint: "")
    }
    let load = try SliceLoad(
      tools, urls: setup.urls(port: port), arguments: setup.workload.loadArguments,
      path: workspace.path("load-\(index)"))
    guard let answer = try load.answer(within: Self.waitLimit, interruptibleWait),
      answer == Array("ready".utf8)
    else { throw CompareFailure(Self.words("no connection", load.process), hint: "") }
    let subject = SliceSubject(
      index: index, name: trial.facts.name, process: process, metrics: metrics, load: load)
    subject.counter = InstructionCounter(threads: subject.tree.threads)
    return subject
  }

  /// Whether all fit into the memory of this machine, a tenth of it left for the rest.
  func checkRoom() throws(NotSideBySide) {
    let memory = TextFile.read("/proc/meminfo")
    guard let all = ProcText.number("MemTotal", in: memory),
      let left = ProcText.number("MemAvailable", in: memory), left * 10 < all
    else { return }
    throw NotSideBySide(
      reason: "with all subjects running, less than a tenth of the memory is available")
  }

  /// A subject that runs alone but not beside others (a port of the configuration's own, a lock).
  func checkVariants() throws(NotSideBySide) {
    let variants = trials.filter { $0.facts.kind == .variant }
    guard variants.contains(where: { $0.facts.failure == nil }),
      let failed = variants.first(where: { $0.facts.failure != nil })
    else { return }
    throw NotSideBySide(
      reason: "\(failed.facts.name) did not work beside the others: \(failed.facts.failure ?? "")")
  }

  // MARK: One slice

  /// One slice on one subject.
  /// - Throws: `CompareFailure` with status 1 where the subject or its load is gone.
  func slice(
    _ bench: SliceBench, _ subject: SliceSubject, rate: Double?, warmUp: Double = sliceWarmUp,
    seconds: Double, seed: UInt64, countsCalls: Bool = false
  ) throws(CompareFailure) -> SliceTaken {
    if subject.isParked {
      subject.wake()
      try interruptibleWait.wait(milliseconds: 20)
    }
    let calls = countsCalls ? SystemCallCounter(threads: subject.tree.threads) : nil
    var taken = SliceTaken(before: bench.reading(), details: subject.details())
    let order = LoadSlice(
      rate: rate, gapsAreRandom: options.gapsAreRandom, warmUpNanoseconds: Int64(warmUp * 1e9),
      durationNanoseconds: Int64(seconds * 1e9), seed: seed)
    subject.load.order(order)
    try interruptibleWait.wait(milliseconds: Int64((warmUp + seconds) * 1000))
    let drained = try subject.load.answer(within: 30, interruptibleWait)
    taken.after = bench.reading()
    guard drained != nil, subject.process.isRunning,
      let text = try subject.load.answer(within: 10, interruptibleWait),
      let result = LoadResult(json: text)
    else {
      let who = subject.process.isRunning ? subject.load.process : subject.process
      throw CompareFailure(Self.words("ended in a slice", who), hint: "")
    }
    taken.calls = calls?.count()
    try interruptibleWait.wait(milliseconds: Self.settling)
    taken.finish(result, subject.details(), warmUp: warmUp)
    taken.readFacts(
      result, bench, subject, comparison.machine.proxyProcessors, comparison.machine.processors)
    subject.park()
    return taken
  }

  // MARK: The first look

  /// Everybody's maximum, in requests per second, by name.
  mutating func trySlices(
    _ bench: SliceBench
  ) throws(CompareFailure) -> [(name: String, rate: Double)] {
    var maxima: [(name: String, rate: Double)] = []
    for subject in bench.subjects {
      do {
        // The first one pays for what is touched for the first time.
        _ = try slice(bench, subject, rate: nil, warmUp: 0.2, seconds: 0.3, seed: options.seed)
        let taken = try slice(bench, subject, rate: nil, seconds: 0.5, seed: options.seed)
        var measurement = Measurement()
        measurement.load = taken.load
        judge(&measurement)
        if let failure = measurement.failure {
          trials[subject.index].facts.failure = failure
          printProgress("\(subject.name): skipped: \(failure)")
        } else {
          maxima.append((subject.name, taken.load.completedRate))
        }
      } catch {
        guard error.status == 1 else { throw error }
        trials[subject.index].facts.failure = error.description
        printProgress("\(subject.name): skipped: \(error.description)")
      }
    }
    return maxima
  }

  /// Peers do not say how many system calls they make: they are counted in a slice of each stage.
  mutating func countCallsInSlices(_ bench: SliceBench) throws(CompareFailure) {
    guard countingRefusal == nil else { return }
    for subject in bench.subjects where trials[subject.index].facts.kind == .peer {
      for stage in comparison.stages
      where stage.rate != nil && !stagesForVariantsOnly.contains(stage.name) {
        guard
          let taken = try? slice(
            bench, subject, rate: stage.rate, seconds: 0.2, seed: options.seed, countsCalls: true),
          let calls = taken.calls, taken.load.completedWithWarmUp > 0
        else { continue }
        callsPerRequest[subject.name + " " + stage.name] =
          Double(calls) / Double(taken.load.completedWithWarmUp)
      }
    }
  }

  /// Of a CPU: what a subject may use while it is not asked, before it is stopped for that time.
  static let idleBound = 0.002

  /// Looks at everybody while nobody is asked, and parks those who work all the same.
  mutating func checkIdle(_ bench: SliceBench) throws(CompareFailure) {
    try interruptibleWait.wait(milliseconds: 300)
    let before = bench.reading()
    try interruptibleWait.wait(milliseconds: 500)
    let after = bench.reading()
    for (place, subject) in bench.subjects.enumerated() {
      let used = (after.subjects[place] ?? 0) - (before.subjects[place] ?? 0)
      guard used / 1e9 / after.seconds(since: before) > Self.idleBound else { continue }
      subject.isParked = true
      subject.park()
      comparison.course.parked.append(subject.name)
    }
    if !comparison.course.parked.isEmpty {
      printProgress(
        "stopped between their slices, because they use CPU time when idle: "
          + comparison.course.parked.joined(separator: ", "))
    }
  }

  /// Some slices on two subjects, and what length follows from them.
  mutating func pilot(_ bench: SliceBench) throws(CompareFailure) -> Double {
    let rate = comparison.stages.compactMap(\.rate).min()
    let pair = bench.subjects.filter { trials[$0.index].facts.failure == nil }.prefix(2)
    var latencies: [Double] = []
    for number in 0..<SliceLength.pilotSlices {
      for subject in pair {
        let taken = try slice(
          bench, subject, rate: rate, seconds: SliceLength.shortest,
          seed: options.seed &+ UInt64(number))
        latencies.append(Double(taken.load.latency.p50) / 1e9)
      }
    }
    return SliceLength.choose(latency: Middle.of(latencies) ?? 0, rate: rate)
  }
}
