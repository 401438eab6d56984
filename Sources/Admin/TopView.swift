// The live view of a terminal, as lines: no terminal is known here, so that every size can be tested. A line is
// never longer than the width, and there are never more lines than the height.

package enum TopSort: String, CaseIterable, Sendable {
  case requests, errors, active, name

  /// The next one, in a circle.
  package var next: TopSort {
    let all = Self.allCases
    return all[((all.firstIndex(of: self) ?? 0) + 1) % all.count]
  }
}

package struct TopView: Sendable {
  package var sort = TopSort.requests
  /// Servers whose name has this in it are shown.
  package var filter = ""
  /// The filter is being typed.
  package var isTyping = false
  package var isPaused = false

  package init() {}

  // MARK: The screen

  package func lines(_ interval: StatusInterval, width: Int, height: Int) -> [String] {
    let top = summary(interval)
    let workers = workerLines(interval)
    let endings = endingLines(interval)
    var lines = top
    // Servers get what the rest leaves, and three lines at least.
    let rest = height - top.count - 4
    let shownWorkers = min(workers.count, max(0, rest - 3 - endings.count))
    if shownWorkers > 1 { lines += [""] + workers.prefix(shownWorkers) }
    if !endings.isEmpty { lines += endings }
    lines.append("")
    let servers = sorted(interval.servers)
    lines.append(Self.row("SERVER", "STATE", "REQ/S", "5XX/S", "FAIL/S", "ACTIVE", "IDLE", width))
    let room = max(0, height - lines.count - 1)
    for server in servers.prefix(room) {
      lines.append(
        Self.row(
          server.name, server.state, Self.rate(server.requests), Self.rate(server.errors),
          Self.rate(server.failures), "\(server.active)", "\(server.idle)", width))
    }
    while lines.count < height - 1 { lines.append("") }
    lines = Array(lines.prefix(max(0, height - 1)))
    lines.append(footer(hidden: max(0, servers.count - room)))
    return lines.map { Self.cut($0, width) }
  }

  private func summary(_ interval: StatusInterval) -> [String] {
    let status = interval.status
    let limits = status["limits"]
    func use(_ name: String) -> String {
      let limit = limits?[name]?["limit"]?.int.map { "/\($0)" } ?? ""
      return "\(limits?[name]?["use"]?.int ?? 0)\(limit)"
    }
    let resident = Double(status["process"]?["resident_bytes"]?.int ?? 0)
    let cpu = interval.rate("process", "cpu_seconds") * 100
    var lines = [
      "millrace \(status["version"]?.string ?? "-")  \(status["phase"]?.string ?? "-")"
        + "  \(status["engine"]?["kind"]?.string ?? "-")  up"
        + " \(Self.uptime(status["uptime_seconds"]?.double ?? 0))  generation"
        + " \(status["generation"]?.int ?? 0)  cpu \(Self.fixed(cpu, 0))%"
        + "  memory \(Self.bytes(resident))",
      "requests \(Self.rate(interval.rate("totals", "requests")))/s   2xx"
        + " \(Self.rate(interval.responses("2xx")))   3xx \(Self.rate(interval.responses("3xx")))"
        + "   4xx \(Self.rate(interval.responses("4xx")))   5xx"
        + " \(Self.rate(interval.responses("5xx")))   retries"
        + " \(Self.rate(interval.rate("totals", "retries")))",
      "latency p50 \(Self.time(interval.percentile(0.5)))   p90"
        + " \(Self.time(interval.percentile(0.9)))   p99 \(Self.time(interval.percentile(0.99)))"
        + "   first byte p99 \(Self.time(interval.percentile(0.99, of: "first_byte")))",
      "connections \(use("connections"))   active \(use("exchanges"))   tunnels"
        + " \(interval.total("tunnels_open"))   descriptors"
        + " \(status["process"]?["descriptors"]?.int ?? 0)",
    ]
    if let audit = status["audit"], audit != .null {
      lines.append(
        "audit \(audit["durability"]?.string ?? "")   records"
          + " \(Self.rate(interval.rate("audit", "records")))/s   commits"
          + " \(Self.rate(interval.rate("audit", "commits")))/s   commit p99"
          + " \(Self.time(interval.commitPercentile(0.99)))   rejected"
          + " \(audit["rejects"]?.int ?? 0)   dropped \(audit["drops"]?.int ?? 0)")
    }
    return lines
  }

  private func workerLines(_ interval: StatusInterval) -> [String] {
    ["WORKER      REQ/S     TURNS/S   PER TURN   CONNECTIONS"]
      + interval.workers.map { worker in
        Self.left("\(worker.number)", 7) + Self.right(Self.rate(worker.requests), 10)
          + Self.right(Self.rate(worker.turns), 12)
          + Self.right(Self.fixed(worker.completionsPerTurn, 1), 11)
          + Self.right("\(worker.connections)", 14)
      }
  }

  private func endingLines(_ interval: StatusInterval) -> [String] {
    let endings = interval.terminations.prefix(4).map { "\($0.reason) \(Self.rate($0.rate))/s" }
    return endings.isEmpty ? [] : ["", "endings " + endings.joined(separator: "   ")]
  }

  private func sorted(_ servers: [StatusInterval.Server]) -> [StatusInterval.Server] {
    let shown = servers.filter { filter.isEmpty || $0.name.contains(filter) }
    return shown.sorted { a, b in
      switch sort {
      case .requests where a.requests != b.requests: a.requests > b.requests
      case .errors where a.errors + a.failures != b.errors + b.failures:
        a.errors + a.failures > b.errors + b.failures
      case .active where a.active != b.active: a.active > b.active
      default: a.name < b.name
      }
    }
  }

  private func footer(hidden: Int) -> String {
    if isTyping { return "filter: \(filter)_   (Enter keeps it, Esc clears it)" }
    let more = hidden > 0 ? "   \(hidden) more" : ""
    let held = isPaused ? "   PAUSED" : ""
    let shown = filter.isEmpty ? "" : " [\(filter)]"
    return "s sort [\(sort.rawValue)]   / filter\(shown)   p pause   q quit\(more)\(held)"
  }

  // MARK: The line of a pipe

  /// One line with everything by name, for a pipe. - Parameter time: of the look.
  package static func line(_ interval: StatusInterval, time: String) -> String {
    let cpu = interval.rate("process", "cpu_seconds") * 100
    return "\(time) requests=\(fixed(interval.rate("totals", "requests"), 1))"
      + ["2xx", "3xx", "4xx", "5xx"].map { " \($0)=\(fixed(interval.responses($0), 1))" }.joined()
      + " p50_ms=\(milliseconds(interval.percentile(0.5)))"
      + " p99_ms=\(milliseconds(interval.percentile(0.99)))"
      + " active=\(interval.total("exchanges")) connections=\(interval.total("connections"))"
      + " retries=\(fixed(interval.rate("totals", "retries"), 1))"
      + " upstream_failures=\(fixed(interval.rate("totals", "upstream_failures"), 1))"
      + " cpu_percent=\(fixed(cpu, 1))"
  }

  // MARK: Numbers

  private static func milliseconds(_ seconds: Double?) -> String {
    seconds.map { fixed($0 * 1000, 3) } ?? "-"
  }

  static func time(_ seconds: Double?) -> String {
    guard let seconds else { return "-" }
    if seconds < 0.001 { return fixed(seconds * 1e6, 0) + "us" }
    return seconds < 1
      ? fixed(seconds * 1000, seconds < 0.01 ? 2 : 1) + "ms" : fixed(seconds, 2) + "s"
  }

  static func rate(_ value: Double) -> String {
    if value >= 1e6 { return fixed(value / 1e6, 1) + "M" }
    if value >= 100_000 { return fixed(value / 1000, 0) + "k" }
    return fixed(value, value < 10 && value > 0 ? 1 : 0)
  }

  static func bytes(_ value: Double) -> String {
    value >= 1_073_741_824
      ? fixed(value / 1_073_741_824, 1) + "GiB" : fixed(value / 1_048_576, 0) + "MiB"
  }

  /// With so many digits behind the point; foreign figures may be anything.
  static func fixed(_ value: Double, _ digits: Int) -> String {
    let scale = digits == 0 ? 1.0 : digits == 1 ? 10 : digits == 2 ? 100 : 1000
    guard value.isFinite, abs(value) < 1e15, let whole = Int64(exactly: (value * scale).rounded())
    else { return "?" }
    if digits == 0 { return "\(whole)" }
    let parts = abs(whole).quotientAndRemainder(dividingBy: Int64(scale))
    let fraction = String(String(Int64(scale) + parts.remainder).dropFirst())
    return (whole < 0 ? "-" : "") + "\(parts.quotient).\(fraction)"
  }

  static func uptime(_ seconds: Double) -> String {
    let whole = Int(max(0, min(seconds, 1e12)))
    if whole >= 86_400 { return "\(whole / 86_400)d\(whole / 3600 % 24)h" }
    return whole >= 3600 ? "\(whole / 3600)h\(whole / 60 % 60)m" : "\(whole / 60)m\(whole % 60)s"
  }

  // MARK: Columns

  private static func row(
    _ name: String, _ state: String, _ requests: String, _ errors: String, _ failures: String,
    _ active: String, _ idle: String, _ width: Int
  ) -> String {
    let figures =
      left(state, 12) + right(requests, 9) + right(errors, 8) + right(failures, 8)
      + right(active, 8) + right(idle, 7)
    return left(name, max(12, width - figures.count)) + figures
  }

  private static func left(_ text: String, _ width: Int) -> String {
    let text = text.count >= width ? String(text.prefix(max(0, width - 2))) + "~" : text
    return text + String(repeating: " ", count: max(0, width - text.count))
  }

  private static func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(1, width - text.count)) + text
  }

  /// Control characters, which a name from elsewhere may have, never reach a terminal.
  private static func cut(_ line: String, _ width: Int) -> String {
    var text = ""
    for scalar in line.unicodeScalars {
      text.unicodeScalars.append(
        scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) ? "?" : scalar)
    }
    return String(text.prefix(max(0, width)))
  }
}
