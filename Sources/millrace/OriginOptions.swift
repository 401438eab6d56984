// The flags of `millrace origin`: where it listens and on how many threads, and what it answers.

import ArgumentParser
import Configuration
import Lab
import MillraceEngine
import TLS

struct OriginPlaceOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Listen on 127.0.0.1:3000 (default), :3000, [::1]:0 or unix:/run/o.sock; repeatable.",
      valueName: "address"))
  var listen: [String] = []

  @Option(help: "Listen on this port of 127.0.0.1; the same as --listen 127.0.0.1:PORT.")
  var port: [Int] = []

  @Option(help: ArgumentHelp("Listen with TLS; repeatable.", valueName: "address"))
  var tlsListen: [String] = []

  @Option(help: ArgumentHelp("Certificate chain for --tls-listen, in PEM.", valueName: "file"))
  var tlsCertificate: String?

  @Option(help: ArgumentHelp("Private key of the certificate, in PEM.", valueName: "file"))
  var tlsKey: String?

  @Option(help: "Number of threads, each with its own engine.")
  var threads = 1

  @Option(help: "I/O engine: auto, io_uring or epoll.")
  var engine = "auto"

  @Option(help: ArgumentHelp("Pin the threads to CPUs, such as 1,2.", valueName: "list"))
  var cpus: String?

  @Option(help: "Maximum connections per thread; further ones are reset.")
  var connections = 8192

  @Option(help: "Maximum concurrent HTTP/2 streams per connection.")
  var streams = 128

  func apply(to plan: inout OriginPlan, _ problems: inout [Problem]) {
    LoadFlag.check("--threads", threads, 1...1024, &problems)
    LoadFlag.check("--connections", connections, 16...1_000_000, &problems)
    LoadFlag.check("--streams", streams, 1...1000, &problems)
    plan.threads = threads
    plan.connections = connections
    plan.streams = streams
    plan.engine = LoadFlag.engine(engine, &problems)
    plan.processors = LoadFlag.processors(cpus, &problems)
    for port in port { LoadFlag.check("--port", port, 0...65_535, &problems) }
    var plain = listen + port.filter((0...65_535).contains).map { "127.0.0.1:\($0)" }
    if plain.isEmpty && tlsListen.isEmpty { plain = ["127.0.0.1:3000"] }
    for (texts, flag, usesTLS) in [(plain, "--listen", false), (tlsListen, "--tls-listen", true)] {
      for text in texts {
        guard let address = Self.address(text, flag, &problems) else { continue }
        plan.listeners.append(OriginListener(address: address, usesTLS: usesTLS))
      }
    }
    applyCertificate(to: &plan, &problems)
  }

  private static func address(
    _ text: String, _ flag: String, _ problems: inout [Problem]
  ) -> SocketAddress? {
    switch Reporting.address(text, .listener, flag, &problems) {
    case nil: return nil
    case .unix(let path)?: return SocketAddress(unixPath: path)
    case .ip(let host, let port)?:
      let found = try? SocketAddress.resolve(host: host, port: port, passive: true).first
      if found == nil {
        problems.append(
          Reporting.flag(flag, "is \"\(text)\", which is a host name", "write an IP address"))
      }
      return found
    }
  }

  private func applyCertificate(to plan: inout OriginPlan, _ problems: inout [Problem]) {
    plan.certificatePath = tlsCertificate
    plan.keyPath = tlsKey
    let isComplete = tlsCertificate != nil && tlsKey != nil
    if !tlsListen.isEmpty && !isComplete {
      problems.append(
        Reporting.flag(
          "--tls-listen", "requires a certificate and its key",
          "add --tls-certificate FILE and --tls-key FILE"))
    }
    if tlsListen.isEmpty && (tlsCertificate != nil || tlsKey != nil) {
      problems.append(
        Reporting.flag(
          tlsCertificate != nil ? "--tls-certificate" : "--tls-key", "requires --tls-listen",
          "add --tls-listen ADDRESS"))
    }
  }

  /// Looks at the files, with warnings for what will hurt later.
  func checkCertificate(_ problems: inout [Problem]) {
    guard let tlsCertificate, let tlsKey else { return }
    let source = CertificateSource(certificatePath: tlsCertificate, keyPath: tlsKey)
    for finding in TLSContext.check(source) {
      problems.append(
        Problem(
          location: Reporting.location(
            finding.file == .key ? "--tls-key" : "--tls-certificate"),
          message: "\(finding.path): \(finding.what)", hint: finding.hint,
          severity: finding.severity == .error ? .error : .warning))
    }
  }
}

