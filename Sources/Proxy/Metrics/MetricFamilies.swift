// What the proxy counts: the families, each a case. A case's number is its column. To add a figure, add
// a case and what it says; nothing else knows their number.

import Metrics

/// What a worker counts as it happens. The names are the keys of the line that SIGUSR1 asks for.
enum WorkerMetric: Int, CaseIterable {
  case requests, responses, accepted, refused, streamsRefused, acceptedElsewhere, handedOver
  case badRequests, fieldsDropped, upstreamConnects, upstreamReuses, upstreamStale,
    upstreamFailures, retries
  case timeouts, downstreamAborts, handshakes, handshakeFailures, tlsFloods, tlsStalls, http2Floods,
    http2PingTimeouts
  case upstreamHandshakes, upstreamHandshakesResumed, upstreamHandshakeFailures
  case auditRejects, auditDrops, auditWaits, unansweredByAudit, holdsExpired, holdsRefused
  case plansInstalled, plansDelayed, framesExhausted
  case tunnels, tunnelsCut, tunnelPassages

  var family: MetricFamily {
    switch self {
    case .requests:
      .init("requests", "requests", "Request heads received, including rejected requests.")
    case .responses:
      .init("responses", "responses", "Responses sent completely.")
    case .accepted: .init("accepted", "connections", "Client connections accepted.")
    case .refused:
      .init(
        "refused", "connections", "Client connections refused, most of them at limits.connections.")
    case .streamsRefused:
      .init(
        "streams_refused", "requests",
        "Requests rejected because limits.streams requests were active.")
    case .acceptedElsewhere:
      .init(
        "accepted_elsewhere", "connections",
        "Accepted connections whose packets another CPU handled than this worker's.")
    case .handedOver:
      .init(
        "handed_over", "connections",
        "Connections passed to the worker of their NIC receive queue.")
    case .badRequests:
      .init("bad_requests", "requests", "Requests rejected as malformed.")
    case .fieldsDropped:
      .init(
        "fields_dropped", "fields",
        "Request header and trailer fields removed because their name is ambiguous.")
    case .upstreamConnects:
      .init("upstream_connects", "connections", "Connection attempts to upstream servers.")
    case .upstreamReuses:
      .init("upstream_reuses", "requests", "Requests sent on an idle upstream connection.")
    case .upstreamStale:
      .init(
        "upstream_stale", "connections",
        "Idle upstream connections found closed before the request was sent.")
    case .upstreamFailures:
      .init("upstream_failures", "failures", "Upstream failures of any kind.")
    case .retries: .init("retries", "requests", "Request retries.")
    case .timeouts:
      .init("timeouts", "timeouts", "Exchanges ended by a client or upstream timeout.")
    case .downstreamAborts:
      .init(
        "downstream_aborts", "connections", "Connections closed by the client during an exchange.")
    case .handshakes: .init("handshakes", "handshakes", "TLS handshakes completed.")
    case .handshakeFailures:
      .init("handshake_failures", "handshakes", "TLS handshakes that failed.")
    case .http2Floods:
      .init(
        "http2_floods", "connections",
        "HTTP/2 connections closed because the client sent too many frames without content.")
    case .http2PingTimeouts:
      .init(
        "http2_ping_timeouts", "connections",
        "HTTP/2 connections of clients and servers closed because a PING was not answered.")
    case .tlsFloods:
      .init(
        "tls_floods", "sessions",
        "TLS sessions closed because the peer sent too many messages without data.")
    case .tlsStalls:
      .init(
        "tls_stalls", "stalls", "Times decryption waited for TLS output to be sent.")
    case .upstreamHandshakes:
      .init(
        "upstream_handshakes", "handshakes", "Completed TLS handshakes with servers.")
    case .upstreamHandshakesResumed:
      .init(
        "upstream_handshakes_resumed", "handshakes",
        "TLS handshakes with servers that resumed a session.")
    case .upstreamHandshakeFailures:
      .init(
        "upstream_handshake_failures", "handshakes", "Failed TLS handshakes with servers.")
    case .auditRejects:
      .init(
        "audit_rejects", "requests", "Requests rejected because the audit log was full."
      )
    case .auditDrops:
      .init(
        "audit_drops", "records", "Exchanges not recorded in the audit log (when_full: drop).")
    case .auditWaits:
      .init("audit_waits", "waits", "Times a request waited for room in the audit log.")
    case .unansweredByAudit:
      .init(
        "unanswered_by_audit", "exchanges",
        "Exchanges aborted because their audit record could not be written.")
    case .holdsExpired:
      .init(
        "holds_expired", "responses",
        "Responses held for a single record (audit.hold) whose time or size limit was reached.")
    case .holdsRefused:
      .init(
        "holds_refused", "responses",
        "Responses not held because the worker's hold limit was reached.")
    case .plansInstalled:
      .init("plans_installed", "plans", "Configurations installed in place of an earlier one.")
    case .plansDelayed:
      .init(
        "plans_delayed", "plans",
        "Configurations that waited because too many earlier ones were still in use.")
    case .framesExhausted:
      .init("frames_exhausted", "frames", "Times no send frame was free.")
    case .tunnels:
      .init("tunnels", "tunnels", "Connections and streams switched to another protocol.")
    case .tunnelPassages:
      .init(
        "tunnel_passages", "passages",
        "Times that a direction of a tunnel was left to the kernel, splice(2).")
    case .tunnelsCut:
      .init(
        "tunnels_cut", "tunnels",
        "Tunnels aborted by a reset, a timeout or the drain deadline before both sides had ended.")
    }
  }
}

