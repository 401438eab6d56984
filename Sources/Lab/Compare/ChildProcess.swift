// One process that the comparison started: pinned, in a group of its own, its output in a file. It
// ends with this value, and with the comparison itself even where that is killed (PR_SET_PDEATHSIG),
// so that no proxy outlives the measurement. It decides nothing about what runs.

import CLinux
import Glibc
import Metrics
import MillraceEngine

/// What a process is started with.
struct Launch {
  /// The program's path first.
  var command: [String]
  /// Added to this process's environment.
  var environment: [(name: String, value: String)] = []
  /// nil: the directory of this process.
  var directory: String?
  /// Both outputs are appended to this file.
  var output: String
  /// CPUs that it may run on; empty: those of this process.
  var processors: [Int] = []
  /// Whether it has a session of its own, which the kernel schedules as a group of its own (autogroup, sched(7)).
  var hasSession = false
  /// Where the process is to keep its metrics, for a program that can.
  var metrics: MetricFile?
}

/// A running or ended process.
final class ChildProcess {
  let launch: Launch
  let pid: Int32
  /// How it ended, once it has: the exit code, or 128 and the number of the signal, as shells say it.
  private(set) var status: Int32?

  /// Starts a program.
  /// - Throws: `CompareFailure` with the cause.
  init(_ launch: Launch) throws(CompareFailure) {
    self.launch = launch
    let output = open(launch.output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    guard output >= 0 else {
      throw CompareFailure(
        "cannot write \(launch.output): \(String(cString: strerror(errno)))",
        hint: "choose another directory with --keep")
    }
    defer { close(output) }
    let pid = Self.spawnWithMetrics(launch, output)
    guard pid > 0 else {
      throw CompareFailure(
        "cannot start \(launch.command[0]): \(String(cString: strerror(-pid)))",
        hint: "make sure that it exists and is executable")
    }
    self.pid = pid
  }

  deinit { kill() }

  private static func spawnWithMetrics(_ launch: Launch, _ output: Int32) -> Int32 {
    guard let metrics = launch.metrics else { return spawn(launch, output) }
    var launch = launch
    launch.environment.append((MetricFile.variable, "\(metrics.descriptor)"))
    return metrics.handingOver { spawn(launch, output) }
  }

  private static func spawn(_ launch: Launch, _ output: Int32) -> Int32 {
    let words = ProcessorMask.words(launch.processors)
    return withCStrings(launch.command) { arguments in
      withCStrings(mergedEnvironment(launch.environment)) { environment in
        withOptionalCString(launch.directory) { directory in
          words.withUnsafeBufferPointer { cpus in
            var request = clinux_launch()
            request.argv = UnsafePointer(arguments)
            request.environment = UnsafePointer(environment)
            request.directory = directory
            request.output = output
            request.cpus = cpus.baseAddress
            request.cpu_words = launch.processors.isEmpty ? 0 : Int32(cpus.count)
            // All that is started here, nginx's master too, ends in order at SIGTERM.
            request.death_signal = SIGTERM
            request.new_session = launch.hasSession ? 1 : 0
            return clinux_spawn(&request)
          }
        }
      }
    }
  }

  /// Whether it still runs; reaps it if it does not.
  var isRunning: Bool {
    guard status == nil else { return false }
    var raw: Int32 = 0
    let got = waitpid(pid, &raw, WNOHANG)
    if got == 0 { return true }
    if got < 0 && errno == EINTR { return true }
    let signal = clinux_wtermsig(raw)
    status = got < 0 ? -1 : signal != 0 ? 128 + signal : clinux_wexitstatus(raw)
    return false
  }

  func send(_ signal: Int32) {
    if isRunning { _ = Glibc.kill(pid, signal) }
  }

  /// SIGKILL to the whole group, and waits for the process.
  func kill() {
    // The group may outlive its leader: nginx's workers do for a moment.
    _ = Glibc.kill(-pid, SIGKILL)
    guard status == nil else { return }
    var raw: Int32 = 0
    while waitpid(pid, &raw, 0) < 0 && errno == EINTR {}
    status = 128 + SIGKILL
  }

  /// The last lines of what it wrote, for messages.
  func lastLines(_ count: Int = 6) -> [String] {
    let lines = TextFile.read(launch.output).split(separator: "\n")
    return lines.suffix(count).map(String.init)
  }

  private static func mergedEnvironment(_ added: [(name: String, value: String)]) -> [String] {
    var lines: [String] = []
    var at = environ
    while let entry = at.pointee {
      let line = String(cString: entry)
      if !added.contains(where: { line.hasPrefix($0.name + "=") }) { lines.append(line) }
      at += 1
    }
    return lines + added.map { "\($0.name)=\($0.value)" }
  }
}

/// CPUs as the bits that sched_setaffinity(2) takes.
enum ProcessorMask {
  static func words(_ processors: [Int]) -> [UInt64] {
    // As many CPUs as glibc's cpu_set_t holds: 1024.
    var words = [UInt64](repeating: 0, count: 16)
    for cpu in processors where cpu >= 0 && cpu < 1024 {
      words[cpu / 64] |= 1 << UInt64(cpu % 64)
    }
    return words
  }

  /// Binds the calling thread.
  static func bindSelf(_ processors: [Int]) {
    let words = words(processors)
    _ = clinux_set_affinity(words, Int32(words.count))
  }
}

private func withCStrings<Result>(
  _ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result
) -> Result {
  let copies = strings.map { strdup($0) }
  defer { for copy in copies { free(copy) } }
  let pointers = copies.map { UnsafePointer($0) } + [nil]
  return pointers.withUnsafeBufferPointer { body($0.baseAddress!) }
}

private func withOptionalCString<Result>(
  _ text: String?, _ body: (UnsafePointer<CChar>?) -> Result
) -> Result {
  guard let text else { return body(nil) }
  return text.withCString { body($0) }
}
