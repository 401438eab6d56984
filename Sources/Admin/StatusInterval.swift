// What happened between two looks at the status: rates and percentiles. Foreign figures: a proxy that was
// started anew in between has smaller ones, which count from zero.

/// The difference of two statuses.
package struct StatusInterval: Sendable {
  package struct Server: Equatable, Sendable {
    package let upstream: String
    package let address: String
    package let state: String
    /// Per second.
    package let requests: Double
    package let errors: Double
    package let failures: Double
    package let active: Int
    package let idle: Int

    package var name: String { upstream + "/" + address }
  }

  package struct Worker: Equatable, Sendable {
    package let number: Int
    package let requests: Double
    package let turns: Double
    package let completionsPerTurn: Double
    package let connections: Int
  }

  package let status: JSONValue
  private let before: JSONValue
  /// Between the two looks.
  package let seconds: Double

  /// - Parameter before: nil: the first look, from which nothing can be told but totals.
  package init(from before: JSONValue?, to status: JSONValue) {
    self.status = status
    let isSame = before?["pid"]?.int == status["pid"]?.int
    self.before = isSame ? before ?? .null : .null
    let first = self.before["now_nanoseconds"]?.double ?? 0
    let elapsed = ((status["now_nanoseconds"]?.double ?? 0) - first) / 1e9
    seconds =
      self.before == .null ? max(status["uptime_seconds"]?.double ?? 1, 0.001) : max(elapsed, 0.001)
  }

  private static func value(_ status: JSONValue, _ path: [String]) -> Double {
    var at = status
    for name in path {
      guard let next = at[name] else { return 0 }
      at = next
    }
    return at.double ?? 0
  }

  private func grown(_ now: JSONValue, _ old: JSONValue?, _ path: [String]) -> Double {
    max(0, Self.value(now, path) - (old.map { Self.value($0, path) } ?? 0))
  }

  /// Growth per second of a figure.
  package func rate(_ path: String...) -> Double { grown(status, before, path) / seconds }

  package func total(_ name: String) -> Int { status["totals"]?[name]?.int ?? 0 }

  /// Responses per second of a class, of all listeners.
  package func responses(_ name: String) -> Double {
    let old = before["listeners"]?.items ?? []
    return (status["listeners"]?.items ?? []).reduce(0) { sum, listener in
      // One that has come with a reload brings what it had before it went.
      let earlier = old.first { $0["address"] == listener["address"] }
      guard earlier != nil || before == .null else { return sum }
      return sum + grown(listener, earlier, ["responses", name])
    } / seconds
  }

  // MARK: Latency

  /// By how much the buckets of all upstreams have grown, each one's by itself.
  private func growth(_ name: String) -> [Double] {
    var sums: [Double] = []
    let old = before["upstreams"]?.items ?? []
    for upstream in status["upstreams"]?.items ?? [] {
      let earlier = old.first { $0["name"] == upstream["name"] }
      guard earlier != nil || before == .null else { continue }
      let counts = earlier?[name]?["counts"]?.items ?? []
      for (i, count) in (upstream[name]?["counts"]?.items ?? []).enumerated() {
        if i == sums.count { sums.append(0) }
        sums[i] += max(0, (count.double ?? 0) - (i < counts.count ? counts[i].double ?? 0 : 0))
      }
    }
    return sums
  }

  /// A percentile, in seconds, of what all upstreams took; nil without a request.
  package func percentile(_ share: Double, of name: String = "duration") -> Double? {
    percentile(share, growth(name), [])
  }

  /// The same of the audit log's commits.
  package func commitPercentile(_ share: Double) -> Double? {
    func counts(_ status: JSONValue) -> [Double] {
      (status["audit"]?["commit"]?["counts"]?.items ?? []).map { $0.double ?? 0 }
    }
    return percentile(share, counts(status), counts(before))
  }

  private func percentile(_ share: Double, _ now: [Double], _ old: [Double]) -> Double? {
    let counts = now.enumerated().map { max(0, $1 - ($0 < old.count ? old[$0] : 0)) }
    let bounds = (status["latency_bounds_seconds"]?.items ?? []).map { $0.double ?? 0 }
    return Self.percentile(share, counts, bounds)
  }

  /// Within a bucket times are taken to be spread evenly; beyond the last bound it is that bound.
  package static func percentile(
    _ share: Double, _ counts: [Double], _ bounds: [Double]
  ) -> Double? {
    let total = counts.reduce(0, +)
    guard total > 0, let last = bounds.last else { return nil }
    var below = 0.0
    for (i, count) in counts.enumerated() where i < bounds.count {
      if below + count >= share * total, count > 0 {
        let low = i == 0 ? 0 : bounds[i - 1]
        return low + (bounds[i] - low) * (share * total - below) / count
      }
      below += count
    }
    return last
  }

  // MARK: Rows

  package var servers: [Server] {
    var old: [String: JSONValue] = [:]
    for upstream in before["upstreams"]?.items ?? [] {
      for server in upstream["servers"]?.items ?? [] {
        old["\(upstream["name"]?.string ?? "")/\(server["address"]?.string ?? "")"] = server
      }
    }
    return (status["upstreams"]?.items ?? []).flatMap { upstream in
      (upstream["servers"]?.items ?? []).map { server in
        let name = upstream["name"]?.string ?? ""
        let address = server["address"]?.string ?? ""
        let last = old["\(name)/\(address)"]
        return Server(
          upstream: name, address: address, state: server["state"]?.string ?? "-",
          requests: grown(server, last, ["requests"]) / seconds,
          errors: grown(server, last, ["responses", "5xx"]) / seconds,
          failures: grown(server, last, ["failures"]) / seconds,
          active: server["active"]?.int ?? 0, idle: server["idle"]?.int ?? 0)
      }
    }
  }

  package var workers: [Worker] {
    let old = before["workers"]?.items ?? []
    return (status["workers"]?.items ?? []).enumerated().map { i, worker in
      let last = i < old.count ? old[i] : nil
      let turns = grown(worker, last, ["turns"])
      return Worker(
        number: worker["worker"]?.int ?? i,
        requests: grown(worker, last, ["requests"]) / seconds, turns: turns / seconds,
        completionsPerTurn: turns > 0 ? grown(worker, last, ["completions"]) / turns : 0,
        connections: worker["connections"]?.int ?? 0)
    }
  }

  /// How exchanges ended that were not complete, per second, the most frequent first.
  package var terminations: [(reason: String, rate: Double)] {
    (status["terminations"]?.members ?? []).compactMap { member in
      guard member.name != "complete" else { return nil }
      let rate = grown(status, before, ["terminations", member.name]) / seconds
      return rate > 0 ? (member.name, rate) : nil
    }.sorted { ($1.rate, $0.reason) < ($0.rate, $1.reason) }
  }
}
