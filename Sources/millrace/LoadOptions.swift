// The flags of `millrace load` that say how fast, over which connections, and what comes out.

import ArgumentParser
import Configuration
import Lab
import MillraceEngine
import TLS

struct LoadPaceOptions: ParsableArguments {
  @Option(help: "Requests per second, at equal gaps; without it as many as the server takes.")
  var rate: Double?

  @Flag(help: "Choose the gaps of --rate at random (exponentially), as independent users do.")
  var poisson = false

  @Option(help: "Send the requests of a log at its own pace: a Millrace audit log, or nginx's.")
  var replay: String?

  @Option(parsing: .unconditional, help: "How much faster than the log: 2 is twice as fast.")
  var speed: Double = 1

  @Option(help: "How long is counted, such as 10s, which it is by itself; a log: to its end.")
  var duration: String?

  @Option(help: "How long is not counted, before that; by itself 1s, of a log nothing.")
  var warmUp: String?

  @Option(help: "End after so many requests, if that is earlier.")
  var requests: Int?

  @Option(help: "Chooses gaps and requests: the same seed sends the same ones.")
  var seed: UInt64 = 1

  /// Whether the speed is one that a log can be replayed at; not a number is none.
  var hasSpeed: Bool { speed >= 1e-6 && speed <= 1_000_000 }

  func apply(to plan: inout LoadPlan, _ problems: inout [Problem]) {
    let hour = DurationUnit.hour
    plan.durationNanoseconds =
      LoadFlag.duration("--duration", duration ?? "10s", 100_000_000...24 * hour, &problems)
    plan.warmUpNanoseconds = LoadFlag.duration(
      "--warm-up", warmUp ?? (replay == nil ? "1s" : "0s"), 0...hour, &problems)
    plan.seed = seed
    if let requests {
      LoadFlag.check("--requests", requests, 1...1_000_000_000_000, &problems)
      plan.requestLimit = requests
    }
    if let rate {
      if !(rate > 0 && rate <= 100_000_000) {
        problems.append(
          Reporting.flag("--rate", "is \(rate)", "write requests per second, such as 5000"))
      }
      plan.pacing = poisson ? .poisson(rate: rate) : .constant(rate: rate)
    } else if poisson {
      problems.append(Reporting.flag("--poisson", "needs a rate", "add --rate N"))
    }
    if replay != nil && rate != nil {
      problems.append(
        Reporting.flag("--replay", "stands beside --rate", "scale the log with --speed instead"))
    }
    if !hasSpeed {
      problems.append(
        Reporting.flag(
          "--speed", "is \(speed)", "write a number from 0.000001 to 1000000, such as 2"))
    } else if speed != 1 && replay == nil {
      problems.append(Reporting.flag("--speed", "needs a log", "add --replay LOG"))
    }
  }
}

struct LoadConnectionOptions: ParsableArguments {
  @Option(help: "Connections in all.")
  var connections = 64

  @Option(help: "Threads, each with a ring or an epoll of its own.")
  var threads = 1

  @Option(help: "auto, io_uring or epoll.")
  var engine = "auto"

  @Option(help: "Pin the threads to these CPUs, such as 1,2.")
  var cpus: String?

  @Flag(name: .customLong("http2"), help: "Speak HTTP/2: by ALPN over TLS, otherwise at once.")
  var http2 = false

  @Option(help: "Requests in flight per connection: pipelined, or HTTP/2 streams.")
  var inFlight = 1

  @Option(help: "Open a new connection after so many requests; 1 is one connection each.")
  var requestsPerConnection: Int?

  @Flag(help: "Resume TLS sessions on new connections.")
  var resume = false

  @Option(help: "Believe the authorities in this PEM file.")
  var ca: String?

  @Flag(help: "Believe any certificate.")
  var insecure = false

  @Option(help: "Connections that read slowly, out of --connections.")
  var slowReaders = 0

  @Option(help: "Bytes per second that such a connection reads, such as 16KiB.")
  var slowReaderRate = "16KiB"

  @Option(help: "A request has failed after this long.")
  var timeout = "10s"

