// `millrace compare`: from arguments to options, a comparison, and what comes out of it.

import ArgumentParser
import Configuration
import Glibc
import Lab
import MillraceEngine

struct Compare: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures engines, options and other proxies on one workload, and gives a verdict.",
    discussion: """
      Without arguments it uses a generated certificate and configuration, a test origin and a \
      built-in workload (TLS with a durable audit log), and takes less than five minutes.

      Own configuration:   millrace compare millrace.yaml --url /api/items
      Engine options:      millrace compare --variants epoll,io_uring,io_uring+sqpoll
      Two builds:          millrace compare --variants io_uring,io_uring@/opt/old/millrace

      It needs two CPUs: one for the proxy, one for load and origin. docs/lab.md describes the \
      method.

      Exit status: 0 verdict reached, 1 could not run, 2 invalid configuration, 3 regression \
      against --against, 4 no regression found, but a deciding quantity could not be compared, \
      64 invalid command-line arguments, 130 interrupted.
      """,
    version: Version.text)

  @Argument(help: "Configuration file (default: generated).")
  var file: String?

  @OptionGroup(title: "Subjects") var subjects: CompareSubjectOptions
  @OptionGroup(title: "Workload") var workload: CompareWorkloadOptions
  @OptionGroup(title: "Measurement") var course: CompareCourseOptions
  @OptionGroup(title: "Results") var output: CompareOutputOptions

  mutating func run() throws {
    do throws(CompareFailure) {
      var options = CompareOptions()
      options.configurationFile = file
      try subjects.apply(to: &options)
      try workload.apply(to: &options, hasFile: file != nil)
      try course.apply(to: &options)
      options.command = ProcessStart.commandLine
      options.version = Version.text
      options.program = try Self.ownPath()
      options.keptDirectory = output.keep
      options.earlier = try output.earlier()
      try output.checkPlaces()
      let comparison = try CompareRun.run(options)
      try output.deliver(comparison, against: options.earlier)
    } catch {
      Reporting.print("millrace compare: \(error)")
      throw ExitCode(error.status)
    }
  }

  /// The path of this program, for the processes that it starts.
  private static func ownPath() throws(CompareFailure) -> String {
    guard let path = realpath("/proc/self/exe", nil) else {
      throw CompareFailure(
        "/proc/self/exe cannot be read: \(String(cString: strerror(errno)))", hint: "mount /proc")
    }
    defer { free(path) }
    return String(cString: path)
  }
}

struct CompareSubjectOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Engines, with options as +NAME, -NAME or +NAME=VALUE of the configuration's engine;"
        + " ENGINE@PROGRAM uses another build.", valueName: "list"))
  var variants = "epoll,io_uring"

  @Option(
    help: ArgumentHelp(
      "Other proxies: auto (all installed), none, or a list of nginx,haproxy,envoy,h2o,caddy.",
      valueName: "list"))
  var peers = "auto"

  @Flag(help: "Run other proxies tuned according to their documentation, not with their defaults.")
  var tuned = false

  @Flag(help: "Run other proxies with their defaults, not tuned.")
  var defaults = false

  @Option(
    help: ArgumentHelp(
      "Kernel features of the target machine, as JSON; features that it lacks are not recommended.",
      valueName: "file"))
  var containerProfile: String?

  func apply(to options: inout CompareOptions) throws(CompareFailure) {
    options.variants = try Variant.list(variants)
    switch peers {
    case "auto": options.peers = .found
    case "none": options.peers = .none
    default:
      let names = peers.split(separator: ",").map(String.init)
      let known = CompareOptions.peerNames
      if let unknown = names.first(where: { !known.contains($0) }) {
        throw CompareFailure(
          "--peers: unknown proxy \(unknown)",
          hint: "write auto, none or a list of \(known.joined(separator: ","))", status: 2)
      }
      // A subject is known by its name: the same peer twice is one.
      options.peers = .named(known.filter { names.contains($0) })
    }
    options.measuresDefaults = defaults || !tuned
    options.measuresTuned = tuned || !defaults
    if let containerProfile {
      options.containerProfile = try CompareOutputOptions.read(containerProfile)
    }
  }
}

struct CompareWorkloadOptions: ParsableArguments {
  @Option(help: "Path, or URL whose host becomes the Host field; repeatable.")
  var url: [String] = []

  @Option(help: ArgumentHelp("Weighted requests, as for load --mix.", valueName: "file"))
  var workload: String?

  @Option(help: "Number of connections.")
  var connections = 128

  @Option(help: "Requests in flight per connection (default 1).")
  var inFlight: Int?

  @Option(help: "Close a connection after this many requests (default: never).")
  var requestsPerConnection: Int?

  @Flag(help: "Resume TLS sessions on new connections.")
  var resume = false

  @Flag(name: .customLong("http2"), help: "Use HTTP/2.")
  var speaksHTTP2 = false

  @Flag(help: "Space the requests of the rate stages exponentially, as independent users do.")
  var poisson = false

