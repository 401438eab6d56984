// What the proxy counts: the families, each a case. A case's number is its column. To add a figure, add
// a case and what it says; nothing else knows their number.

import Metrics

/// What a worker counts as it happens. The names are the keys of the line that SIGUSR1 asks for.
enum WorkerMetric: Int, CaseIterable {
  case requests, responses, accepted, refused, streamsRefused, acceptedElsewhere, handedOver
  case badRequests, fieldsDropped, upstreamConnects, upstreamReuses, upstreamStale,
    upstreamFailures, retries
  case timeouts, downstreamAborts, handshakes, handshakeFailures, tlsFloods, tlsStalls
  case upstreamHandshakes, upstreamHandshakesResumed, upstreamHandshakeFailures
  case auditRejects, auditDrops, auditWaits, unansweredByAudit, holdsExpired, holdsRefused
  case plansInstalled, plansDelayed, framesExhausted

  var family: MetricFamily {
    switch self {
    case .requests: .init("requests", "requests", "Requests whose head was read, refused ones too.")
    case .responses:
      .init("responses", "responses", "Responses that were delivered to their end.")
    case .accepted: .init("accepted", "connections", "Connections that were taken in.")
    case .refused:
      .init("refused", "connections", "Connections that were refused, most at the limit of them.")
    case .streamsRefused:
      .init(
        "streams_refused", "requests",
        "Requests that were refused because limits.streams were in progress.")
    case .acceptedElsewhere:
      .init(
        "accepted_elsewhere", "connections",
        "Accepted connections whose packets another CPU than this worker's handled.")
    case .handedOver:
      .init(
        "handed_over", "connections",
        "Connections that were passed on to the worker of their device queue.")
    case .badRequests:
      .init("bad_requests", "requests", "Requests that were refused as malformed.")
    case .fieldsDropped:
      .init(
        "fields_dropped", "fields",
        "Field and trailer lines of requests that were dropped for an ambiguous name.")
    case .upstreamConnects:
      .init("upstream_connects", "connections", "Connections to servers that were begun.")
    case .upstreamReuses:
      .init("upstream_reuses", "requests", "Requests that were given a kept connection.")
    case .upstreamStale:
      .init(
        "upstream_stale", "connections",
        "Kept connections that proved useless before the request that they were given had left.")
    case .upstreamFailures:
      .init("upstream_failures", "failures", "Times that a server failed in any way.")
    case .retries: .init("retries", "requests", "Second and further tries of a request.")
    case .timeouts: .init("timeouts", "timeouts", "Timeouts of clients and servers in exchanges.")
    case .downstreamAborts:
      .init("downstream_aborts", "connections", "Connections that their client broke off.")
    case .handshakes: .init("handshakes", "handshakes", "TLS handshakes that were completed.")
    case .handshakeFailures:
      .init("handshake_failures", "handshakes", "TLS handshakes that failed.")
    case .tlsFloods:
      .init(
        "tls_floods", "sessions",
        "TLS sessions that ended because their peer sent too many messages without data.")
    case .tlsStalls:
      .init(
        "tls_stalls", "stalls", "Times that decrypting waited until the session's output had left.")
    case .upstreamHandshakes:
      .init(
        "upstream_handshakes", "handshakes", "TLS handshakes with servers that were completed.")
    case .upstreamHandshakesResumed:
      .init(
        "upstream_handshakes_resumed", "handshakes",
        "TLS handshakes with servers that resumed an earlier session.")
    case .upstreamHandshakeFailures:
      .init(
        "upstream_handshake_failures", "handshakes", "TLS handshakes with servers that failed.")
    case .auditRejects:
      .init(
        "audit_rejects", "requests", "Requests that were refused for want of room in the audit log."
      )
    case .auditDrops:
      .init(
        "audit_drops", "records", "Exchanges that the audit log does not have, by when_full: drop.")
    case .auditWaits:
      .init("audit_waits", "waits", "Times that a request began to wait for room in the audit log.")
    case .unansweredByAudit:
      .init(
        "unanswered_by_audit", "exchanges",
        "Exchanges that were cut because their record could not be written.")
    case .holdsExpired:
      .init(
        "holds_expired", "responses",
        "Responses that were held for their end and had to begin without it.")
    case .holdsRefused:
      .init(
        "holds_refused", "responses",
        "Responses that were not held because the worker held too much.")
    case .plansInstalled:
      .init("plans_installed", "plans", "Plans that took the place of another.")
    case .plansDelayed:
      .init("plans_delayed", "plans", "Plans that had to wait for a place among those in use.")
    case .framesExhausted:
      .init("frames_exhausted", "frames", "Times that no frame was left for a send.")
    }
  }
}

