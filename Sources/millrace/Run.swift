// `millrace run`: from a file, or from flags alone.

import ArgumentParser
import Configuration
import Glibc
import Logging
import MillraceEngine
import Proxy

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs the proxy.",
    discussion: """
      With a file: `millrace run millrace.yaml`.
      Without one: `millrace run --from :8443 --to 127.0.0.1:3000 \
      --tls-certificate site.pem --tls-key site.key --audit /var/log/millrace`.

      SIGTERM, SIGINT or SIGQUIT drains: listeners close, exchanges finish, then it \
      exits with 0; a second one forces an immediate exit. SIGHUP reads the configuration \
      and its certificates again; one with errors is logged and changes nothing. \
      SIGUSR1 logs the counters of each worker and reopens the access log.

      With --upgrade it takes the place of the process that serves the same admin socket \
      (`admin.address: unix:…`): it takes over that one's listening sockets, and once it is \
      ready the other one drains. Whatever goes wrong before leaves the other one serving. \
      Without such a process it starts as usual.

      Exit status: 0 drained and stopped, 1 start failed, 2 invalid configuration, 64 \
      invalid command-line arguments, 130 forced exit by a second signal.
      """,
    version: Version.text)

  @OptionGroup var place: ConfigurationFileOptions

  @Option(
    name: [.long, .customLong("listen")],
    help: "Listen address, such as :8443, 127.0.0.1:8080 or unix:/run/m.sock.")
  var from: String?

  @Option(
    help:
      "Server address; repeatable or comma-separated, to balance requests over several servers."
  )
  var to: [String] = []

  @Option(help: "Certificate chain in PEM; enables TLS. Requires --tls-key.")
  var tlsCertificate: String?

  @Option(help: "Private key of the certificate, in PEM.")
  var tlsKey: String?

  @Option(help: "Audit log directory; each response is sent after its record is durable.")
  var audit: String?

  @Option(help: "I/O engine: auto, io_uring or epoll; overrides the file.")
  var engine: String?

  @Option(help: "Number of worker threads, or auto; overrides the file.")
  var workers: String?

  @Option(
    name: .customLong("set"),
    help: ArgumentHelp(
      "Override a value of the file: --set listeners[0].address=127.0.0.1:8443,"
        + " --set 'engine={kind: io_uring, sqpoll: true}'; repeatable.",
      valueName: "path=yaml"))
  var overrides: [String] = []

  @Flag(help: "Take the place of the process that runs, without a refused connection.")
  var upgrade = false

  @Option(help: "Minimum log level: trace, debug, info, notice, warning, error or critical.")
  var logLevel: String = "info"

  mutating func run() throws {
    guard let level = Logger.Level(rawValue: logLevel) else {
      throw ValidationError(
        "--log-level must be one of \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", "))"
      )
    }
    var problems: [Problem] = []
    guard let configuration = read(&problems) else { throw Reporting.fail(problems) }
    let handed = InheritedSockets.take()
    let running = try upgrade ? askRunning(configuration) : nil
    let (preflight, findings) = Preflight.run(
      configuration, inherited: (running?.sockets ?? []) + handed.sockets,
      isUpgrade: running != nil)
    problems += handed.others.map { number in
      Problem(
        location: Reporting.location("LISTEN_FDS"),
        message: "includes descriptor \(number), which is not a listening stream socket",
        hint: "remove it from the socket unit", severity: .warning)
    }
    problems += findings
    guard let preflight else {
      running?.fail("its configuration has errors, which it has reported")
      throw Reporting.fail(problems)
    }
    Reporting.write(problems)
    let writer = LineWriter(descriptor: 2, lossLine: LineLogHandler.lossLine)
    var logger = Logger(label: "millrace") { _ in LineLogHandler(writer: writer) }
    logger.logLevel = level
    let server = Server(
      configuration, preflight, logger: logger, source: source(),
      metricsDescriptor: metricsDescriptor(), replacing: running)
    // The probe forks; the log's thread starts after it.
    let status = server.run(afterProbe: { writer.start() })
    writer.drain(milliseconds: 1000)
    // Not exit(3): threads may still run, and everything durable has been made so.
    _exit(status)
  }

  /// The process that is to be replaced; nil: there is none.
  private func askRunning(_ configuration: ProxyConfiguration) throws -> RunningProcess? {
    do throws(HandoverFault) {
      return try RunningProcess.ask(configuration)
    } catch {
      Reporting.write([
        Reporting.flag(
          "--upgrade", "cannot take the place of the process that runs: \(error)",
          "that process goes on serving, if there is one; its log says more")
      ])
      throw ExitCode(1)
    }
  }

  /// Everything that says how to run, from the file or the flags. - Returns: nil after an error.
  private func read(_ problems: inout [Problem]) -> ProxyConfiguration? {
    guard var configuration = load(&problems) else { return nil }
    applyOverrides(&configuration, &problems)
    return Reporting.hasErrors(problems) ? nil : configuration
  }

  /// The same again, for a reload.
  private func source() -> ConfigurationSource {
    ConfigurationSource(path: place.path) { [self] in
      var problems: [Problem] = []
      let configuration = read(&problems)
      return (configuration, problems)
    }
  }

  /// What `millrace compare` sets so that it can read the metrics while the proxy runs. A value that is
  /// no number is a descriptor that is none, which is told at the start.
  private func metricsDescriptor() -> Int32? {
    getenv("MILLRACE_METRICS_DESCRIPTOR").map { Int32(String(cString: $0)) ?? -1 }
  }

  private func load(_ problems: inout [Problem]) -> ProxyConfiguration? {
    if let file = place.path {
      if from != nil || !to.isEmpty || tlsCertificate != nil || tlsKey != nil || audit != nil {
        problems.append(
          Reporting.flag(
            "FILE", "conflicts with --from, --to, --tls-… and --audit",
            "put these settings into \(file), or omit the file"))
        return nil
      }
      return ConfigurationFile.load(
        file, overrides: Reporting.overrides(overrides, &problems), &problems)
    }
    if !overrides.isEmpty {
      problems.append(
        Reporting.flag(
          "--set", "requires a configuration file",
          "add the file, or use the other flags"))
      return nil
    }
    return fromFlags(&problems)
  }

  private func fromFlags(_ problems: inout [Problem]) -> ProxyConfiguration? {
    guard let from, !to.isEmpty else {
      problems.append(
        Reporting.flag(
          from == nil && to.isEmpty ? "FILE" : (from == nil ? "--from" : "--to"),
          "is missing: a configuration file, or both --from and --to, are required",
          "run `millrace run millrace.yaml` or `millrace run --from :8080 --to 127.0.0.1:3000`"))
      return nil
    }
    let listener = Reporting.address(from, .listener, "--from", &problems)
    let servers = to.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false) }.map(
      String.init
    )
    .compactMap { text -> ServerConfiguration? in
      Reporting.address(text, .upstream, "--to", &problems).map {
        ServerConfiguration(address: $0, location: Reporting.location("--to"))
      }
    }
    let tls = tlsConfiguration(&problems)
    guard let listener, !Reporting.hasErrors(problems) else {
      // Its files too, so that everything is told at once.
      var partial = ProxyConfiguration()
      partial.listeners = [
        ListenerConfiguration(address: listener ?? .ip(host: "::", port: 0), tls: tls)
      ]
      problems += Preflight.checkFiles(partial)
      return nil
    }
    return ProxyConfiguration(
      listeners: [
        ListenerConfiguration(
          name: listener.description, address: listener,
          addressLocation: Reporting.location("--from"), tls: tls)
      ],
      routes: [RouteConfiguration(upstream: 0)],
      upstreams: [UpstreamConfiguration(name: "origin", servers: servers)],
      audit: audit.map {
        AuditConfiguration(directory: $0, directoryLocation: Reporting.location("--audit"))
      })
  }

  private func tlsConfiguration(_ problems: inout [Problem]) -> ListenerTLS? {
    switch (tlsCertificate, tlsKey) {
    case (nil, nil): return nil
    case (let certificate?, let key?):
      return ListenerTLS(certificates: [
        CertificateConfiguration(
          certificatePath: certificate,
          certificateLocation: Reporting.location("--tls-certificate"), keyPath: key,
          keyLocation: Reporting.location("--tls-key"))
      ])
    case (_?, nil):
      problems.append(
        Reporting.flag("--tls-key", "is required with --tls-certificate", "add --tls-key FILE"))
    case (nil, _?):
      problems.append(
        Reporting.flag(
          "--tls-certificate", "is required with --tls-key", "add --tls-certificate FILE"))
    }
    return nil
  }

  private func applyOverrides(
    _ configuration: inout ProxyConfiguration, _ problems: inout [Problem]
  ) {
    if let engine {
      if let choice = EngineChoice(rawValue: engine) {
        configuration.engine = choice
      } else {
        problems.append(
          Reporting.flag("--engine", "is \"\(engine)\"", "write auto, io_uring or epoll"))
      }
    }
    if let workers {
      if workers == "auto" {
        configuration.workers = .automatic
      } else if let count = Int(workers), workers == String(count),
        WorkerCount.range.contains(count)
      {
        configuration.workers = .count(count)
      } else {
        let range = WorkerCount.range
        problems.append(
          Reporting.flag(
            "--workers", "is \"\(workers)\"",
            "write auto or a number from \(range.lowerBound) to \(range.upperBound)"))
      }
    }
  }
}
