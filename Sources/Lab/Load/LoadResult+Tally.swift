// From what the threads have counted to the result that is written and compared.

import MillraceEngine

extension LoadResult {
  mutating func fill(
    _ tally: borrowing LoadTally, _ plan: LoadPlan, _ kind: EngineKind, _ board: LoadBoard
  ) {
    engine = kind.rawValue
    threads = plan.threads
    connections = plan.connections
    switch plan.pacing {
    case .closed: pacing = "closed"
    case .constant(let rate):
      pacing = "constant"
      plannedRate = rate
    case .poisson(let rate):
      pacing = "poisson"
      plannedRate = rate
    case .replay(let schedule):
      pacing = "replay"
      if let last = schedule.sendTimes.last, last > 0 {
        plannedRate = Double(schedule.sendTimes.count) * 1e9 / Double(last)
      }
    }
    seconds = Double(tally.countedNanoseconds) / 1e9
    if seconds > 0 {
      offeredRate = Double(tally.sentInTime) / seconds
      completedRate = Double(tally.completedInTime) / seconds
    }
    started = RFC3339.text(tally.startedMicroseconds)
    planned = tally.planned
    sent = tally.sent
    completed = tally.completed
    completedWithWarmUp = tally.completedWithWarmUp
    for kind in LoadFailureKind.allCases where tally.failures[kind.rawValue] > 0 {
      failures[kind.name] = tally.failures[kind.rawValue]
    }
    for kind in LoadFailureKind.allCases {
      if let example = tally.examples[kind.rawValue] { examples[kind.name] = example }
    }
    for status in LoadTally.statusCodes where tally.statuses[status] > 0 {
      statuses[String(status)] = tally.statuses[status]
    }
    bytesReceived = tally.bytesReceived
    bytesSent = tally.bytesSent
    connectionsOpened = tally.connectionsOpened
    handshakes = tally.handshakes
    handshakesResumed = tally.handshakesResumed
    slowReaderResponses = tally.slowResponses
    slowReaderFailures = tally.slowFailures
    connectTime = LatencySummary(tally.connectTime)
    latency = LatencySummary(tally.latency)
    uncorrected = plan.pacing.isOpen ? LatencySummary(tally.uncorrected) : latency
    delay = LatencySummary(tally.delay)
    let rows = RequestRows(plan)
    for (row, share) in tally.rows.enumerated() {
      var request = RequestResult()
      if row < rows.own.count {
        request.name = plan.requests[rows.own[row]].name
      } else {
        request.name = "\(rows.others) others"
        request.together = rows.others
      }
      request.completed = share.completed
      request.failed = share.failed
      request.latency = LatencySummary(share.latency)
      requests.append(request)
    }
    processorSeconds = Double(tally.processNanoseconds) / 1e9
    let seconds = self.seconds
    intervals = board.withCourse { course in
      course.end(at: seconds)
      return course.intervals
    }
  }
}

/// A point of time as RFC 3339 writes it, in UTC.
enum RFC3339 {
  /// - Parameter microseconds: since 1970-01-01; 0 gives an empty text.
  static func text(_ microseconds: Int64) -> String {
    guard microseconds > 0 else { return "" }
    let seconds = microseconds / 1_000_000
    let (days, inDay) = (seconds / 86_400, seconds % 86_400)
    // From days to a date (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra =
      (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let part = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * part + 2) / 5 + 1
    let month = part < 10 ? part + 3 : part - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let thousandth = microseconds / 1000 % 1000
    let fraction = thousandth < 10 ? "00" : thousandth < 100 ? "0" : ""
    return
      "\(year)-\(two(month))-\(two(day))T\(two(inDay / 3600)):\(two(inDay / 60 % 60)):"
      + "\(two(inDay % 60)).\(fraction)\(thousandth)Z"
  }
}
