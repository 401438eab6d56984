// The flags of `millrace load` that say how fast, over which connections, and what comes out.

import ArgumentParser
import Configuration
import Lab
import MillraceEngine
import TLS

struct LoadPaceOptions: ParsableArguments {
  @Option(help: "Requests per second, evenly spaced (default: maximum rate).")
  var rate: Double?

  @Flag(help: "Space the requests of --rate exponentially, as independent users do.")
  var poisson = false

  @Option(
    help: ArgumentHelp(
      "Replay the requests of a Millrace audit log or an nginx access log.", valueName: "log"))
  var replay: String?

  @Option(parsing: .unconditional, help: "Replay speed: 2 is twice as fast.")
  var speed: Double = 1

  @Option(
    help: "Measured duration: seconds, or with a unit (default 10s; a replay: the whole log).")
  var duration: String?

  @Option(
    help: "Warm-up before that, not measured (default 1s; none for a replay or with --requests).")
  var warmUp: String?

  @Option(help: "Maximum number of requests, all of them measured.")
  var requests: Int?

  @Option(help: "Random seed of intervals and requests.")
  var seed: UInt64 = 1

  /// Slices are ordered by `PATH.orders`: how `millrace compare` uses a load.
  @Option(help: .hidden)
  var slices: String?

  /// Whether the speed is one that a log can be replayed at; not a number is none.
  var hasSpeed: Bool { speed >= 1e-6 && speed <= 1_000_000 }

  func apply(to plan: inout LoadPlan, _ problems: inout [Problem]) {
    let hour = DurationUnit.hour
    plan.durationNanoseconds =
      LoadFlag.duration("--duration", duration ?? "10s", 100_000_000...24 * hour, &problems)
    plan.warmUpNanoseconds = LoadFlag.duration(
      "--warm-up", warmUp ?? (replay == nil && requests == nil ? "1s" : "0s"), 0...hour, &problems)
    plan.seed = seed
    if let requests {
      LoadFlag.check("--requests", requests, 1...1_000_000_000_000, &problems)
      plan.requestLimit = requests
      // A warm-up sends requests as well, and how many depends on the server.
      if plan.warmUpNanoseconds > 0 {
        problems.append(
          Reporting.flag(
            "--warm-up", "conflicts with --requests, which limits all requests",
            "keep one of them"))
      }
    }
    if let rate {
      if !(rate > 0 && rate <= 100_000_000) {
        problems.append(
          Reporting.flag("--rate", "is \(rate)", "write requests per second, such as 5000"))
      }
      plan.pacing = poisson ? .poisson(rate: rate) : .constant(rate: rate)
    } else if poisson {
      problems.append(Reporting.flag("--poisson", "requires --rate", "add --rate N"))
    }
    if replay != nil && rate != nil {
      problems.append(
        Reporting.flag("--replay", "conflicts with --rate", "scale the log with --speed instead"))
    }
    if !hasSpeed {
      problems.append(
        Reporting.flag(
          "--speed", "is \(speed)", "write a number from 0.000001 to 1000000, such as 2"))
    } else if speed != 1 && replay == nil {
      problems.append(Reporting.flag("--speed", "requires --replay", "add --replay LOG"))
    }
  }
}

struct LoadConnectionOptions: ParsableArguments {
  @Option(help: "Number of connections.")
  var connections = 64

  @Option(help: "Number of threads, each with its own engine.")
  var threads = 1

  @Option(help: "I/O engine: auto, io_uring or epoll.")
  var engine = "auto"

  @Option(help: ArgumentHelp("Pin the threads to CPUs, such as 1,2.", valueName: "list"))
  var cpus: String?

  @Flag(
    name: .customLong("http2"), help: "Use HTTP/2: by ALPN over TLS, else with prior knowledge.")
  var http2 = false

  @Option(help: "Requests in flight per connection: pipelined, or HTTP/2 streams.")
  var inFlight = 1

  @Option(help: "Close a connection after this many requests (default: never).")
  var requestsPerConnection: Int?

  @Flag(help: "Resume TLS sessions on new connections.")
  var resume = false

  @Option(help: ArgumentHelp("Trust the CAs in this PEM file.", valueName: "file"))
  var ca: String?

  @Flag(help: "Skip certificate verification.")
  var insecure = false

  @Option(help: "Number of connections, of --connections, that read slowly.")
  var slowReaders = 0

  @Option(help: "Read rate of a slow connection in bytes per second.")
  var slowReaderRate = "16KiB"

  @Option(help: "Timeout of a request.")
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
      problems.append(Reporting.flag("--insecure", "conflicts with --ca", "keep one of them"))
    }
    plan.engine = LoadFlag.engine(engine, &problems)
    plan.processors = LoadFlag.processors(cpus, &problems)
  }
}

struct LoadOutputOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Write the results as JSON to this file; - is standard output.", valueName: "file"))
  var json: String?

  @Option(
    name: .customLong("expect"),
    help: "Fail unless this is true: 'p99<5ms', 'errors<0.1%', 'rate>=10000'; repeatable.")
  var expected: [String] = []

  @Flag(inversion: .prefixedNo, help: "Show progress on standard error.")
  var progress = true

  func expectations(_ problems: inout [Problem]) -> [Expectation] {
    var found: [Expectation] = []
    for text in expected {
      do throws(Expectation.ParseError) {
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
            "--cpus", "lists \"\(word)\", which this process may not use",
            "choose from \(allowed.map(String.init).joined(separator: ","))"))
        return []
      }
      found.append(cpu)
    }
    return found
  }

  static func duration(
    _ flag: String, _ text: String, _ range: ClosedRange<Int64>, _ problems: inout [Problem]
  ) -> Int64 {
    do throws(QuantityText.ParseError) {
      return try nanoseconds(text, in: range)
    } catch {
      problems.append(Reporting.flag(flag, error.message, error.hint))
      return range.lowerBound
    }
  }

  /// A duration with its unit, or a plain number of seconds.
  static func nanoseconds(
    _ text: String, in range: ClosedRange<Int64>
  ) throws(QuantityText.ParseError) -> Int64 {
    let isPlain = !text.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) || $0 == 0x2E }
    // Ten digits are three centuries; what is longer is out of every range all the same.
    if isPlain, text.utf8.count <= 10, let seconds = Double(text) {
      let found = Int64((seconds * 1e9).rounded())
      if range.contains(found) { return found }
      // Out of the range on the same side, so that the message is the usual one.
      let outside = found < range.lowerBound ? "0s" : "\(Int64(seconds.rounded(.up)))s"
      return try QuantityText.duration(outside, in: range)
    }
    return try QuantityText.duration(text, in: range)
  }

  static func size(
    _ flag: String, _ text: String, _ range: ClosedRange<Int>, _ problems: inout [Problem]
  ) -> Int {
    do throws(QuantityText.ParseError) {
      return try QuantityText.size(text, in: range)
    } catch {
      problems.append(Reporting.flag(flag, error.message, error.hint))
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
