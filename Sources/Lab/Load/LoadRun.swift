// A load run as a whole: chooses the engine, starts the threads, gives the start when all connections
// stand, shows the course to whoever watches, and adds up what the threads have counted.

import Glibc
import MillraceEngine
import Synchronization
import TLS

/// A load run.
public struct LoadRun: Sendable {
  let plan: LoadPlan
  let board: LoadBoard
  private let probe: ProbeReport?
  private let options: EngineOptions
  private let epoll: EngineOptions

  /// Prepares a run. Tries io_uring in a forked child (some 5 ms) unless the plan says epoll: call it
  /// before the process has other threads.
  /// - Parameter isSliced: the run is a sequence of slices, by `runSlices`.
  public init(_ plan: LoadPlan, isSliced: Bool = false) {
    var plan = plan
    plan.connections = max(1, plan.connections)
    plan.threads = max(1, min(plan.threads, plan.connections))
    var options = EngineOptions()
    options.descriptorLimit = min(DescriptorLimit.raise(), 1 << 20)
    options.largeBuffers = 64
    self.plan = plan
    epoll = options
    probe = plan.engine == .epoll ? nil : ProbeReport.run(reducing: &options)
    if let probe, probe.usable {
      options.setupFlags = probe.setupFlags
      options.features.formIntersection(probe.provenFeatures)
    }
    self.options = options
    board = LoadBoard(threads: plan.threads, desk: isSliced ? SliceDesk() : nil)
  }

  /// Ends the run early, from any thread: what was counted until then is the result.
  public func stop() {
    board.stops.store(true, ordering: .releasing)
    board.wakeAll()
  }

  /// Runs the plan. Blocks until its end.
  /// - Parameters:
  ///   - warn: given a line that says so where another engine, or smaller rings, are used than usual.
  ///   - observe: called on this thread about four times a second.
  /// - Throws: why there is no result: nothing to ask, no engine, or a server that cannot be reached.
  public func run(
    warn: (String) -> Void = { _ in }, observe: (LoadSnapshot) -> Void
  ) throws(LoadFailure) -> LoadResult {
    try runCourse(warn: warn) { _ in watch(observe) }
  }

  /// Runs slices as they are ordered, until there are no more. - Precondition: made with `isSliced`.
  /// - Throws: as `run`.
  public func runSlices(
    warn: (String) -> Void = { _ in }, _ service: LoadSliceService
  ) throws(LoadFailure) {
    guard let desk = board.desk else { preconditionFailure("a run that is not sliced") }
    _ = try runCourse(warn: warn) { serve(service, desk, $0) }
  }

  private func runCourse(
    warn: (String) -> Void, course: (EngineKind) -> Void
  ) throws(LoadFailure) -> LoadResult {
    var attempts = try chooseEngine()
    try check()
    let source = PacingSource(plan)
    let tallies = TallyBox(count: plan.threads)
    while true {
      let gate = EngineGate(count: plan.threads)
      let threads = startThreads(attempts, gate, source, tallies)
      if let failure = gate.result() {
        gate.close()
        for thread in threads { thread.join() }
        guard attempts.next(after: failure) else {
          throw LoadFailure(
            "cannot create the engine of a load thread: "
              + (attempts.refusal.map { "\($0)" } ?? "\(failure)"))
        }
        continue
      }
      if let note = attempts.note { warn(note) }
      gate.open()
      course(attempts.kind)
      for thread in threads { thread.join() }
      if let reason = board.whyRefused { throw LoadFailure(reason) }
      return tallies.result(plan, attempts.kind, board)
    }
  }

  private func startThreads(
    _ attempts: EngineAttempts, _ gate: EngineGate, _ source: PacingSource, _ tallies: TallyBox
  ) -> [WorkerThread] {
    var threads: [WorkerThread] = []
    let kind = attempts.kind
    for i in 0..<plan.threads {
      let parameters = LoadThreadParameters(
        plan, source, board, index: i, of: plan.threads, attempts.options)
      let processors = plan.processors
      let cpu = processors.isEmpty ? nil : processors[i % processors.count]
      do throws(SystemFailure) {
        threads.append(
          try WorkerThread.start(name: "load \(i)", cpu: cpu) {
            LoadThread.run(kind, parameters, gate, tallies)
          })
      } catch {
        gate.fail(kind, error)
      }
    }
    return threads
  }