/// What a worker only knows when it looks: gauges, and what its engine and its journal count. It
/// writes them all at once.
enum PublishedMetric: Int, CaseIterable {
  case connections, exchanges, upstreamConnections, upstreamIdle, leases, frames, operations, timers
  case coldBytes, records, queues, plans, heldResponses, turns, coalescedWaits, systemCalls
  case completions
  case bytesCopied, receivesStarved, sendsShort, framesEvacuated, submissionQueueFull
  case completionQueueOverflows, auditRecords
  case auditCommits, tunnelsOpen, accessLogLines, accessLogDropped, traces,
    tracesDropped
  /// Beside the others, so that they can be set against it.
  case publishedResponses
  case publishedAt

  /// Whether it is on the line that SIGUSR1 asks for.
  var isReported: Bool { self != .publishedResponses && self != .publishedAt }

  var family: MetricFamily {
    switch self {
    case .connections: gauge("connections", "connections", "Open client connections.")
    case .exchanges: gauge("exchanges", "exchanges", "Active requests.")
    case .upstreamConnections:
      gauge("upstream_connections", "connections", "Open upstream connections.")
    case .upstreamIdle:
      gauge("upstream_idle", "connections", "Idle upstream connections.")
    case .leases: gauge("leases", "buffers", "Receive buffers in use.")
    case .frames: gauge("frames", "frames", "Send frames being filled or in flight.")
    case .operations: gauge("operations", "operations", "Engine operations in flight.")
    case .timers: gauge("timers", "timers", "Armed timers.")
    case .coldBytes:
      gauge("cold_bytes", "bytes", "Memory outside the buffer pools, used for data that waits.")
    case .records:
      .init("records", "exchanges", "Exchanges with a final record in the audit log.")
    case .queues: gauge("queues", "queues", "NIC receive queues that connections arrived on.")
    case .plans: gauge("plans", "plans", "Configurations in use by connections.")
    case .heldResponses:
      gauge("held_responses", "responses", "Responses held for a single audit record (audit.hold).")
    case .turns: .init("turns", "turns", "Event loop iterations.")
    case .coalescedWaits:
      .init(
        "coalesced_waits", "waits",
        "Event loop iterations that waited for more than the first event (engine.coalesce_microseconds)."
      )
    case .systemCalls: .init("system_calls", "calls", "System calls on the data path.")
    case .completions:
      .init("completions", "completions", "Completions (io_uring) or readiness events (epoll).")
    case .bytesCopied:
      .init(
        "bytes_copied", "bytes",
        "Bytes copied between sockets and buffers, both ways, excluding splice(2) and zero copy.")
    case .receivesStarved:
      .init("receives_starved", "receives", "Receives delayed because no buffer was free.")
    case .sendsShort: .init("sends_short", "sends", "Sends that needed more than one attempt.")
    case .framesEvacuated:
      .init(
        "frames_evacuated", "frames", "Send frames copied out of the pool because buffers ran low.")
    case .submissionQueueFull:
      .init("sq_full", "events", "Times the submission queue filled within one loop iteration.")
    case .completionQueueOverflows:
      .init("cq_overflows", "events", "Completion queue overflows; should stay 0.")
    case .auditRecords: .init("audit_records", "records", "Records committed to the audit log.")
    case .auditCommits: .init("audit_commits", "batches", "Batches committed to the audit log.")
    case .accessLogLines:
      .init("access_log_lines", "lines", "Lines passed to the access log's writer.")
    case .accessLogDropped:
      .init(
        "access_log_dropped", "lines",
        "Access log lines lost: no room in the worker's buffer, or the destination refused them.")
    case .traces: .init("traces", "exchanges", "Exchanges traced.")
    case .tracesDropped:
      .init(
        "traces_dropped", "exchanges",
        "Traced exchanges whose spans were lost: no room, or the collector did not take them.")
    case .tunnelsOpen: gauge("tunnels_open", "tunnels", "Open tunnels.")
    case .publishedResponses:
      .init(
        "published_responses", "responses", "Responses at the time these values were published.")
    case .publishedAt:
      gauge(
        "published_at", "nanoseconds", "Time these values were published (monotonic clock).")
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
      column("accepted", "connections", "Connections accepted by the listener.")
    case .requests:
      column("requests", "requests", "Requests received on the listener, including rejected ones.")
    case .requestBytes:
      column("request_bytes", "bytes", "Request content bytes, without heads and framing.")
    case .responseBytes:
      column("response_bytes", "bytes", "Response content bytes, without heads and framing.")
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
      "responses", "responses", "Responses by status class, including incomplete ones.",
      statusClasses[index])
  }