  @Option(help: "Request method (default GET, or POST with content).")
  var method: String?

  @Option(help: "Header field, such as 'Accept: text/html'; repeatable.")
  var header: [String] = []

  @Option(help: "Size of generated request content, such as 64KiB.")
  var contentSize: String?

  @Option(help: "Status that counts as success (default 200 to 399).")
  var expectStatus: Int?

  @Option(help: "Timeout of a request (default 10s).")
  var timeout: String?

  @Flag(help: "Replace the upstreams of the configuration with millrace origin.")
  var origin = false

  @Option(help: "Response size, such as 64KiB or 'uniform(1KiB,64KiB)' (default 1KiB).")
  var size: String?

  @Option(help: "Response delay, such as 5ms or 'exponential(5ms)' (default none).")
  var delay: String?

  func apply(to options: inout CompareOptions, hasFile: Bool) throws(CompareFailure) {
    if hasFile && !origin && (size != nil || delay != nil) {
      throw CompareFailure(
        "--size and --delay apply to the test origin, but the configuration has its own upstreams",
        hint: "add --origin to replace them", status: 2)
    }
    options.urls = url
    options.connections = connections
    options.replacesOrigin = origin
    options.originArguments = ["--size", size ?? "1KiB"] + (delay.map { ["--delay", $0] } ?? [])
    var arguments = ["--connections", String(connections)]
    func add(_ flag: String, _ value: String?) { if let value { arguments += [flag, value] } }
    add("--mix", workload)
    add("--in-flight", inFlight.map(String.init))
    add("--requests-per-connection", requestsPerConnection.map(String.init))
    add("--method", method)
    add("--content-size", contentSize)
    add("--expect-status", expectStatus.map(String.init))
    add("--timeout", timeout)
    for line in header { add("--header", line) }
    if resume { arguments.append("--resume") }
    if speaksHTTP2 { arguments.append("--http2") }
    options.loadArguments = arguments
    options.gapsAreRandom = poisson
  }
}

struct CompareCourseOptions: ParsableArguments {
  @Option(help: "Minutes that the comparison takes at most (default 5).")
  var minutes: Double?

  @Option(
    help: "Run one subject after the other, in this many rounds, instead of all side by side.")
  var rounds: Int?

  @Option(help: "Duration of each measurement of a round: seconds, or with a unit.")
  var duration: String?

  @Option(
    help: ArgumentHelp(
      "Requests per second of the stages after the maximum: numbers, or auto (with --against:"
        + " those of the earlier run).", valueName: "list"))
  var rates = "auto"

  @Option(help: ArgumentHelp("CPUs for the proxy, such as 0.", valueName: "list"))
  var proxyCpus: String?

  @Option(help: ArgumentHelp("CPUs for load and origin, such as 1.", valueName: "list"))
  var loadCpus: String?

  @Option(help: "Random seed of the run order and the bootstrap.")
  var seed: UInt64 = 1

  @Option(
    help: ArgumentHelp(
      "Quantities that decide the verdict, such as p99,cpu_per_request@maximum; slices end when all are"
        + " decided (default throughput,p99,cpu_per_request,machine_per_request).",
      valueName: "list"))
  var decideBy: String?

  @Flag(help: "Run a process of the same priority on the proxy's CPUs, as in a shared container.")
  var neighbour = false

  @Flag(help: "Run even if the machine fails the fitness checks; the result says so.")
  var force = false

  @Flag(help: "Take one minute: fewer and shorter rounds, no other proxies unless listed.")
  var quick = false

  func apply(to options: inout CompareOptions) throws(CompareFailure) {
    options.seed = seed
    options.isForced = force
    options.isQuick = quick
    options.rounds = rounds
    options.minutes = minutes
    options.hasNeighbour = neighbour
    if let decideBy { options.decidedBy = try Self.quantities(decideBy) }
    if let minutes, !(0.5...1440).contains(minutes) {
      throw CompareFailure("--minutes is \(minutes)", hint: "write 0.5 to 1440", status: 2)
    }
    if rounds != nil || duration != nil, minutes != nil || neighbour {
      throw CompareFailure(
        "--rounds and --duration conflict with --minutes and --neighbour",
        hint: "rounds run one subject after the other; leave them out to run all side by side",
        status: 2)
    }
    if let rounds, !(1...1000).contains(rounds) {
      throw CompareFailure("--rounds is \(rounds)", hint: "write 1 to 1000", status: 2)
    }
    if let duration {
      // `0.5s` is a plain number with its unit.
      let plain = duration.hasSuffix("s") && Double(duration.dropLast()) != nil
      let text = plain ? String(duration.dropLast()) : duration
      guard
        let found = try? LoadFlag.nanoseconds(text, in: 500_000_000...3600 * DurationUnit.second)
      else {
        throw CompareFailure(
          "--duration is \"\(duration)\"", hint: "write seconds, from 0.5 to 3600", status: 2)
      }
      options.duration = Double(found) / 1e9
    }
    if rates != "auto" {
      options.rates = try rates.split(separator: ",").map { text throws(CompareFailure) in
        guard let rate = Double(text), rate > 0, rate <= 1e8 else {
          throw CompareFailure(
            "--rates: \"\(text)\" is not a valid rate",
            hint: "write requests per second: 5000,20000",
            status: 2)
        }
        return rate
      }
    }
    options.proxyProcessors = try processors("--proxy-cpus", proxyCpus)
    options.loadProcessors = try processors("--load-cpus", loadCpus)
  }

