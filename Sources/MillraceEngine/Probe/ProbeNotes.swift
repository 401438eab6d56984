// The child's notebook: what it tries and what comes of it, told to the parent at once, because
// the next step may be its last.

import CLinux
import Glibc

final class ProbeNotes {
  var outcome = ProbeOutcome()
  /// The rung that came furthest so far, of those that failed: the one to speak of.
  private var furthest: ProbeOutcome?
  private let pipe: Int32
  /// Engines of the rungs that were tried: operations of theirs may still be in flight.
  var abandoned: [Unmanaged<ProbeScriptBox>] = []

  init(_ pipe: Int32) { self.pipe = pipe }

  func startRung(_ flags: UInt32) {
    keepFurthest()
    let timedOut = outcome.timedOut
    outcome = ProbeOutcome()
    outcome.timedOut = timedOut
    outcome.setupFlags = flags
    begin(.setup)
  }

  func begin(_ step: ProbeStep) {
    outcome.step = step.rawValue
    tell()
  }

  func end(_ step: ProbeStep, _ result: Int32) {
    outcome[step] = result
    if result == -ETIME { outcome.timedOut = true }
    tell()
  }

  /// Tells the final word.
  func close() {
    if outcome.isUsable {
      outcome.step = ProbeStep.finished.rawValue
    } else {
      keepFurthest()
      let timedOut = outcome.timedOut
      if let furthest { outcome = furthest }
      outcome.timedOut = timedOut
    }
    tell()
  }

  private func keepFurthest() {
    guard outcome.setupFlags != 0, outcome.step >= furthest?.step ?? 0 else { return }
    furthest = outcome
  }

  private func tell() {
    ProbeProcess.tell(outcome, pipe)
  }
}

/// Keeps a failed rung's engine until the child's end.
final class ProbeScriptBox {
  let script: ProbeScript
  init(_ script: consuming ProbeScript) { self.script = script }
}
