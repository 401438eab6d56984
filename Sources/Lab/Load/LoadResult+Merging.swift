// Several results of the same load as one: the slices of a batch. Counts add up, rates are weighted by
// their seconds, and percentiles are those of all requests together.

extension LoadResult {
  /// - Parameter results: slices of one subject at one stage, in their order.
  static func merging(_ results: [LoadResult]) -> LoadResult {
    guard var sum = results.first else { return LoadResult() }
    for next in results.dropFirst() {
      let whole = sum.seconds + next.seconds
      let share = whole > 0 ? next.seconds / whole : 0
      sum.offeredRate += (next.offeredRate - sum.offeredRate) * share
      sum.completedRate += (next.completedRate - sum.completedRate) * share
      sum.busiestThread += (next.busiestThread - sum.busiestThread) * share
      sum.seconds = whole
      sum.planned += next.planned
      sum.sent += next.sent
      sum.completed += next.completed
      sum.completedWithWarmUp += next.completedWithWarmUp
      sum.failures.merge(next.failures, uniquingKeysWith: +)
      sum.statuses.merge(next.statuses, uniquingKeysWith: +)
      sum.examples.merge(next.examples) { first, _ in first }
      sum.bytesReceived += next.bytesReceived
      sum.bytesSent += next.bytesSent
      sum.connectionsOpened += next.connectionsOpened
      sum.handshakes += next.handshakes
      sum.handshakesResumed += next.handshakesResumed
      sum.slowReaderResponses += next.slowReaderResponses
      sum.slowReaderFailures += next.slowReaderFailures
      sum.processorSeconds += next.processorSeconds
      for index in sum.requests.indices where index < next.requests.count {
        let other = next.requests[index]
        sum.requests[index].completed += other.completed
        sum.requests[index].failed += other.failed
      }
    }
    sum.latency = .merging(results.map(\.latency))
    sum.uncorrected = .merging(results.map(\.uncorrected))
    sum.delay = .merging(results.map(\.delay))
    sum.connectTime = .merging(results.map(\.connectTime))
    for index in sum.requests.indices {
      sum.requests[index].latency = .merging(
        results.compactMap {
          $0.requests.indices.contains(index) ? $0.requests[index].latency : nil
        })
    }
    return sum
  }
}

extension LatencySummary {
  /// What all recorded times together are.
  static func merging(_ parts: [LatencySummary]) -> LatencySummary {
    let parts = parts.filter { $0.count > 0 }
    guard parts.count > 1, var sum = parts.first else { return parts.first ?? LatencySummary() }
    var places: [Int: Int] = [:]
    for part in parts {
      for place in part.histogram where place.count == 2 {
        places[place[0], default: 0] += place[1]
      }
    }
    sum.histogram = places.keys.sorted().map { [$0, places[$0] ?? 0] }
    sum.count = parts.map(\.count).reduce(0, +)
    sum.minimum = parts.map(\.minimum).min() ?? 0
    sum.maximum = parts.map(\.maximum).max() ?? 0
    let count = Double(sum.count)
    sum.mean = parts.reduce(0) { $0 + $1.mean * Double($1.count) } / count
    let squares = parts.reduce(0) {
      $0 + ($1.deviation * $1.deviation + $1.mean * $1.mean) * Double($1.count)
    }
    sum.deviation = max(0, squares / count - sum.mean * sum.mean).squareRoot()
    (sum.p50, sum.p75, sum.p90) = (sum.value(at: 0.5), sum.value(at: 0.75), sum.value(at: 0.9))
    (sum.p95, sum.p99) = (sum.value(at: 0.95), sum.value(at: 0.99))
    (sum.p999, sum.p9999) = (sum.value(at: 0.999), sum.value(at: 0.9999))
    return sum
  }

  /// The place of the histogram at or below which this share of the times lies.
  private func value(at share: Double) -> Int {
    let all = histogram.reduce(0) { $0 + $1[1] }
    let wanted = Int((share * Double(all)).rounded(.up))
    var seen = 0
    for place in histogram {
      seen += place[1]
      if seen >= wanted { return place[0] }
    }
    return maximum
  }
}
