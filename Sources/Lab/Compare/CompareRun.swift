// The comparison from beginning to end: looks at the machine, sets the setup, tries everybody once,
// chooses the rates, runs the rounds, concludes. It says on standard error what it does; what it found
// is one value. Whatever it starts ends with it.

import Glibc
import MillraceEngine

public struct CompareRun {
  var options: CompareOptions
  let interruptibleWait: InterruptibleWait
  let workspace: Workspace
  var comparison = Comparison()
  var trials: [Trial] = []
  var tools: LabTools
  var timing = Timing()
  /// Stages that only variants go through.
  var stagesForVariantsOnly: Set<String> = []
  /// System calls per request of peers, by subject and stage.
  var callsPerRequest: [String: Double] = [:]
  /// Why system calls of other programs are not counted here; nil: they are.
  var countingRefusal: String?

  /// Runs a comparison. The calling process must have one thread.
  /// - Throws: `CompareFailure` with the exit status that it deserves.
  public static func run(_ options: CompareOptions) throws(CompareFailure) -> Comparison {
    var run = try CompareRun(options)
    return try run.all()
  }

  init(_ options: CompareOptions) throws(CompareFailure) {
    self.options = options
    interruptibleWait = InterruptibleWait()
    workspace = try Workspace(kept: options.keptDirectory)
    tools = LabTools(program: options.program, processors: [])
  }

  mutating func all() throws(CompareFailure) -> Comparison {
    let begun = SystemClock.monotonicNanoseconds()
    comparison.started = RFC3339.text(SystemClock.wallMicroseconds())
    comparison.version = options.version
    comparison.command = options.command
    comparison.seed = options.seed
    comparison.course.decidedBy =
      options.decidedBy.isEmpty
      ? options.earlier?.course.decidedBy ?? [] : options.decidedBy.map(\.text)
    try readTarget()
    try readMachine()
    let (setup, origin) = try prepareSetup()
    defer { origin?.kill() }
    try prepare(setup)
    try checkEarlier()
    if !(try sideBySide(setup, origin: origin, begun)) {
      try runTrials(setup)
      try runRounds(setup)
    }
    comparison.seconds = Double(SystemClock.monotonicNanoseconds() - begun) / 1e9
    comparison.conclude()
    return comparison
  }

  /// All subjects at once, the load moving between them. - Returns: false where rounds are needed.
  private mutating func sideBySide(
    _ setup: Setup, origin: ChildProcess?, _ begun: Int64
  ) throws(CompareFailure) -> Bool {
    guard wantsSlices else {
      comparison.course.method = "rounds"
      comparison.course.reason = "asked for by --rounds, --duration or the earlier run"
      return false
    }
    let bench = try startBench(setup, origin: origin)
    defer { bench.end(interruptibleWait) }
    do throws(NotSideBySide) {
      try checkVariants()
      try checkRoom()
    } catch {
      printProgress("rounds instead of slices: \(error.reason)")
      for index in trials.indices where bench[trials[index].facts.name] == nil {
        if trials[index].facts.kind == .variant { trials[index].facts.failure = nil }
      }
      comparison.course.method = "rounds"
      comparison.course.reason = error.reason
      return false
    }
    printProgress(
      "\(bench.subjects.count) subjects run side by side: \(bench.subjects.map(\.name).joined(separator: ", "))"
    )
    try chooseStages(try trySlices(bench))
    try countCallsInSlices(bench)
    try checkIdle(bench)
    let seconds: Double
    if let repeated = repeatedTiming?.counted {
      seconds = repeated
    } else {
      seconds = try pilot(bench)
    }
    try runSlices(bench, seconds: seconds, started: begun)
    return true
  }

  func printProgress(_ text: String) {
    let bytes = Array((text + "\n").utf8)
    _ = bytes.withUnsafeBytes { write(2, $0.baseAddress!, $0.count) }
  }

  // MARK: Before the first load

  private mutating func readTarget() throws(CompareFailure) {
    guard let text = options.containerProfile else { return }
    do throws(TargetFacts.ProfileError) {
      comparison.target = try TargetFacts(profile: text)
    } catch {
      throw CompareFailure(
        "--container-profile is not a valid target profile: \(error)",
        hint: "write \(TargetFacts.profileExample)", status: 2)
    }
  }

