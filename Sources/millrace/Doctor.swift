// `millrace doctor`: the self-tests that `run` starts with, of every feature, for a person to read.

import ArgumentParser
import MillraceEngine

struct Doctor: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Tests which kernel features the engines can use here.",
    discussion: """
      Uses each optional feature once, in a child process, so that a killing seccomp filter does no \
      harm; then tests every io_uring operation that the proxy relies on. Run it where the proxy \
      will run: in its container, as its user. It uses default ring sizes; `run` uses those of its \
      configuration. The last line says which engine `auto` selects.

      Exit status: 0 io_uring works here, 1 it does not and `engine: auto` would select \
      epoll.
      """,
    version: Version.text)

  @Flag(help: "Show the duration of each self-test.")
  var times = false

  @Flag(help: "Show the steps of the self-test too.")
  var verbose = false

  mutating func run() throws {
    let everything = EngineFeatures.all.reduce(into: EngineFeatures()) { $0.formUnion($1.feature) }
    let start = SystemClock.monotonicNanoseconds()
    let report = ProbeReport.run(EngineOptions(), also: everything)
    let took = SystemClock.monotonicNanoseconds() - start
    print(report.text(steps: verbose))
    if times { show(report.trials, total: took) }
    print(
      report.usable
        ? "engine: auto selects io_uring"
        : "engine: auto selects epoll (\(report.refusal?.label ?? "unknown"))")
    if !report.usable { throw ExitCode(1) }
  }

  private func show(_ trials: FeatureTrials, total: Int64) {
    print("microseconds:")
    for trial in trials.results {
      let name = trial.engine == .epoll ? "epoll \(trial.name)" : trial.name
      let pad = String(repeating: " ", count: max(1, 24 - name.count))
      print("  \(name)\(pad)\(trial.nanoseconds / 1000)")
    }
    print("  total                   \(total / 1000)")
  }
}
