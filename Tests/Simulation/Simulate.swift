// The whole proxy in a simulated world: `make simulate SEED=… COUNT=…`.
//
// How it works:
// 1. A seed draws a configuration, conditions, a population and an end (RunConditions, Population).
// 2. One worker of the real proxy, TLS and audit log included, runs in that world (Run). It does not
//    know: the engine is its only door to time, network, disk and chance.
// 3. Clients and servers check every byte; when the run is over, what the worker holds, what it has
//    counted, and what is on the disk are checked (Checks). After a crash or an orderly end the log
//    is recovered and verified, and perhaps another run begins on the same disk (Story).
// 4. Each seed runs twice; the traces must be equal.
// 5. Two processes share the seeds (Crew). A failure prints its seed and how to see it again.

import Glibc
import MillraceEngine

@main
enum Simulate {
  static func main() {
    var seed: UInt64 = 1
    var count = 100
    var jobs = 2
    var step: UInt64 = 1
    var isVerbose = false
    var isChild = false
    var arguments = CommandLine.arguments.dropFirst()
    func number() -> UInt64 {
      guard let text = arguments.popFirst(), let value = UInt64(text) else { usage() }
      return value
    }
    while let argument = arguments.popFirst() {
      switch argument {
      case "--seed": seed = number()
      case "--count": count = Int(number())
      case "--jobs": jobs = max(1, Int(number()))
      case "--step": step = number()
      case "--verbose": isVerbose = true
      case "--child": isChild = true
      default: usage()
      }
    }
    if isChild || isVerbose {
      Runner(isVerbose: isVerbose).run(from: seed, step: step, count: count)
    } else {
      exit(ProcessPool(from: seed, count: count, jobs: min(jobs, max(count, 1))).run())
    }
  }

  private static func usage() -> Never {
    printLine("usage: simulate [--seed N] [--count N] [--jobs N] [--verbose]")
    exit(64)
  }
}

/// Runs seeds one after the other and tells of each in lines that the crew reads.
struct Runner {
  let isVerbose: Bool
  /// No seed takes a second; one that takes a minute of the machine's time is caught in a loop.
  static let secondsPerSeed: UInt32 = 60

  func run(from first: UInt64, step: UInt64, count: Int) {
    let fixtures: Fixtures
    do { fixtures = try Fixtures(isVerbose: isVerbose) } catch {
      printLine("! 0 start: \(error)")
      exit(1)
    }
    var failed = false
    for i in 0..<UInt64(count) {
      let seed = first &+ i &* step
      printLine("@ \(seed)")
      alarm(Self.secondsPerSeed)
      fixtures.onStuck = { proxyRun in
        for failure in proxyRun.failures {
          printLine("! \(seed) \(failure.check): \(failure.text)")
        }
        Self.show(proxyRun.world.trace.tail, seed)
        exit(3)
      }
      var seedRun = SeedRun(seed: seed, fixtures)
      seedRun.run()
      var failures = seedRun.failures
      fixtures.isVerbose = false
      if failures.isEmpty {
        var again = SeedRun(seed: seed, fixtures)
        again.run()
        if again.hash != seedRun.hash {
          failures.append(
            Failure(check: "determinism", text: "two runs of one seed have different traces"))
        }
      }
      fixtures.isVerbose = isVerbose
      for failure in failures { printLine("! \(seed) \(failure.check): \(failure.text)") }
      if !failures.isEmpty {
        failed = true
        Self.show(seedRun.tail, seed)
      }
      printLine("= \(seedRun.totals.words.joined(separator: " "))")
    }
    exit(failed ? 1 : 0)
  }

  /// The end of the trace, which is what led to the failure.
  private static func show(_ tail: String, _ seed: UInt64) {
    for line in tail.split(separator: "\n").suffix(30) { printLine("~ \(line)") }
  }
}