  private mutating func readMachine() throws(CompareFailure) {
    let reading = MachineReading.now(
      proxy: options.proxyProcessors, load: options.loadProcessors, connections: options.connections
    )
    comparison.machine = reading.facts
    comparison.findings = reading.fitness.findings
    // Before any thread exists: the probe forks.
    let probe = ProbeReport.run(EngineOptions())
    let engine = probe.refusal.map { "refused: \($0.detail)" } ?? "on"
    comparison.machine.features["io_uring"] = engine
    for feature in probe.features {
      let cause = feature.cause.isEmpty ? "" : ": \(feature.cause)"
      comparison.machine.features[feature.name] = feature.state.rawValue + cause
    }
    countingRefusal = SystemCallCounter.refusal()
    comparison.machine.settings["system calls of peers"] =
      countingRefusal.map { "not counted: \($0)" }
      ?? "counted in a separate run without timing"
    for finding in comparison.findings {
      printProgress("\(finding.severity.rawValue): \(finding.text)")
    }
    if let refusal = comparison.findings.first(where: { $0.severity == .refusal }) {
      guard options.isForced else {
        throw CompareFailure(
          "this machine is not suitable for a comparison: \(refusal.text)",
          hint: "or run anyway with --force and treat the figures as indicative")
      }
    }
    var load = reading.facts.loadProcessors
    if load.isEmpty { load = reading.facts.processors }
    tools.processors = load
    // This process samples and waits: on the load's CPUs, not on the proxy's.
    ProcessorMask.bindSelf(load)
  }

  private mutating func prepareSetup() throws(CompareFailure) -> (Setup, ChildProcess?) {
    let needsOrigin = options.configurationFile == nil || options.replacesOrigin
    var origin: ChildProcess?
    var address: String?
    if needsOrigin {
      let started = try tools.startOrigin(options.originArguments, workspace, interruptibleWait)
      origin = started.process
      address = started.address
    }
    var setup: Setup
    if let file = options.configurationFile {
      setup = try Setup.given(file, origin: address)
    } else {
      setup = try Setup.made(in: workspace, origin: address ?? "")
    }
    try setup.ask(options.urls)
    setup.workload.loadArguments = loadArguments(setup)
    setup.workload.pacing = options.gapsAreRandom ? "poisson" : "constant"
    setup.workload.originArguments = needsOrigin ? options.originArguments : []
    setup.workload.description += "; \(options.connections) connections"
    if needsOrigin {
      setup.workload.description +=
        ", origin: " + options.originArguments.joined(separator: " ")
    }
    readMentionedFiles(&setup)
    comparison.workload = setup.workload
    return (setup, origin)
  }

  private func loadArguments(_ setup: Setup) -> [String] {
    var arguments = options.loadArguments
    if let host = setup.host { arguments += ["--header", "Host: \(host)"] }
    if setup.usesTLS {
      arguments += setup.authority.map { ["--ca", $0] } ?? ["--insecure"]
    }
    return arguments
  }

  /// A set of requests belongs to the report.
  private func readMentionedFiles(_ setup: inout Setup) {
    let arguments = options.loadArguments
    for (flag, value) in zip(arguments, arguments.dropFirst()) where flag == "--mix" {
      setup.workload.files[value] = TextFile.read(value)
    }
  }

  private mutating func prepare(_ setup: Setup) throws(CompareFailure) {
    let processors =
      comparison.machine.proxyProcessors.isEmpty
      ? comparison.machine.processors : comparison.machine.proxyProcessors
    for variant in options.variants {
      trials.append(
        try Trial.variant(
          variant, setup, workspace, program: options.program, processors: processors))
    }
    for (peer, isTuned) in chosenPeers {
      trials.append(
        try Trial.peer(
          peer, isTuned: isTuned, setup, workspace, processors: processors,
          connections: options.connections,
          speaksHTTP2: options.loadArguments.contains("--http2")))
    }
    for index in trials.indices { readVersion(&trials[index]) }
  }

