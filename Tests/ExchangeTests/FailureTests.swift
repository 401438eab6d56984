import Testing

@testable import Exchange

@Suite("The table of failures")
struct FailureTests {
  /// Labels and statuses as audit records and replies have had them from the start.
  static let published: [(Failure.Kind, String, UInt16)] = [
    (.complete, "complete", 200), (.badRequest, "bad_request", 400), (.noRoute, "no_route", 404),
    (.methodRefused, "method_refused", 405),
    (.upgradeNotSupported, "upgrade_not_supported", 501),
    (.loopDetected, "loop_detected", 508), (.maxForwards, "max_forwards", 200),
    (.auditFull, "audit_full", 503), (.auditRecordTooLarge, "audit_record_too_large", 431),
    (.auditFailed, "audit_failed", 503), (.connectRefused, "connect_refused", 502),
    (.connectUnreachable, "connect_unreachable", 502),
    (.connectTimeout, "connect_timeout", 504), (.connectFailed, "connect_failed", 502),
    (.tlsExpired, "tls_upstream_expired", 502),
    (.tlsNotYetValid, "tls_upstream_not_yet_valid", 502),
    (.tlsNameMismatch, "tls_upstream_name_mismatch", 502),
    (.tlsUntrusted, "tls_upstream_untrusted", 502),
    (.tlsHandshakeTimeout, "tls_upstream_handshake_timeout", 504),
    (.tlsFailed, "tls_upstream_failed", 502), (.upstreamReset, "upstream_reset", 502),
    (.upstreamClosedEarly, "upstream_closed_early", 502),
    (.upstreamTruncated, "upstream_truncated", 502),
    (.upstreamMalformed, "upstream_malformed", 502), (.upstreamUpgrade, "upstream_upgrade", 502),
    (.responseTimeout, "response_timeout", 504), (.downstreamReset, "downstream_reset", 502),
    (.downstreamClosed, "downstream_closed", 502),
    (.downstreamTimeout, "downstream_timeout", 408),
    (.requestBodyMalformed, "request_body_malformed", 400),
    (.requestBodyTimeout, "request_body_timeout", 408),
    (.upstreamSilent, "upstream_ping_timeout", 504),
    (.downstreamSilent, "downstream_ping_timeout", 408),
    (.noServer, "no_server_available", 503),
    (.resourcesExhausted, "resources_exhausted", 503), (.drainDeadline, "drain_deadline", 503),
  ]

  @Test("Published labels and statuses stay what they are")
  func stable() {
    for (kind, label, status) in Self.published {
      let failure = Failure(kind)
      #expect(failure.label.description == label)
      #expect(kind == .complete || failure.status == status, "\(kind)")
    }
  }

  @Test("Every kind has a row of its own, and a label that a log can be searched for")
  func rows() {
    var labels: [String: Failure.Kind] = [:]
    for kind in Failure.Kind.allCases {
      let failure = Failure(kind)
      #expect(failure.kind == kind)
      let label = failure.label.description
      #expect(!label.isEmpty && label.utf8.allSatisfy { $0 == 0x5f || (0x61...0x7a).contains($0) })
      let shared: [Failure.Kind] = [.headTimeout, .resourcesExhausted, .downstreamUnsendable]
      #expect(labels[label] == nil || shared.contains(kind), "\(label) twice")
      labels[label] = kind
      #expect(failure.isAnswerable == false || (200...599).contains(failure.status))
    }
  }

  @Test("A server that TLS does not believe was not reached: any request may go elsewhere")
  func tls() {
    for kind in Failure.Kind.allCases where Failure(kind).label.description.hasPrefix("tls_") {
      let failure = Failure(kind)
      #expect(failure.retry == .unsent && failure.source == .upstream && failure.isAnswerable)
      #expect(failure.log == .failures)
    }
  }

  @Test("Only failures of a server are tried again, and each is counted as one")
  func retries() {
    for kind in Failure.Kind.allCases {
      let failure = Failure(kind)
      if failure.retry != .never { #expect(failure.source == .upstream) }
      #expect(
        (failure.source == .upstream) == failure.metrics.has(.upstreamFailures), "\(kind)")
    }
  }
}
