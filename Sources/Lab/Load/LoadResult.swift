// What a load run found, as one plain value that is also its JSON: `millrace load --json` writes it,
// `millrace compare` reads it. A field is added, with the empty value of its type as its default, and
// never given another meaning.

/// The result of a load run. Times are nanoseconds unless the name says otherwise.
public struct LoadResult: Codable, Sendable {
  public var schema = 1
  /// The arguments that ran it.
  public var command: [String] = []
  /// When the counted part began, RFC 3339 in UTC.
  public var started = ""
  /// The engine of the load threads: io_uring or epoll.
  public var engine = ""
  public var threads = 0
  public var connections = 0
  /// closed, constant, poisson or replay.
  public var pacing = ""
  /// Requests per second that were to be offered; nil in a closed loop.
  public var plannedRate: Double?
  /// Requests per second that were sent, in the counted part.
  public var offeredRate = 0.0
  /// Good responses per second, in the counted part.
  public var completedRate = 0.0
  /// Seconds of the counted part.
  public var seconds = 0.0
  /// Requests whose moment came in the counted part (open loop), or that were sent in it.
  public var planned = 0
  public var sent = 0
  /// Good responses: complete, with the expected status and content.
  public var completed = 0
  /// Of a slice (`--slices`): all good responses, those of its lead-in too; otherwise 0.
  public var completedWithWarmUp = 0
  /// Those that were not good, by why: connect, tls, reset, closed, timeout, protocol, status,
  /// content, length; and unsent: their moment came, and no connection was free until the end.
  public var failures: [String: Int] = [:]
  /// The first failure of each kind, in words; also of those that were not counted.
  public var examples: [String: String] = [:]
  /// Responses by status code.
  public var statuses: [String: Int] = [:]
  public var bytesReceived = 0
  public var bytesSent = 0
  public var connectionsOpened = 0
  public var handshakes = 0
  public var handshakesResumed = 0
  /// Good responses and failures of slow readers, whose requests are not among the planned.
  public var slowReaderResponses = 0
  public var slowReaderFailures = 0
  /// Time to connect, TLS included, for connections opened in the counted part.
  public var connectTime = LatencySummary()
  /// From the planned moment (closed loop: of sending) to the last byte of a good response: what a
  /// user who came at that moment would have seen.
  public var latency = LatencySummary()
  /// From the moment of sending to the last byte: what hides a stall (coordinated omission).
  public var uncorrected = LatencySummary()
  /// From the planned moment to that of sending.
  public var delay = LatencySummary()
  /// By template, where there are several; of more than 100 those that are sent most often, and behind
  /// them all others together.
  public var requests: [RequestResult] = []
  /// What the load itself cost: CPU seconds of its process in the counted part.
  public var processorSeconds = 0.0
  /// The busiest load thread's share of its CPU, 0 to 1: near 1 the load was the limit.
  public var busiestThread = 0.0
  public var intervals: [LoadInterval] = []

  public init() {}

  /// Requests per second whose moments came in the counted part; nil where none did, and in a closed
  /// loop. That is what the offered rate has to be measured by: a Poisson process has itself a count
  /// that varies, and a log is not evenly busy.
  public var dueRate: Double? {
    guard pacing != "closed", planned > 0, seconds > 0 else { return nil }
    return Double(planned) / seconds
  }
}

/// One template's share, or that of the others together.
public struct RequestResult: Codable, Sendable {
  public var name = ""
  /// Of the others: how many different requests they are; 0 otherwise.
  public var together = 0
  public var completed = 0
  public var failed = 0
  public var latency = LatencySummary()

  public init() {}
}

/// One second of a run.
public struct LoadInterval: Codable, Sendable {
  /// Seconds from the start of the counted part to this interval's end.
  public var end = 0.0
  public var completed = 0
  public var failed = 0
  public var p50 = 0
  public var p99 = 0

  public init() {}
}

/// A distribution of times, in nanoseconds.
public struct LatencySummary: Codable, Sendable {
  public var count = 0
  public var minimum = 0
  public var maximum = 0
  public var mean = 0.0
  public var deviation = 0.0
  public var p50 = 0
  public var p75 = 0
  public var p90 = 0
  public var p95 = 0
  public var p99 = 0
  public var p999 = 0
  public var p9999 = 0
  /// Pairs of a value and how often it came, ascending: the histogram's filled places.
  public var histogram: [[Int]] = []

  public init() {}
}