/// What a worker only knows when it looks: gauges, and what its engine and its journal count. It
/// writes them all at once.
enum PublishedMetric: Int, CaseIterable {
  case connections, exchanges, upstreamConnections, upstreamIdle, leases, frames, operations, timers
  case coldBytes, records, queues, plans, heldResponses, turns, systemCalls, completions,
    receivesStarved
  case sendsShort, framesEvacuated, submissionQueueFull, completionQueueOverflows, auditRecords
  case auditCommits
  /// Beside the others, so that they can be set against it.
  case publishedResponses
  case publishedAt

  /// Whether it is on the line that SIGUSR1 asks for.
  var isReported: Bool { self != .publishedResponses && self != .publishedAt }

  var family: MetricFamily {
    switch self {
    case .connections: gauge("connections", "connections", "Open connections of clients.")
    case .exchanges: gauge("exchanges", "exchanges", "Requests that are being served.")
    case .upstreamConnections:
      gauge("upstream_connections", "connections", "Open connections to servers.")
    case .upstreamIdle:
      gauge("upstream_idle", "connections", "Connections to servers that wait for a request.")
    case .leases: gauge("leases", "buffers", "Receive buffers that are in use.")
    case .frames: gauge("frames", "frames", "Sends in the making or in flight.")
    case .operations: gauge("operations", "operations", "Operations of the engine in flight.")
    case .timers: gauge("timers", "timers", "Timers that are set.")
    case .coldBytes:
      gauge("cold_bytes", "bytes", "Memory outside of the pools, for what has to wait.")
    case .records:
      .init("records", "exchanges", "Exchanges whose end is in the audit log.")
    case .queues: gauge("queues", "queues", "Device queues that connections came by.")
    case .plans: gauge("plans", "plans", "Plans that connections are on.")
    case .heldResponses:
      gauge("held_responses", "responses", "Responses that are held for their end.")
    case .turns: .init("turns", "turns", "Turns of the worker's loop.")
    case .systemCalls: .init("system_calls", "calls", "System calls on the path of data.")
    case .completions:
      .init("completions", "completions", "Completions; on epoll, readiness events.")
    case .receivesStarved:
      .init("receives_starved", "receives", "Receives that waited because no buffer was free.")
    case .sendsShort: .init("sends_short", "sends", "Sends that took more than one try.")
    case .framesEvacuated:
      .init(
        "frames_evacuated", "frames", "Frames copied out of the pools because buffers were few.")
    case .submissionQueueFull:
      .init("sq_full", "events", "Times that the submission queue was full within a turn.")
    case .completionQueueOverflows:
      .init("cq_overflows", "events", "Times that the completion queue was full; should stay 0.")
    case .auditRecords: .init("audit_records", "records", "Records that are in the audit log.")
    case .auditCommits: .init("audit_commits", "batches", "Batches written to the audit log.")
    case .publishedResponses:
      .init(
        "published_responses", "responses", "Responses, when the figures beside it were written.")
    case .publishedAt:
      gauge(
        "published_at", "nanoseconds", "When the figures beside it were written (monotonic clock).")
    }
  }

  private func gauge(_ name: String, _ unit: String, _ help: String) -> MetricFamily {
    MetricFamily(name, unit, help, kind: .gauge)
  }
}

/// By class of the status; what is above 599 is taken for the fifth (RFC 9110 15).
private let statusClasses = ["2xx", "3xx", "4xx", "5xx"].map { MetricColumn.Label("class", $0) }

/// What is counted for each listener.
enum ListenerMetric: Int, CaseIterable {
  case accepted, requests, requestBytes, responseBytes
  case responses2xx, responses3xx, responses4xx, responses5xx
  case handshakes12, handshakes13, handshakeFailures

