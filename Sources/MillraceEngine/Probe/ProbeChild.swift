// The child process of the probe: it can be killed by a seccomp filter, hang or crash without
// harm to anybody. It writes what it finds to a pipe and leaves by _exit(2); the parent reads with
// a deadline, kills what is late and always reaps.

import CLinux
import Glibc

enum ProbeChild {
  /// How a child ended.
  enum Ending {
    case exited
    case signalled(Int32)
    /// Killed by the parent at the deadline.
    case hung
    /// There is no child: fork(2) or pipe(2) failed with this errno.
    case notStarted(Int32)

    var isExit: Bool {
      if case .exited = self { true } else { false }
    }
  }

  /// The self-test takes some 5 ms; a machine that swaps takes longer.
  private static let deadlineNanoseconds: Int64 = 2_000_000_000

  /// Runs the probe in a child. Call it before the process has threads: of those only the caller
  /// exists in the child, and locks that others held stay locked there.
  static func run(_ options: EngineOptions) -> (ProbeOutcome, Ending) {
    var options = options
    var (outcome, ending) = runOnce(options)
    // An operation that kills, hangs or misbehaves and that the engine can do without must not
    // cost the engine: try once more without it.
    let blamed = outcome.blamedFeatures(ending)
    if !blamed.isEmpty {
      options.features.subtract(blamed)
      let (first, firstEnding) = (outcome, ending)
      (outcome, ending) = runOnce(options)
      outcome.given = blamed.rawValue
      outcome.givenStep = (firstEnding.isExit ? first.firstFailure?.rawValue : nil) ?? first.step
      outcome.givenResult =
        firstEnding.isExit ? first[ProbeStep(rawValue: outcome.givenStep) ?? .setup] : 0
    }
    return (outcome, ending)
  }

  private static func runOnce(_ options: EngineOptions) -> (ProbeOutcome, Ending) {
    var outcome = ProbeOutcome()
    var ends: (Int32, Int32) = (-1, -1)
    let made = withUnsafeMutableBytes(of: &ends) {
      pipe($0.assumingMemoryBound(to: Int32.self).baseAddress!)
    }
    guard made == 0 else { return (outcome, .notStarted(errno)) }
    _ = fcntl(ends.0, F_SETFD, FD_CLOEXEC)
    _ = fcntl(ends.1, F_SETFD, FD_CLOEXEC)
    let child = clinux_fork()
    if child == 0 {
      Glibc.close(ends.0)
      work(options, ends.1)
    }
    let forkError = errno
    Glibc.close(ends.1)
    defer { Glibc.close(ends.0) }
    guard child > 0 else { return (outcome, .notStarted(forkError)) }
    let late = !collect(from: ends.0, into: &outcome)
    if late { kill(child, SIGKILL) }
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    if late { return (outcome, .hung) }
    let signal = clinux_wtermsig(status)
    return (outcome, signal == 0 ? .exited : .signalled(signal))
  }

  /// Reads outcomes until the child's end. - Returns: false when the deadline came first.
  private static func collect(from pipe: Int32, into outcome: inout ProbeOutcome) -> Bool {
    let limit = SystemClock.monotonicNanoseconds() + deadlineNanoseconds
    while true {
      let left = limit - SystemClock.monotonicNanoseconds()
      guard left > 0 else { return false }
      var readable = pollfd(fd: pipe, events: Int16(POLLIN), revents: 0)
      guard poll(&readable, 1, Int32(left / 1_000_000 + 1)) > 0 else { continue }
      var next = ProbeOutcome()
      // Smaller than PIPE_BUF: each write of the child arrives whole, pipe(7).
      let got = Glibc.read(pipe, &next, MemoryLayout<ProbeOutcome>.size)
      if got == 0 { return true }
      if got == MemoryLayout<ProbeOutcome>.size { outcome = next }
    }
  }

  /// The child's life.
  private static func work(_ options: EngineOptions, _ pipe: Int32) -> Never {
    // The default action of each signal that may end this child: no handler of the parent's may
    // run here, nothing is printed, and no core is dumped.
    for number in [SIGSYS, SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGALRM] {
      _ = signal(number, SIG_DFL)
    }
    var none = rlimit(rlim_cur: 0, rlim_max: 0)
    setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none)
    // Should the parent die, the child does not stay.
    alarm(3)
    let notes = ProbeNotes(pipe)
    for flags in Ring.rungs(options.features, proved: 0, cpu: options.submissionThreadCPU) {
      notes.startRung(flags)
      climb(options, flags, notes)
      if notes.outcome.isUsable { break }
    }
    notes.close()
    _exit(0)
  }

  /// Tries one rung of the ladder: set-up, what the kernel says it can do, a bare entry through
  /// the ring, and then everything through the engine itself.
  private static func climb(_ options: EngineOptions, _ flags: UInt32, _ notes: ProbeNotes) {
    do throws(SystemFailure) {
      var ring = try Ring(
        entries: options.submissionEntries, completions: options.completionEntries,
        flags: flags, threadIdle: options.submissionThreadIdle,
        threadCPU: options.submissionThreadCPU ?? 0)
      notes.end(.setup, 0)
      notes.outcome.kernelFeatures = ring.features
      notes.begin(.operations)
      notes.end(.operations, ProbeOperations.check(ring.descriptor, notes))
      guard notes.outcome[.operations] == 0 else { return }
      notes.begin(.enter)
      notes.end(.enter, enter(&ring))
      guard notes.outcome[.enter] == 0 else { return }
    } catch {
      return notes.end(.setup, -error.code)
    }
    var small = options
    small.setupFlags = flags
    small.frames = 16
    small.smallBuffers = 32
    small.largeBuffers = 4
    notes.begin(.bufferRings)
    do throws(EngineFailure) {
      let engine = try Uring(small)
      notes.end(.bufferRings, 0)
      notes.outcome.active = engine.use.active.rawValue
      notes.outcome.refused = engine.use.refused.rawValue
      var script = ProbeScript(engine)
      script.run(notes)
      // Out of here only by _exit(2): an engine that ends with operations in flight, as after
      // a step that failed, would rightly complain.
      notes.abandoned.append(Unmanaged.passRetained(ProbeScriptBox(script)))
    } catch {
      notes.end(.bufferRings, -error.failure.code)
    }
  }

  private static func enter(_ ring: inout Ring) -> Int32 {
    guard let entry = ring.nextEntry() else { return -EBUSY }
    entry.pointee.opcode = UInt8(CLINUX_OP_NOP)
    entry.pointee.user_data = 42
    let code = ring.enter(wait: 1, timeoutNanoseconds: ProbeScript.stepNanoseconds)
    if code < 0 { return code }
    guard ring.ready == 1 else { return ProbeOutcome.wrong }
    let completion = ring.take()
    ring.commitTaken()
    return completion.user_data == 42 && completion.res == 0 ? 0 : ProbeOutcome.wrong
  }
}