  private func handshakes(_ version: String) -> MetricColumn {
    column(
      "handshakes", "handshakes", "TLS handshakes completed.",
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
  case active, idle, downUntil

  var column: MetricColumn {
    switch self {
    case .requests:
      column("requests", "requests", "Request attempts assigned to the server.")
    case .connects: column("connects", "connections", "Connection attempts.")
    case .connectFailures:
      column("connect_failures", "connections", "Failed connection attempts.")
    case .reuses: column("reuses", "requests", "Requests sent on an idle upstream connection.")
    case .failures:
      column("failures", "exchanges", "Exchanges failed by the server.")
    case .retries:
      column("retries", "requests", "Requests retried after this server failed.")
    case .requestBytes:
      column("request_bytes", "bytes", "Content bytes of the requests it answered.")
    case .responseBytes: column("response_bytes", "bytes", "Content bytes of its responses.")
    case .responses2xx: responses(0)
    case .responses3xx: responses(1)
    case .responses4xx: responses(2)
    case .responses5xx: responses(3)
    case .handshakes12: handshakes("TLSv1.2")
    case .handshakes13: handshakes("TLSv1.3")
    case .handshakesResumed:
      column(
        "handshakes_resumed", "handshakes",
        "TLS handshakes with the server that resumed a session.")
    case .handshakesExpired: handshakeFailures("expired")
    case .handshakesNotYetValid: handshakeFailures("not_yet_valid")
    case .handshakesNameMismatch: handshakeFailures("name_mismatch")
    case .handshakesUntrusted: handshakeFailures("untrusted")
    case .handshakesTimedOut: handshakeFailures("handshake_timeout")
    case .handshakesFailed: handshakeFailures("failed")
    case .active: gauge("active", "requests", "Requests that the server is serving.")
    case .idle: gauge("idle", "connections", "Idle connections to the server.")
    case .downUntil:
      gauge(
        "down_until", "nanoseconds",
        "When the server is tried again after a failed connect (monotonic clock).")
    }
  }

  private func column(
    _ name: String, _ unit: String, _ help: String, _ label: MetricColumn.Label? = nil
  ) -> MetricColumn {
    MetricColumn(MetricFamily("server_" + name, unit, help), label)
  }

  private func gauge(_ name: String, _ unit: String, _ help: String) -> MetricColumn {
    MetricColumn(MetricFamily("server_" + name, unit, help, kind: .gauge))
  }

  private func handshakes(_ version: String) -> MetricColumn {
    column(
      "handshakes", "handshakes", "Completed TLS handshakes with the server.",
      MetricColumn.Label("version", version))
  }

  /// - Parameter reason: the label of the failure, without `tls_upstream_`.
  private func handshakeFailures(_ reason: String) -> MetricColumn {
    column(
      "handshake_failures", "handshakes", "Failed TLS handshakes with the server, by reason.",
      MetricColumn.Label("reason", reason))
  }

  private func responses(_ index: Int) -> MetricColumn {
    column(
      "responses", "responses", "Its responses by status class, including incomplete ones.",
      statusClasses[index])
  }
}