  func apply(to plan: inout LoadPlan, _ problems: inout [Problem]) {
    LoadFlag.check("--connections", connections, 1...1_000_000, &problems)
    LoadFlag.check("--threads", threads, 1...1024, &problems)
    LoadFlag.check("--in-flight", inFlight, 1...1024, &problems)
    LoadFlag.check("--slow-readers", slowReaders, 0...max(0, connections), &problems)
    plan.connections = connections
    plan.threads = threads
    plan.requestsInFlight = inFlight
    plan.version = http2 ? .http2 : .http11
    plan.resumesSessions = resume
    plan.slowReaders = slowReaders
    plan.slowReaderBytesPerSecond =
      LoadFlag.size("--slow-reader-rate", slowReaderRate, 1...(1 << 30), &problems)
    plan.timeoutNanoseconds =
      LoadFlag.duration("--timeout", timeout, 1_000_000...DurationUnit.hour, &problems)
    if let requestsPerConnection {
      LoadFlag.check(
        "--requests-per-connection", requestsPerConnection, 1...1_000_000_000, &problems)
      plan.requestsPerConnection = requestsPerConnection
    }
    switch (ca, insecure) {
    case (nil, false): plan.trust = .system
    case (let file?, false): plan.trust = .file(file)
    case (nil, true): plan.trust = .anyone
    case (_?, true):
      problems.append(Reporting.flag("--insecure", "stands beside --ca", "keep one of them"))
    }
    plan.engine = LoadFlag.engine(engine, &problems)
    plan.processors = LoadFlag.processors(cpus, &problems)
  }
}

struct LoadOutputOptions: ParsableArguments {
  @Option(help: "Write the result as JSON to this file; - is standard output.")
  var json: String?

  @Option(
    name: .customLong("expect"),
    help: "A bound that must hold, such as 'p99<5ms', 'errors<0.1%' or 'rate>=10000'; repeatable.")
  var expected: [String] = []

  @Flag(inversion: .prefixedNo, help: "Show the course on standard error.")
  var progress = true

  func expectations(_ problems: inout [Problem]) -> [Expectation] {
    var found: [Expectation] = []
    for text in expected {
      do throws(Expectation.Flaw) {
        found.append(try Expectation(text))
      } catch {
        problems.append(Reporting.flag("--expect", error.message, ""))
      }
    }
    return found
  }
}

/// Quantities in the flags of the lab, and where its threads run.
enum LoadFlag {
  static func engine(_ text: String, _ problems: inout [Problem]) -> EngineKind? {
    switch text {
    case "auto": return nil
    case "io_uring": return .uring
    case "epoll": return .epoll
    default:
      problems.append(
        Reporting.flag("--engine", "is \"\(text)\"", "write auto, io_uring or epoll"))
      return nil
    }
  }

  static func processors(_ text: String?, _ problems: inout [Problem]) -> [Int] {
    guard let text else { return [] }
    let allowed = Processors.current().allowed
    var found: [Int] = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard let cpu = Int(word), allowed.contains(cpu) else {
        problems.append(
          Reporting.flag(
            "--cpus", "names \"\(word)\", which this process may not use",
            "choose among \(allowed.map(String.init).joined(separator: ","))"))
        return []
      }
      found.append(cpu)
    }
    return found
  }

  static func duration(
    _ flag: String, _ text: String, _ range: ClosedRange<Int64>, _ problems: inout [Problem]
  ) -> Int64 {
    do throws(QuantityText.Flaw) {
      return try QuantityText.duration(text, in: range)
    } catch {
      problems.append(Reporting.flag(flag, error.message, error.cure))
      return range.lowerBound
    }
  }

  static func size(
    _ flag: String, _ text: String, _ range: ClosedRange<Int>, _ problems: inout [Problem]
  ) -> Int {
    do throws(QuantityText.Flaw) {
      return try QuantityText.size(text, in: range)
    } catch {
      problems.append(Reporting.flag(flag, error.message, error.cure))
      return range.lowerBound
    }
  }

  static func check(
    _ flag: String, _ value: Int, _ range: ClosedRange<Int>, _ problems: inout [Problem]
  ) {
    guard !range.contains(value) else { return }
    problems.append(
      Reporting.flag(
        flag, "is \(value)",
        "write a whole number from \(range.lowerBound) to \(range.upperBound)"))
  }
}