  private static func quantities(
    _ text: String
  ) throws(CompareFailure) -> [DecidingQuantity] {
    var chosen: [DecidingQuantity] = []
    for name in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard let quantity = DecidingQuantity(name) else {
        let known = DecidingQuantity.all.map(\.text).joined(separator: ",")
        throw CompareFailure(
          "--decide-by: \"\(name)\" is not a deciding quantity", hint: "use any of \(known)",
          status: 2)
      }
      if let other = chosen.first(where: quantity.isSameQuantity) {
        throw CompareFailure(
          "--decide-by: \(other.text) and \(quantity.text) are the same quantity",
          hint: "choose one stage", status: 2)
      }
      chosen.append(quantity)
    }
    return chosen
  }

  private func processors(_ flag: String, _ text: String?) throws(CompareFailure) -> [Int]? {
    guard let text else { return nil }
    let found = CompareOptions.processorList(text)
    guard !found.isEmpty else {
      throw CompareFailure("\(flag) is \"\(text)\"", hint: "write CPUs as 0 or 0-1,4", status: 2)
    }
    return found
  }
}

struct CompareOutputOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Write the report as one HTML file.", valueName: "file"))
  var html: String?

  @Option(
    help: ArgumentHelp(
      "Write all measurements and the verdict as JSON; - is standard output.", valueName: "file"))
  var json: String?

  @Option(
    help: ArgumentHelp(
      "Compare with the JSON of an earlier run, at its rates; exit status 3 on a regression.",
      valueName: "file"))
  var against: String?

  @Option(
    help: ArgumentHelp(
      "Keep configurations, logs and certificates in this directory.", valueName: "dir"))
  var keep: String?

  static func read(_ path: String) throws(CompareFailure) -> String {
    guard let bytes = OutputFile.read(path) else {
      throw CompareFailure(
        "cannot read \(path): \(String(cString: strerror(errno)))",
        hint: "write the path of a readable file",
        status: 2)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The earlier run, read before anything is measured: a wrong file should cost no five minutes.
  func earlier() throws(CompareFailure) -> Comparison? {
    guard let against else { return nil }
    let text = try Self.read(against)
    do throws(Comparison.ParseError) {
      return try Comparison(json: Array(text.utf8))
    } catch {
      throw CompareFailure(
        "--against \(against) was not written by compare --json: \(error)",
        hint: "use the JSON of an earlier run", status: 2)
    }
  }

  /// Whether what is measured can be written in the end, looked at before it is measured.
  func checkPlaces() throws(CompareFailure) {
    for path in [json, html] {
      guard let path, path != "-" else { continue }
      let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
      guard access(access(path, F_OK) == 0 ? path : folder, W_OK) != 0 else { continue }
      throw CompareFailure(
        "cannot write \(path): \(String(cString: strerror(errno)))",
        hint: "choose another path",
        status: 2)
    }
  }

  /// Writes files and texts. With `--json -` the tables are left out, and nothing else goes to
  /// standard output.
  /// - Throws: `CompareFailure`, with status 3 where something got worse than in the earlier run, and
  ///   4 where that is not known.
  func deliver(_ comparison: Comparison, against earlier: Comparison?) throws(CompareFailure) {
    // The terminal first: a full disk must not take away what minutes were spent on.
    if json != "-" { OutputFile.standard(ComparisonText.render(comparison)) }
    try Self.write(comparison.json(), json)
    try Self.write(html == nil ? [] : Array(ReportHTML.render(comparison).utf8), html)
    guard let earlier else { return }
    let changes: ComparisonAgainst
    do throws(ComparisonAgainst.Refusal) {
      changes = try ComparisonAgainst(comparison, against: earlier)
    } catch {
      throw CompareFailure("\(error)", hint: "")
    }
    if json == "-" { Reporting.print(changes.text) } else { OutputFile.standard(changes.text) }
    if changes.hasRegression {
      throw CompareFailure(
        "regression against the earlier run", hint: "see the rows marked REGRESSION",
        status: 3)
    }
    if !changes.isDecided {
      throw CompareFailure(
        "a deciding quantity could not be compared with the earlier run",
        hint: "see the rows marked NOT COMPARED", status: 4)
    }
  }

  private static func write(_ bytes: [UInt8], _ path: String?) throws(CompareFailure) {
    guard let path, !OutputFile.write(bytes, path) else { return }
    throw CompareFailure(
      "cannot write \(path): \(String(cString: strerror(errno)))", hint: "choose another path")
  }
}
