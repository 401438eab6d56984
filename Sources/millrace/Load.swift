// `millrace load`: from arguments to a plan, a run with somebody watching, and its results.

import ArgumentParser
import Configuration
import Glibc
import Lab
import MillraceEngine

struct Load: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Generates HTTP load and measures latency from the planned send time of each request.",
    discussion: """
      Maximum rate:      millrace load http://127.0.0.1:8080/
      Fixed rate:        millrace load --rate 20000 http://127.0.0.1:8080/
      Ten requests:      millrace load --requests 10 http://127.0.0.1:8080/
      Replay of a log:   millrace load --replay access.log --speed 2 http://…
      In a test:         millrace load --rate 500 --expect 'p99<5ms' https://…

      With --rate, latency is measured from the planned send time of each request, even if the load \
      generator had to delay it (no coordinated omission). See docs/lab.md.

      Exit status: 0 success, 1 could not run, 2 invalid file or flag, 3 an expectation failed, \
      64 invalid command-line arguments, 130 interrupted (the results so far are printed).
      """,
    version: Version.text)

  @Argument(help: "URLs: http://HOST:PORT/PATH, https://…, unix:/PATH.sock:/PATH.")
  var urls: [String] = []

  @OptionGroup(title: "Pace") var pace: LoadPaceOptions
  @OptionGroup(title: "Connections") var connection: LoadConnectionOptions
  @OptionGroup(title: "Requests") var request: LoadRequestOptions
  @OptionGroup(title: "Results") var output: LoadOutputOptions

  mutating func run() throws {
    var problems: [Problem] = []
    var plan = LoadPlan()
    pace.apply(to: &plan, &problems)
    connection.apply(to: &plan, &problems)
    let notes = request.apply(to: &plan, urls, pace, &problems)
    let expectations = output.expectations(&problems)
    if Reporting.hasErrors(problems) { throw Reporting.fail(problems) }
    for note in notes { Reporting.print(note) }
    if let path = pace.slices { return try serveSlices(plan, path) }
    let result = try measure(plan)
    try deliver(result.result, expectations, wasInterrupted: result.wasInterrupted)
  }

  private func measure(_ plan: LoadPlan) throws -> (result: Lab.LoadResult, wasInterrupted: Bool) {
    let run = LoadRun(plan)
    let interruption = Interruption { run.stop() }
    let progress = ProgressLine(style: output.progress ? nil : ProgressLine.Style.none)
    do throws(LoadFailure) {
      var result = try run.run(warn: { Reporting.print("millrace load: \($0)") }) {
        progress.show($0)
      }
      progress.finish()
      result.command = ProcessStart.commandLine
      return (result, interruption.hasCome)
    } catch {
      progress.finish()
      Reporting.print("millrace load: \(error)")
      throw ExitCode(1)
    }
  }

  private func serveSlices(_ plan: LoadPlan, _ path: String) throws {
    guard let pipes = SlicePipes(path) else {
      Reporting.print(
        "millrace load: cannot open \(path).orders: \(String(cString: strerror(errno)))")
      throw ExitCode(1)
    }
    do throws(LoadFailure) {
      try LoadRun(plan, isSliced: true).runSlices(
        warn: { Reporting.print("millrace load: \($0)") }, pipes.service)
    } catch {
      Reporting.print("millrace load: \(error)")
      throw ExitCode(1)
    }
  }

  private func deliver(
    _ result: Lab.LoadResult, _ expectations: [Expectation], wasInterrupted: Bool
  ) throws {
    let judged = expectations.map { ($0, $0.judge(result)) }
    if output.json != "-" { OutputFile.standard(LoadText.render(result, judged: judged)) }
    if let path = output.json, !OutputFile.write(result.json(), path) {
      Reporting.print(
        "millrace load: cannot write \(path): \(String(cString: strerror(errno)))")
      throw ExitCode(1)
    }
    if output.json == "-" {
      for (expectation, judgement) in judged where !judgement.holds {
        Reporting.print("expectation failed: \(expectation.text) (\(judgement.found))")
      }
    }
    if wasInterrupted { throw ExitCode(130) }
    if judged.contains(where: { !$0.1.holds }) { throw ExitCode(3) }
    if result.completed == 0 { throw ExitCode(1) }
  }
}