  private var chosenPeers: [(Peer, Bool)] {
    let peers: [Peer]
    switch options.peers {
    case .none: peers = []
    case .found: peers = options.isQuick ? [] : Peer.all.filter { $0.path != nil }
    case .named(let names): peers = names.compactMap { Peer.named($0) }
    }
    return peers.flatMap { peer in
      (options.measuresDefaults ? [(peer, false)] : [])
        + (options.measuresTuned ? [(peer, true)] : [])
    }
  }

  /// What the program says its version is.
  private func readVersion(_ trial: inout Trial) {
    guard trial.facts.failure == nil else { return }
    if trial.facts.kind == .variant && trial.facts.program == options.program {
      trial.facts.version = options.version
      return
    }
    let peer = Peer.all.first { trial.facts.name.hasPrefix($0.name) }
    let output = workspace.path("version.log")
    _ = unlink(output)
    guard
      let asked = try? ChildProcess(
        Launch(
          command: [trial.facts.program] + (peer?.versionArguments ?? ["--version"]), output: output
        ))
    else { return }
    _ = try? interruptibleWait.wait(seconds: 5) { !asked.isRunning }
    trial.facts.version = asked.lastLines(100).first { !$0.isEmpty } ?? "unknown"
  }

  // MARK: The first look

  /// Everybody once at their maximum: who does not work leaves here, and the rates follow from what
  /// the others reach.
  private mutating func runTrials(_ setup: Setup) throws(CompareFailure) {
    var maximum = StageFacts()
    maximum.name = "maximum"
    maximum.reason = "closed loop: each connection sends the next request after the response"
    chooseTiming(stages: 3, peerStages: 2)
    var maxima: [(name: String, rate: Double)] = []
    for index in trials.indices where trials[index].facts.failure == nil {
      let turn = Turn(round: 0, stage: maximum.name, subject: trials[index].facts.name)
      var trial = trials[index]
      let measured = try measure(&trial, turn, maximum, setup)
      trials[index] = trial
      if let failure = measured.failure {
        trials[index].facts.failure = failure
        printProgress("\(turn.subject): skipped: \(failure)")
      } else {
        maxima.append((turn.subject, measured.load.completedRate))
        rehearsed(measured)
      }
    }
    try chooseStages(maxima)
    try countCalls(setup)
    let peerStages = comparison.stages.count - stagesForVariantsOnly.count
    chooseTiming(stages: comparison.stages.count, peerStages: peerStages)
  }

  /// The baseline, and the stages that follow from everybody's maximum.
  mutating func chooseStages(
    _ maxima: [(name: String, rate: Double)]
  ) throws(CompareFailure) {
    var maximum = StageFacts()
    maximum.name = "maximum"
    maximum.reason = "closed loop: each connection sends the next request after the response"
    let variants = names(.variant)
    guard !variants.isEmpty else {
      comparison.subjects = trials.map(\.facts)
      let why = trials.first { $0.facts.kind == .variant }?.facts.failure ?? "none was requested"
      throw CompareFailure(
        "no variant of Millrace could be measured: \(why)", hint: "check its log",
        status: failedSinceEarlier ? 3 : 1)
    }
    comparison.baseline = variants.first { $0 == "epoll" } ?? variants[0]
    let rates = rateStages(maxima, variants)
    comparison.stages = [maximum] + rates.map(\.stage)
    stagesForVariantsOnly = Set(rates.filter(\.variantsOnly).map(\.stage.name))
    for stage in comparison.stages where stage.rate != nil {
      printProgress(
        "stage \(stage.name): \(Int(stage.rate ?? 0)) requests per second, \(stage.reason)")
    }
  }

  /// Peers do not say how many system calls they make: they are counted once per rate, too.
  private mutating func countCalls(_ setup: Setup) throws(CompareFailure) {
    guard countingRefusal == nil else { return }
    for index in trials.indices
    where trials[index].facts.kind == .peer && trials[index].facts.failure == nil {
      for stage in comparison.stages
      where stage.rate != nil && !stagesForVariantsOnly.contains(stage.name) {
        var trial = trials[index]
        let turn = Turn(round: 0, stage: stage.name, subject: trial.facts.name)
        rehearsed(try measure(&trial, turn, stage, setup))
      }
    }
  }