struct OriginAnswerOptions: ParsableArguments {
  @Option(
    help:
      "Content size: 64KiB, 'uniform(1KiB,64KiB)', 'exponential(8KiB)', 'lognormal(4KiB,1.5)'."
  )
  var size = "128"

  @Option(
    help: "Delay before a response: 0, 5ms, or a distribution such as 'exponential(5ms)'.")
  var delay = "0"

  @Option(help: "Stall all responses periodically: '200ms every 1s'.")
  var stall: String?

  @Option(help: "Response status.")
  var status = 200

  @Option(help: "Content rate of each response in bytes per second, such as 16KiB.")
  var contentRate: String?

  @Flag(help: "Send content with chunked transfer coding (HTTP/1.1).")
  var chunked = false

  @Option(help: "Share of requests that fail: 'reset=0.1%', '503=1%'; repeatable.")
  var fault: [String] = []

  @Option(help: "Random seed of sizes, delays and faults.")
  var seed: UInt64 = 1

  func apply(to plan: inout OriginPlan, _ problems: inout [Problem]) {
    LoadFlag.check("--status", status, 200...599, &problems)
    plan.status = UInt16(clamping: status)
    plan.isChunked = chunked
    plan.seed = seed
    if let sizes = OriginText.sizes(size) {
      plan.size = sizes
    } else {
      problems.append(
        Reporting.flag(
          "--size", "is \"\(size)\"",
          "write bytes such as 128 or 64KiB, or uniform(1KiB,64KiB), exponential(8KiB) or"
            + " lognormal(4KiB,1.5)"))
    }
    if let delays = OriginText.durations(delay) {
      plan.delay = delays
    } else {
      problems.append(
        Reporting.flag(
          "--delay", "is \"\(delay)\"",
          "write a duration with its unit, such as 5ms, or uniform(1ms,9ms), exponential(5ms) or"
            + " lognormal(2ms,1)"))
    }
    if let stall {
      plan.stall = OriginText.stall(stall)
      if plan.stall == nil {
        problems.append(
          Reporting.flag(
            "--stall", "is \"\(stall)\"",
            "write the stall and its period, which must be longer: 200ms every 1s"))
      }
    }
    if let contentRate {
      plan.bytesPerSecond = OriginText.bytes(contentRate)
      if plan.bytesPerSecond == nil {
        problems.append(
          Reporting.flag(
            "--content-rate", "is \"\(contentRate)\"", "write bytes per second, such as 16KiB"))
      }
    }
    applyFaults(to: &plan, &problems)
  }

  private func applyFaults(to plan: inout OriginPlan, _ problems: inout [Problem]) {
    for text in fault {
      guard let found = OriginText.fault(text) else {
        problems.append(
          Reporting.flag(
            "--fault", "is \"\(text)\"",
            "write a name and a share, such as reset=0.1%; the names are \(OriginFault.list)"))
        continue
      }
      plan.faults.append(found)
    }
    let sum = plan.faults.reduce(0) { $0 + $1.share }
    // Shares are decimals: ten times 10% must not be more than all.
    if sum > 1 + 1e-9 {
      problems.append(
        Reporting.flag(
          "--fault", "adds up to \(sum * 100)% of the requests",
          "lower the shares to a total of 100%"))
    }
  }
}