  private func chooseEngine() throws(LoadFailure) -> EngineAttempts {
    let threads = plan.threads
    guard let probe else {
      return EngineAttempts(.epoll, epoll, threads: threads, orEpollWith: nil)
    }
    if probe.usable {
      return EngineAttempts(
        .uring, options, threads: threads, orEpollWith: plan.engine == .uring ? nil : epoll)
    }
    guard plan.engine == .uring else {
      return EngineAttempts(
        .epoll, epoll, threads: threads, orEpollWith: nil,
        because: probe.refusal?.label == "ENOMEM" ? probe.refusal : nil)
    }
    let refusal = probe.refusal
    throw LoadFailure(
      """
      io_uring was requested but is not available: \(refusal?.detail ?? "unknown"). \
      \(refusal?.hint ?? "") Or use --engine epoll.
      """)
  }

  private func check() throws(LoadFailure) {
    guard !plan.servers.isEmpty, plan.requests.contains(where: { $0.weight > 0 }) else {
      throw LoadFailure("no URL; give at least one")
    }
    var asked = Set<Int>()
    for request in plan.requests where request.weight > 0 { asked.insert(request.server) }
    let needed = (plan.connections + 128) / plan.threads
    guard needed <= options.descriptorLimit else {
      throw LoadFailure(
        """
        \(plan.connections) connections need more descriptors than the limit of \(options.descriptorLimit) \
        (RLIMIT_NOFILE); raise it (ulimit -n) or use fewer connections
        """)
    }
    guard plan.connections - plan.slowReaders >= asked.count * plan.threads else {
      throw LoadFailure(
        """
        \(plan.connections) connections (\(plan.slowReaders) of them slow readers) are too few: each \
        of \(plan.threads) threads needs one for each of \(asked.count) servers
        """)
    }
  }

  // MARK: Watching

  /// Gives the start, and looks at the course until all threads have ended.
  private func watch(_ observe: (LoadSnapshot) -> Void) {
    /// A thread that has ended is noticed this soon.
    let pause: UInt32 = 5_000
    var startAt: Int64 = 0
    var nextLook = SystemClock.monotonicNanoseconds() + LoadQuarter.nanoseconds
    while board.finished.load(ordering: .acquiring) < plan.threads {
      Pause.microseconds(pause)
      let now = SystemClock.monotonicNanoseconds()
      if startAt == 0 && board.settled.load(ordering: .acquiring) == plan.threads {
        if board.whyRefused != nil {
          stop()
        } else {
          // Time for every thread to wake up before the first moment.
          startAt = now + 2_000_000
          board.startAt.store(startAt, ordering: .releasing)
          board.wakeAll()
        }
      }
      if now >= nextLook {
        nextLook = max(nextLook + LoadQuarter.nanoseconds, now)
        observe(snapshot(now, startAt))
      }
    }
  }

  private func snapshot(_ now: Int64, _ startAt: Int64) -> LoadSnapshot {
    var snapshot = LoadSnapshot()
    snapshot.nanosecondsLeft = plan.warmUpNanoseconds + plan.durationNanoseconds
    guard startAt > 0 else { return snapshot }
    let elapsed = max(0, now - startAt)
    snapshot.elapsedNanoseconds = elapsed
    snapshot.nanosecondsLeft = max(0, snapshot.nanosecondsLeft - elapsed)
    snapshot.phase =
      elapsed < plan.warmUpNanoseconds
      ? .warmUp : snapshot.nanosecondsLeft > 0 ? .counting : .finishing
    board.withCourse { course in
      snapshot.sent = course.sent
      snapshot.completed = course.completed
      snapshot.failed = course.failed
      snapshot.rate = course.rate
      snapshot.p50 = course.p50
      snapshot.p99 = course.p99
    }
    return snapshot
  }
}
