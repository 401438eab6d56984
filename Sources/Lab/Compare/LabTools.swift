// `millrace load` and `millrace origin` as the comparison uses them: processes of their own, on CPUs
// of their own. Their command lines are the whole of what is known about them here.

import FoundationEssentials
import Glibc

struct LabTools {
  /// The program whose commands they are.
  var program: String
  /// CPUs of both; the origin gets the first of several, the load the others.
  var processors: [Int]

  private var originProcessors: [Int] { Array(processors.prefix(1)) }
  var loadProcessors: [Int] {
    processors.count > 1 ? Array(processors.dropFirst()) : processors
  }

  /// Starts the origin and waits until it listens.
  func startOrigin(
    _ arguments: [String], _ workspace: Workspace, _ interruptibleWait: InterruptibleWait
  ) throws(CompareFailure) -> (process: ChildProcess, address: String) {
    let address = "127.0.0.1:\(try workspace.freePort())"
    let process = try ChildProcess(
      Launch(
        command: [program, "origin", "--listen", address] + arguments,
        output: workspace.path("origin.log"), processors: originProcessors))
    let isReady = try interruptibleWait.wait(seconds: 10) {
      TextFile.read(process.launch.output).contains("listening ") || !process.isRunning
    }
    guard isReady, process.isRunning else {
      throw CompareFailure(
        "millrace origin did not start: \(process.lastLines().joined(separator: " / "))",
        hint: "check that `\(process.launch.command.joined(separator: " "))` works")
    }
    return (process, address)
  }

  /// One load.
  struct Load {
    var urls: [String]
    var arguments: [String]
    /// Requests per second; nil: as many as can be.
    var rate: Double?
    var gapsAreRandom = false
    var duration: Double
    var warmUp: Double
    var seed: UInt64
    /// Where the result goes.
    var result: String
    var log: String
  }

  func startLoad(_ load: Load) throws(CompareFailure) -> ChildProcess {
    _ = unlink(load.result)
    var command = [program, "load"] + load.urls + load.arguments
    if let rate = load.rate {
      command +=
        ["--rate", Decimals.text(rate, places: 3)] + (load.gapsAreRandom ? ["--poisson"] : [])
    }
    command += [
      "--duration", Self.duration(load.duration), "--warm-up", Self.duration(load.warmUp),
    ]
    command += ["--seed", String(load.seed), "--threads", String(loadProcessors.count)]
    command += ["--cpus", loadProcessors.map(String.init).joined(separator: ",")]
    command += ["--no-progress", "--json", load.result]
    return try ChildProcess(
      Launch(command: command, output: load.log, processors: loadProcessors))
  }

  static func duration(_ seconds: Double) -> String { "\(Int((seconds * 1000).rounded()))ms" }

  /// Reads what a load wrote; nil if there is nothing that can be read.
  static func result(_ path: String) -> LoadResult? {
    let text = TextFile.read(path)
    guard !text.isEmpty else { return nil }
    return try? JSONDecoder().decode(LoadResult.self, from: Data(text.utf8))
  }
}
