// The child that makes the real engine, in the real sizes, and has it do each thing once that it will rely
// on. Which optional features it may use has been found out before: see FeatureTrials.

import CLinux
import Glibc

enum ProbeChild {
  /// The self-test takes some 5 ms; a machine that swaps takes longer.
  private static let deadlineNanoseconds: Int64 = 2_000_000_000

  /// Runs the probe in a child. Call it before the process has threads: of those only the caller
  /// exists in the child, and locks that others held stay locked there.
  static func run(
    _ options: EngineOptions,
    once: (EngineOptions) -> (ProbeOutcome, ProbeProcess.Ending) = { runOnce($0) }
  ) -> (ProbeOutcome, ProbeProcess.Ending) {
    var options = options
    var (outcome, ending) = once(options)
    // A process that is not scheduled for a while looks like a kernel that does not answer.
    if outcome.hasTimedOut(ending) { (outcome, ending) = once(options) }
    // An operation that kills, hangs or misbehaves and that the engine can do without must not
    // cost the engine: try once more without it.
    let blamed = outcome.blamedFeatures(ending)
    if !blamed.isEmpty {
      options.features.subtract(blamed)
      let (first, firstEnding) = (outcome, ending)
      (outcome, ending) = once(options)
      outcome.given = blamed.rawValue
      outcome.givenStep = (firstEnding.isExit ? first.firstFailure?.rawValue : nil) ?? first.step
      outcome.givenResult =
        firstEnding.isExit ? first[ProbeStep(rawValue: outcome.givenStep) ?? .setup] : 0
    }
    return (outcome, ending)
  }

  private static func runOnce(_ options: EngineOptions) -> (ProbeOutcome, ProbeProcess.Ending) {
    var outcome = ProbeOutcome()
    let ending = ProbeProcess.run(
      silenceNanoseconds: deadlineNanoseconds,
      deadline: SystemClock.monotonicNanoseconds() + deadlineNanoseconds,
      hear: { outcome = $0 }, work: { work(options, $0) })
    return (outcome, ending)
  }

  /// The child's life.
  private static func work(_ options: EngineOptions, _ pipe: Int32) {
    let notes = ProbeNotes(pipe)
    let wanted = options.features.subtracting(options.refusedFeatures)
    for flags in Ring.rungs(wanted, proved: 0, cpu: options.submissionThreadCPU) {
      notes.startRung(flags)
      climb(options, flags, notes)
      if notes.outcome.isUsable { break }
    }
    notes.close()
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
    ring.publish()
    // The kernel's thread (SQPOLL) sleeps at once where its first look finds nothing, whatever its idle
    // time is: without a wake this entry would wait for ever, every other time.
    let extra = ring.hasThread && ring.threadSleeps ? UInt32(CLINUX_ENTER_SQ_WAKEUP) : 0
    let code = ring.enter(
      wait: 1, timeoutNanoseconds: ProbeScript.stepNanoseconds, extra: extra)
    if code < 0 { return code }
    guard ring.ready == 1 else { return ProbeOutcome.wrong }
    let completion = ring.take()
    ring.commitTaken()
    return completion.user_data == 42 && completion.res == 0 ? 0 : ProbeOutcome.wrong
  }
}
