// The table of failures. The labels are part of the audit log's format: they may be added to, and
// not renamed.

extension Failure.Kind {
  /// The row of a kind. Statuses are RFC 9110's; 408 and 431 RFC 9110 15.5.9 and RFC 6585 5.
  public var failure: Failure {
    switch self {
    case .complete:
      Failure(self, .none, 200, "complete", answerable: false)

    // Requests that are not understood, or that no server is asked about.
    case .badRequest:
      Failure(self, .downstream, 400, "bad_request", metrics: .badRequests)
    case .headTimeout:
      // Recorded as what it leaves: a request that could not be read.
      Failure(self, .downstream, 408, "bad_request", metrics: .timeouts)
    case .noRoute: Failure(self, .downstream, 404, "no_route")
    case .methodRefused: Failure(self, .downstream, 405, "method_refused")
    case .upgradeNotSupported: Failure(self, .downstream, 501, "upgrade_not_supported")
    case .loopDetected: Failure(self, .downstream, 508, "loop_detected", log: .always)
    case .maxForwards: Failure(self, .none, 200, "max_forwards")

    // The audit log.
    case .auditFull: Failure(self, .local, 503, "audit_full", metrics: .auditRejects)
    case .auditRecordTooLarge: Failure(self, .downstream, 431, "audit_record_too_large")
    case .auditFailed:
      Failure(
        self, .local, 503, "audit_failed", metrics: .unansweredByAudit, answerable: false)

    // No connection to a server.
    case .connectRefused: upstream(502, "connect_refused", .unsent)
    case .connectUnreachable: upstream(502, "connect_unreachable", .unsent)
    case .connectTimeout: upstream(504, "connect_timeout", .unsent)
    case .connectFailed: upstream(502, "connect_failed", .unsent)
    // The handshake with a server, and what is wrong with its certificate.
    case .tlsExpired: upstream(502, "tls_upstream_expired", .unsent)
    case .tlsNotYetValid: upstream(502, "tls_upstream_not_yet_valid", .unsent)
    case .tlsNameMismatch: upstream(502, "tls_upstream_name_mismatch", .unsent)
    case .tlsUntrusted: upstream(502, "tls_upstream_untrusted", .unsent)
    case .tlsHandshakeTimeout: upstream(504, "tls_upstream_handshake_timeout", .unsent)
    case .tlsFailed: upstream(502, "tls_upstream_failed", .unsent)

    // A server that was asked.
    case .upstreamReset: upstream(502, "upstream_reset", .replayable)
    case .upstreamClosedEarly: upstream(502, "upstream_closed_early", .replayable)
    case .upstreamTruncated: upstream(502, "upstream_truncated", .never)
    case .upstreamMalformed: upstream(502, "upstream_malformed", .never)
    case .upstreamUpgrade: upstream(502, "upstream_upgrade", .never)
    case .noExtendedConnect: upstream(501, "upstream_no_extended_connect", .never)
    case .streamRefused: upstream(502, "upstream_stream_refused", .unprocessed)
    case .responseTimeout:
      Failure(
        self, .upstream, 504, "response_timeout", metrics: .upstreamFailures | .timeouts,
        log: .failures)

    case .upstreamSilent:
      // It has not answered a PING.
      Failure(
        self, .upstream, 504, "upstream_ping_timeout", retry: .replayable,
        metrics: .upstreamFailures | .timeouts, log: .failures)

    // A client that is gone, or does not listen.
    case .downstreamReset: gone(502, "downstream_reset", .downstreamAborts)
    case .downstreamClosed: gone(502, "downstream_closed", .downstreamAborts)
    case .downstreamTimeout: gone(408, "downstream_timeout", .timeouts)
    case .downstreamSilent: gone(408, "downstream_ping_timeout", .timeouts)
    case .downstreamUnsendable:
      // The TLS session holds what no frame can take.
      gone(503, "resources_exhausted", .downstreamAborts)

    // Request content.
    case .requestBodyMalformed:
      Failure(
        self, .downstream, 400, "request_body_malformed", metrics: .badRequests, log: .failures)
    case .requestBodyTimeout:
      Failure(
        self, .downstream, 408, "request_body_timeout", metrics: .timeouts, log: .failures)

    case .tunnelTimeout:
      Failure(self, .local, 504, "tunnel_timeout", metrics: .timeouts, answerable: false)
    case .cancelled:
      // An exchange without a downstream whose result is no longer wanted.
      Failure(self, .local, 503, "cancelled", answerable: false)
    case .resourcesExhausted:
      Failure(self, .local, 503, "resources_exhausted", log: .failures)
    case .noServer:
      // An operator has taken all servers of the upstream out.
      Failure(self, .local, 503, "no_server_available", log: .failures)
    case .drainDeadline:
      Failure(self, .local, 503, "drain_deadline", answerable: false)
    }
  }

  private func upstream(
    _ status: UInt16, _ label: StaticString, _ retry: Failure.Retry
  ) -> Failure {
    Failure(
      self, .upstream, status, label, retry: retry, metrics: .upstreamFailures, log: .failures)
  }

  private func gone(
    _ status: UInt16, _ label: StaticString, _ metrics: Failure.Metrics
  ) -> Failure {
    Failure(self, .downstream, status, label, metrics: metrics, answerable: false)
  }
}