  var column: MetricColumn {
    switch self {
    case .accepted:
      column("accepted", "connections", "Connections that the listener took in.")
    case .requests:
      column("requests", "requests", "Requests that the listener was sent, refused ones too.")
    case .requestBytes:
      column("request_bytes", "bytes", "Content of requests, without heads and framing.")
    case .responseBytes:
      column("response_bytes", "bytes", "Content of responses, without heads and framing.")
    case .responses2xx: responses(0)
    case .responses3xx: responses(1)
    case .responses4xx: responses(2)
    case .responses5xx: responses(3)
    case .handshakes12: handshakes("TLSv1.2")
    case .handshakes13: handshakes("TLSv1.3")
    case .handshakeFailures:
      column("handshake_failures", "handshakes", "TLS handshakes that failed.")
    }
  }

  private func column(
    _ name: String, _ unit: String, _ help: String, _ label: MetricColumn.Label? = nil
  ) -> MetricColumn {
    MetricColumn(MetricFamily("listener_" + name, unit, help), label)
  }

  private func responses(_ index: Int) -> MetricColumn {
    column(
      "responses", "responses", "Responses by class of status, those that were cut too.",
      statusClasses[index])
  }

  private func handshakes(_ version: String) -> MetricColumn {
    column(
      "handshakes", "handshakes", "TLS handshakes that were completed.",
      MetricColumn.Label("version", version))
  }
}

/// What is counted for each server of each upstream.
enum ServerMetric: Int, CaseIterable {
  case requests, connects, connectFailures, reuses, failures, retries, requestBytes, responseBytes
  case responses2xx, responses3xx, responses4xx, responses5xx
  case handshakes12, handshakes13, handshakesResumed
  case handshakesExpired, handshakesNotYetValid, handshakesNameMismatch, handshakesUntrusted
  case handshakesTimedOut, handshakesFailed

  var column: MetricColumn {
    switch self {
    case .requests:
      column("requests", "requests", "Requests that the server was chosen for, each try of them.")
    case .connects: column("connects", "connections", "Connections that were begun.")
    case .connectFailures:
      column("connect_failures", "connections", "Connections that could not be made.")
    case .reuses: column("reuses", "requests", "Requests that were given a kept connection.")
    case .failures:
      column("failures", "exchanges", "Exchanges that failed because of the server.")
    case .retries:
      column("retries", "requests", "Requests that were tried again after this server failed.")
    case .requestBytes:
      column("request_bytes", "bytes", "Content of the requests that it answered.")
    case .responseBytes: column("response_bytes", "bytes", "Content of its responses.")
    case .responses2xx: responses(0)
    case .responses3xx: responses(1)
    case .responses4xx: responses(2)
    case .responses5xx: responses(3)
    case .handshakes12: handshakes("TLSv1.2")
    case .handshakes13: handshakes("TLSv1.3")
    case .handshakesResumed:
      column(
        "handshakes_resumed", "handshakes",
        "TLS handshakes with the server that resumed an earlier session.")
    case .handshakesExpired: handshakeFailures("expired")
    case .handshakesNotYetValid: handshakeFailures("not_yet_valid")
    case .handshakesNameMismatch: handshakeFailures("name_mismatch")
    case .handshakesUntrusted: handshakeFailures("untrusted")
    case .handshakesTimedOut: handshakeFailures("handshake_timeout")
    case .handshakesFailed: handshakeFailures("failed")
    }
  }

  private func column(
    _ name: String, _ unit: String, _ help: String, _ label: MetricColumn.Label? = nil
  ) -> MetricColumn {
    MetricColumn(MetricFamily("server_" + name, unit, help), label)
  }

  private func handshakes(_ version: String) -> MetricColumn {
    column(
      "handshakes", "handshakes", "TLS handshakes with the server that were completed.",
      MetricColumn.Label("version", version))
  }

  /// - Parameter reason: the label of the failure, without `tls_upstream_`.
  private func handshakeFailures(_ reason: String) -> MetricColumn {
    column(
      "handshake_failures", "handshakes", "TLS handshakes with the server that failed, by reason.",
      MetricColumn.Label("reason", reason))
  }

  private func responses(_ index: Int) -> MetricColumn {
    column(
      "responses", "responses", "Its responses by class of status, those that were cut too.",
      statusClasses[index])
  }
}
