// Counts what ran, so that the suite can say how large it is and how much of it is about failure,
// and so that a test that calls itself one about failure has to show one.

import Glibc
import MillraceEngine
import Synchronization
import Testing

extension Tag {
  /// The test is about something that goes wrong: refused, reset, cancelled, short, full, missing,
  /// used up, or a precondition that traps.
  @Tag static var failure: Self
}

/// Counts each test of the suite that it is given to.
struct Counted: SuiteTrait, TestTrait, TestScoping {
  var isRecursive: Bool { true }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    if !test.isSuite { TestCount.count(test) }
    try await function()
  }
}

enum TestCount {
  private struct State {
    var cases = 0
    var tests: Set<String> = []
    var failures: Set<String> = []
    var runs: [EngineKind: Int] = [:]
    var refused: [String] = []
  }

  private static let state = Mutex(State())
  private static let printsAtExit: Void = { atexit { TestCount.printLine() } }()

  static func count(_ test: Test) {
    _ = printsAtExit
    state.withLock {
      $0.cases += 1
      $0.tests.insert("\(test.id)")
      if test.tags.contains(.failure) { $0.failures.insert("\(test.id)") }
    }
  }

  /// A script has come to its end.
  static func note(_ harness: Harness) {
    state.withLock { $0.runs[harness.engine.kind, default: 0] += 1 }
    guard let test = Test.current, test.tags.contains(.failure) else { return }
    let counters = harness.engine.counters
    let refused =
      counters.frameRefusals + counters.connectionsRefused + counters.operationsRefused
      + counters.slotRefusals + counters.registeredBufferRefusals + counters.receivesStarved
      + counters.completionQueueOverflows
    if !harness.engine.transcript.hasFailure && refused == 0 && !harness.showedFailure {
      Issue.record("\(test.name) is said to be about a failure and has shown none")
    }
  }

  /// A feature that this run was to switch on, and that the kernel does not have.
  static func noteRefused(_ feature: String) { state.withLock { $0.refused.append(feature) } }

  /// The one line that scripts/test and scripts/test-features read.
  private static func printLine() {
    state.withLock { state in
      let runs = EngineKind.allCases.compactMap { kind in
        state.runs[kind].map { "\(kind.rawValue)=\($0)" }
      }
      let text =
        "contract: tests=\(state.tests.count) failures=\(state.failures.count) "
        + "cases=\(state.cases) scripts=\(Transcripts.scripts) "
        + "compared=\(Transcripts.compared) \(runs.joined(separator: " "))"
        + (state.refused.isEmpty ? "\n" : " refused=\(state.refused.joined(separator: ","))\n")
      // A line of its own at the very end, behind the runner's last word.
      _ = text.utf8CString.withUnsafeBytes { Glibc.write(1, $0.baseAddress, $0.count - 1) }
    }
  }
}