  private mutating func rehearsed(_ measured: Measurement) {
    guard let calls = measured.systemCalls, measured.requestsInTime > 0 else { return }
    callsPerRequest[measured.subject + " " + measured.stage] =
      Double(calls) / measured.requestsInTime
  }

  func names(_ kind: SubjectFacts.Kind) -> [String] {
    trials.filter { $0.facts.kind == kind && $0.facts.failure == nil }.map(\.facts.name)
  }

  /// What was asked for; the rest so that it fits five minutes, or one.
  mutating func chooseTiming(stages: Int, peerStages: Int) {
    let variants = names(.variant).count
    let peers = names(.peer).count
    let budget = options.isQuick ? 50.0 : Timing.budget
    timing = Timing.fitting(
      variants: variants, peers: peers, stages: stages, peerStages: peerStages, budget: budget)
    if options.isQuick {
      timing = Timing(rounds: 5, peerRounds: 5, duration: 1.0, warmUp: 0.3)
    }
    if let duration = options.duration {
      timing.duration = duration
      timing.warmUp = max(0.3, min(2, duration / 4))
    }
    if let repeated = repeatedTiming {
      (timing.duration, timing.warmUp) = (repeated.counted, repeated.warmUp)
    }
    if let rounds = options.rounds {
      timing.rounds = rounds
      timing.peerRounds = rounds
    }
    comparison.workload.countedSeconds = timing.duration
    comparison.workload.warmUpSeconds = timing.warmUp
    comparison.machine.settings["rounds"] = "\(timing.rounds), peers in \(timing.peerRounds)"
    comparison.machine.settings["seconds per measurement"] =
      "\(Decimals.text(timing.warmUp, places: 1)) of warm-up, then"
      + " \(Decimals.text(timing.duration, places: 1)) measured"
  }

  // MARK: The rounds

  private mutating func runRounds(_ setup: Setup) throws(CompareFailure) {
    let all = comparison.stages.map(\.name)
    let forPeers = all.filter { !stagesForVariantsOnly.contains($0) }
    let peers = names(.peer)
    let turns = Schedule.turns(
      seed: options.seed, rounds: timing.rounds, peerRounds: timing.peerRounds,
      variants: names(.variant), peers: peers
    ) { peers.contains($0) ? forPeers : all }
    let one = timing.duration + timing.warmUp + Timing.overhead
    printProgress("\(turns.count) measurements, about \(Int(one * Double(turns.count))) seconds")
    for (number, turn) in turns.enumerated() {
      guard let index = trials.firstIndex(where: { $0.facts.name == turn.subject }),
        let stage = comparison.stages.first(where: { $0.name == turn.stage })
      else { continue }
      var trial = trials[index]
      var measured = try measure(&trial, turn, stage, setup)
      trials[index] = trial
      if let calls = callsPerRequest[measured.subject + " " + measured.stage] {
        measured.systemCalls = Int((calls * measured.requestsInTime).rounded())
      }
      comparison.measurements.append(measured)
      printProgress(progress(number + 1, of: turns.count, measured))
    }
    comparison.subjects = trials.map(\.facts)
  }

  private func progress(_ number: Int, of count: Int, _ measured: Measurement) -> String {
    let start = "[\(number)/\(count)] \(measured.subject), \(measured.stage):"
    if let failure = measured.failure { return "\(start) \(failure)" }
    let requests = max(1, measured.requestsInTime)
    let cpu = Decimals.text(measured.processSeconds / requests * 1e6, places: 1)
    let p99 = Decimals.text(Double(measured.load.latency.p99) / 1e6, places: 2)
    let busy = Decimals.text(measured.proxyBusy * 100, places: 0)
    return
      "\(start) \(Int(measured.load.completedRate)) requests/s, p99 \(p99) ms, \(cpu) µs CPU per"
      + " request, proxy CPU \(busy)% busy"
  }
}
