// Broken preconditions trap, and a trap ends a process: so each is tried in a child that a fork
// makes, which needs no second start of the test bundle and can take along whatever a script has. The
// same for scripts that change what concerns the whole process.

import CLinux
import Glibc
import MillraceEngine
import Testing

/// Demands that `body` traps. An error on the way there, like coming to its end, is no trap.
///
/// - Parameter prepare: what must work before; its failure is no trap either, and neither is what
///   the engine does in two turns after it.
func traps(
  _ kind: EngineKind, _ options: EngineOptions = Harness.options,
  at location: SourceLocation = #_sourceLocation,
  before prepare: (Harness) throws -> Void = { _ in }, _ body: (Harness) throws -> Void
) async {
  let child = clinux_fork()
  if child == 0 {
    silence()
    runToItsEnd(kind, options, prepare, body)
  }
  guard child > 0 else {
    Issue.record("fork: errno \(errno)", sourceLocation: location)
    return
  }
  var status: Int32 = 0
  waitpid(child, &status, 0)
  let signal = status & 0x7F
  #expect(
    signal == SIGILL || signal == SIGTRAP || signal == SIGABRT,
    "\(kind.rawValue) did not trap: wait status \(status)", sourceLocation: location)
}

/// Runs a script in a child of its own, for what concerns a whole process: that it is stopped, or may
/// not make a system call. A child that stops is continued.
func inChild(
  _ kind: EngineKind, _ options: EngineOptions = Harness.options,
  at location: SourceLocation = #_sourceLocation, _ body: (Harness) throws -> Void
) {
  let child = clinux_fork()
  if child == 0 {
    silence()
    runToItsEnd(kind, options, { _ in }, body)
  }
  guard child > 0 else {
    Issue.record("fork: errno \(errno)", sourceLocation: location)
    return
  }
  var status: Int32 = 0
  while waitpid(child, &status, WUNTRACED) == child, status & 0xFF == 0x7F { kill(child, SIGCONT) }
  #expect(status == 0, "\(kind.rawValue): wait status \(status)", sourceLocation: location)
}

/// Fails unless a condition of a child's script holds, and says on standard output where.
func demand(_ condition: Bool, file: String = #fileID, line: Int = #line) throws {
  if condition { return }
  let text = "child: \(file):\(line) does not hold\n"
  _ = Glibc.write(1, text, text.utf8.count)
  throw HarnessFailure(text)
}

/// No words on the terminal and no backtrace: the parent reads the signal.
private func silence() {
  for number in [SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS] { signal(number, SIG_DFL) }
  let null = Glibc.open("/dev/null", O_WRONLY)
  dup2(null, 2)
  // A child that hangs instead of trapping is ended, by a signal that is none of a trap's.
  alarm(20)
}

/// The child's whole life. Statuses from 2 on tell a reader how far it came.
private func runToItsEnd(
  _ kind: EngineKind, _ options: EngineOptions, _ prepare: (Harness) throws -> Void,
  _ body: (Harness) throws -> Void
) -> Never {
  guard let harness = try? Harness(kind, options) else { _exit(2) }
  // An engine that ends with operations in flight would trap for another reason.
  _ = Unmanaged.passRetained(harness)
  do {
    try prepare(harness)
  } catch {
    _exit(3)
  }
  for _ in 0..<2 { harness.turn(within: 1) }
  do {
    try body(harness)
  } catch {
    _exit(4)
  }
  _exit(0)
}
