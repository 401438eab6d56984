// What one load thread has counted. Nothing is shared and nothing grows: counters, and histograms
// whose range was fixed at the start. The tallies of the threads are added when they have ended.

import Histogram

/// Why a request was not good.
enum LoadFailureKind: Int, CaseIterable {
  /// No connection could be made.
  case connect
  /// The handshake failed, or a record did.
  case tls
  /// The connection was reset.
  case reset
  /// The connection ended before the response did.
  case closed
  case timeout
  /// The response is not HTTP.
  case protocolError
  case status
  case content
  case length
  /// Its moment came, and no connection was free until the end.
  case unsent

  /// As in `LoadResult.failures`.
  var name: String { self == .protocolError ? "protocol" : "\(self)" }
}

/// The share of a row: one template, or all without a row of their own (`RequestRows`).
struct RowTally {
  var completed = 0
  var failed = 0
  var latency: LatencyHistogram
}

struct LoadTally: ~Copyable, @unchecked Sendable {
  // Unchecked because of the pointers, which nobody else has.

  var planned = 0
  var sent = 0
  var completed = 0
  /// Of the counted part by time, whenever they were planned.
  var sentInTime = 0
  var completedInTime = 0
  /// Of a slice: all good responses, those of its lead-in too.
  var completedWithWarmUp = 0
  var bytesReceived = 0
  var bytesSent = 0
  var connectionsOpened = 0
  var handshakes = 0
  var handshakesResumed = 0
  var slowResponses = 0
  var slowFailures = 0
  /// By `LoadFailureKind`.
  let failures: UnsafeMutablePointer<Int>
  /// By status code. Written by `answered` only.
  let statuses: UnsafeMutablePointer<Int>
  var latency: LatencyHistogram
  var uncorrected: LatencyHistogram
  var delay: LatencyHistogram
  var connectTime: LatencyHistogram
  /// Empty for a single template.
  var rows: [RowTally]
  /// In words, the first failure of each kind.
  var examples: [String?]
  /// CPU nanoseconds of the thread in the counted part, and of the process on the first thread.
  var threadNanoseconds: Int64 = 0
  var processNanoseconds: Int64 = 0
  /// Nanoseconds of the counted part.
  var countedNanoseconds: Int64 = 0
  /// Microseconds since the epoch at which it began.
  var startedMicroseconds: Int64 = 0

  /// The status codes that are counted. HTTP has none above 599 (RFC 9110, section 15), but servers
  /// send them and proxies pass them on; what is below 100 breaks the protocol.
  static let statusCodes = 100...999

  /// - Parameters:
  ///   - count: rows of requests.
  ///   - longest: no latency is longer; nanoseconds.
  init(rows count: Int, longest: Int64) {
    failures = .allocate(capacity: LoadFailureKind.allCases.count)
    failures.initialize(repeating: 0, count: LoadFailureKind.allCases.count)
    statuses = .allocate(capacity: Self.statusCodes.upperBound + 1)
    statuses.initialize(repeating: 0, count: Self.statusCodes.upperBound + 1)
    let empty = LatencyHistogram(upTo: longest)
    latency = empty
    uncorrected = empty
    delay = empty
    connectTime = empty
    rows = Array(repeating: RowTally(latency: empty), count: count)
    examples = Array(repeating: nil, count: LoadFailureKind.allCases.count)
  }

  deinit {
    failures.deallocate()
    statuses.deallocate()
  }

  mutating func fail(_ kind: LoadFailureKind, row: UInt32) {
    failures[kind.rawValue] += 1
    if !rows.isEmpty { rows[Int(row)].failed += 1 }
  }

  /// Counts a response. What is no status code was refused where it was read; if one comes this far
  /// it is a bug of ours, and still nothing is written beside the table.
  @inline(__always)
  mutating func answered(_ status: UInt16) {
    guard Self.statusCodes.contains(Int(status)) else {
      return assertionFailure("a response with the status \(status) was let through")
    }
    statuses[Int(status)] += 1
  }

  /// Adds what another thread counted.
  mutating func add(_ other: borrowing LoadTally) {
    planned += other.planned
    sent += other.sent
    completed += other.completed
    sentInTime += other.sentInTime
    completedInTime += other.completedInTime
    completedWithWarmUp += other.completedWithWarmUp
    bytesReceived += other.bytesReceived
    bytesSent += other.bytesSent
    connectionsOpened += other.connectionsOpened
    handshakes += other.handshakes
    handshakesResumed += other.handshakesResumed
    slowResponses += other.slowResponses
    slowFailures += other.slowFailures
    for i in LoadFailureKind.allCases.indices { failures[i] += other.failures[i] }
    for i in Self.statusCodes { statuses[i] += other.statuses[i] }
    latency.add(other.latency)
    uncorrected.add(other.uncorrected)
    delay.add(other.delay)
    connectTime.add(other.connectTime)
    for i in rows.indices {
      rows[i].completed += other.rows[i].completed
      rows[i].failed += other.rows[i].failed
      rows[i].latency.add(other.rows[i].latency)
    }
    for i in examples.indices where examples[i] == nil { examples[i] = other.examples[i] }
    processNanoseconds += other.processNanoseconds
    threadNanoseconds = max(threadNanoseconds, other.threadNanoseconds)
    countedNanoseconds = max(countedNanoseconds, other.countedNanoseconds)
  }
}
