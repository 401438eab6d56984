// Why an exchange ended. Every early end has a reason of its own: it is what the log, the audit
// record and a test see.

/// How an exchange ended.
enum Ending: UInt8 {
  case complete
  case badRequest
  case noRoute
  case methodRefused
  case upgradeNotSupported
  case loopDetected
  /// An OPTIONS request whose Max-Forwards is 0: this hop is the one that is asked.
  case maxForwards
  case auditFull
  case auditRecordTooLarge
  case auditFailed
  case connectRefused
  case connectUnreachable
  case connectTimeout
  case connectFailed
  case upstreamReset
  case upstreamClosedEarly
  case upstreamTruncated
  case upstreamMalformed
  case upstreamUpgrade
  case responseTimeout
  case downstreamReset
  case downstreamClosed
  case downstreamTimeout
  case requestBodyMalformed
  case requestBodyTimeout
  case resourcesExhausted
  case drainDeadline

  var label: StaticString {
    switch self {
    case .complete: "complete"
    case .badRequest: "bad_request"
    case .noRoute: "no_route"
    case .methodRefused: "method_refused"
    case .upgradeNotSupported: "upgrade_not_supported"
    case .loopDetected: "loop_detected"
    case .maxForwards: "max_forwards"
    case .auditFull: "audit_full"
    case .auditRecordTooLarge: "audit_record_too_large"
    case .auditFailed: "audit_failed"
    case .connectRefused: "connect_refused"
    case .connectUnreachable: "connect_unreachable"
    case .connectTimeout: "connect_timeout"
    case .connectFailed: "connect_failed"
    case .upstreamReset: "upstream_reset"
    case .upstreamClosedEarly: "upstream_closed_early"
    case .upstreamTruncated: "upstream_truncated"
    case .upstreamMalformed: "upstream_malformed"
    case .upstreamUpgrade: "upstream_upgrade"
    case .responseTimeout: "response_timeout"
    case .downstreamReset: "downstream_reset"
    case .downstreamClosed: "downstream_closed"
    case .downstreamTimeout: "downstream_timeout"
    case .requestBodyMalformed: "request_body_malformed"
    case .requestBodyTimeout: "request_body_timeout"
    case .resourcesExhausted: "resources_exhausted"
    case .drainDeadline: "drain_deadline"
    }
  }

  /// The status that the proxy answers with when it can still answer.
  var status: UInt16 {
    switch self {
    case .noRoute: 404
    case .methodRefused: 405
    case .upgradeNotSupported: 501
    case .loopDetected: 508
    case .maxForwards: 200
    case .badRequest, .requestBodyMalformed: 400
    case .requestBodyTimeout, .downstreamTimeout: 408
    case .auditRecordTooLarge: 431
    case .auditFull, .auditFailed, .resourcesExhausted, .drainDeadline: 503
    case .connectTimeout, .responseTimeout: 504
    default: 502
    }
  }
}
