// A load result for reading: the answer first, then what it rests on, then what to doubt. It fits 80
// columns and carries no colour, so that it can be piped and pasted.

/// Renders load results.
public enum LoadText {
  /// Above this share of its CPU a load thread was itself the limit.
  static let busyThread = 0.95
  /// How far the offered rate may be below the planned one.
  static let rateTolerance = 0.01
  /// Corrected and uncorrected latency differ noticeably from here on.
  static let stallRatio = 1.1

  /// The whole text, ending in a newline.
  public static func render(
    _ result: LoadResult, judged: [(Expectation, Expectation.Judgement)] = []
  )
    -> String
  {
    var lines = summary(result)
    lines += [""] + latencies(result)
    lines += failures(result)
    lines += templates(result)
    lines += [""] + cost(result)
    let doubts = doubts(result)
    if !doubts.isEmpty { lines += [""] + doubts.map { "note: \($0)" } }
    if !judged.isEmpty {
      lines.append("")
      for (expectation, judgement) in judged {
        lines.append(
          "\(judgement.holds ? "passed:" : "FAILED:") \(expectation.text) (\(judgement.found))")
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func summary(_ r: LoadResult) -> [String] {
    let failed = r.failures.values.reduce(0, +)
    var lines = [
      "\(Figures.rate(r.completedRate)) successful responses per second over \(Figures.three(r.seconds)) s"
        + " (\(Figures.grouped(r.completed)) of \(Figures.grouped(r.planned)) requests,"
        + " \(Figures.grouped(failed)) failed)"
    ]
    let loop =
      switch r.pacing {
      case "closed": "closed loop: each connection sends the next request after the response"
      case "constant":
        "constant rate: \(Figures.rate(r.plannedRate ?? 0)) per second planned,"
          + " \(Figures.rate(r.offeredRate)) offered"
      default:
        // Its gaps vary, and so does how many moments come in the counted part.
        "\(r.pacing) rate: \(Figures.rate(r.dueRate ?? 0)) per second planned"
          + (r.pacing == "poisson" ? " (\(Figures.rate(r.plannedRate ?? 0)) on average)" : "")
          + ", \(Figures.rate(r.offeredRate)) offered"
      }
    lines.append(loop)
    lines.append(
      "\(Figures.grouped(r.connections)) connections, \(r.threads) thread\(r.threads == 1 ? "" : "s"),"
        + " \(r.engine); received \(Figures.bytes(Double(r.bytesReceived))),"
        + " sent \(Figures.bytes(Double(r.bytesSent)))")
    return lines
  }

  private static func latencies(_ r: LoadResult) -> [String] {
    var columns: [(String, LatencySummary)] = [("latency", r.latency)]
    if r.pacing != "closed" { columns.append(("uncorrected", r.uncorrected)) }
    if r.connectTime.count > 0 { columns.append(("connect", r.connectTime)) }
    let rows: [(String, (LatencySummary) -> Double)] = [
      ("mean", { $0.mean }), ("p50", { Double($0.p50) }), ("p75", { Double($0.p75) }),
      ("p90", { Double($0.p90) }), ("p95", { Double($0.p95) }), ("p99", { Double($0.p99) }),
      ("p99.9", { Double($0.p999) }), ("p99.99", { Double($0.p9999) }),
      ("max", { Double($0.maximum) }),
    ]
    var lines = [pad("", 8) + columns.map { pad($0.0, 13, right: true) }.joined()]
    for (name, value) in rows {
      lines.append(
        pad(name, 8)
          + columns.map {
            pad($0.1.count == 0 ? "–" : Figures.time(value($0.1)), 13, right: true)
          }.joined())
    }
    return lines
  }

  private static func failures(_ r: LoadResult) -> [String] {
    var lines: [String] = []
    let failures = r.failures.filter { $0.value > 0 }.sorted {
      ($1.value, $0.key) < ($0.value, $1.key)
    }
    if !failures.isEmpty {
      lines += [
        "",
        "failed: "
          + failures.map { "\($0.key) \(Figures.grouped($0.value))" }.joined(separator: ", "),
      ]
    }
    let statuses = r.statuses.sorted { $0.key < $1.key }
    if statuses.count > 1 || statuses.first.map({ $0.key != "200" }) == true {
      lines.append(
        "status: "
          + statuses.map { "\($0.key) \(Figures.grouped($0.value))" }.joined(separator: ", "))
    }
    return lines
  }

  private static func templates(_ r: LoadResult) -> [String] {
    guard r.requests.count > 1 else { return [] }
    let width = min(40, max(7, r.requests.map { $0.name.count }.max() ?? 7)) + 2
    let head =
      pad("request", width)
      + ["good", "failed", "p50", "p99", "max"].map { pad($0, 11, right: true) }.joined()
    let together = r.requests.reduce(0) { $0 + $1.together }
    let sentence =
      together == 0
      ? []
      : [
        "Of \(Figures.grouped(together + r.requests.count - 1)) distinct requests, the most frequent",
        "ones have rows of their own; the others are counted together.",
      ]
    return ["", head]
      + r.requests.map { one in
        pad(String(one.name.prefix(40)), width)
          + [
            Figures.grouped(one.completed), Figures.grouped(one.failed),
            Figures.time(one.latency.p50),
            Figures.time(one.latency.p99), Figures.time(one.latency.maximum),
          ].map { pad($0, 11, right: true) }.joined()
      } + sentence
  }

  private static func cost(_ r: LoadResult) -> [String] {
    let sent = max(1, r.sent)
    var lines = [
      "load generator: \(Figures.three(r.processorSeconds / Double(sent) * 1e6)) µs of CPU per request,"
        + " busiest thread \(Figures.percent(r.busiestThread)) busy"
    ]
    if r.connectionsOpened > 0 || r.handshakes > 0 {
      lines.append(
        "connections opened: \(Figures.grouped(r.connectionsOpened)), TLS handshakes"
          + " \(Figures.grouped(r.handshakes)), resumed \(Figures.grouped(r.handshakesResumed))"
      )
    }
    return lines
  }

  /// What a careful reader would ask.
  static func doubts(_ r: LoadResult) -> [String] {
    var doubts: [String] = []
    if r.busiestThread > busyThread {
      doubts.append(
        "a load thread was saturated: the load generator was the bottleneck, not the server;"
          + " use more --threads, or fewer connections")
    }
    // What came due just before the end may leave just behind it: one request says nothing.
    if let due = r.dueRate, due - r.offeredRate > max(due * rateTolerance, 1.5 / r.seconds) {
      doubts.append(
        "the planned rate was not sustained: only \(Figures.percent(r.offeredRate / due)) was offered;"
          + " use more --connections, or a lower \(r.pacing == "replay" ? "--speed" : "--rate")")
    }
    if r.pacing != "closed", r.uncorrected.p99 > 0,
      Double(r.latency.p99) > Double(r.uncorrected.p99) * stallRatio
    {
      doubts.append(
        "latency is measured from the planned send time; measured from the actual one, as closed-loop"
          + " tools do, p99 would be \(Figures.time(r.uncorrected.p99))")
    }
    return doubts
  }

  static func pad(_ text: String, _ width: Int, right: Bool = false) -> String {
    let room = String(repeating: " ", count: max(0, width - text.count))
    return right ? room + text : text + room
  }
}
