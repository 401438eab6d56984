// What a call of gRPC is told where the proxy replies itself. Where the reason says more than the status
// of HTTP, it decides: a client retries what is UNAVAILABLE, and not what is DEADLINE_EXCEEDED or INTERNAL.

import Exchange
import HTTP

extension GRPCStatus {
  /// - Parameters:
  ///   - kind: why the proxy replies.
  ///   - status: what it would reply to any other request.
  init(_ kind: Failure.Kind, status: UInt16) {
    switch kind {
    // It may have been served.
    case .responseTimeout, .requestBodyTimeout, .headTimeout: self = .deadlineExceeded
    // No other try would end better.
    case .upstreamMalformed, .upstreamUpgrade, .requestBodyMalformed, .loopDetected:
      self = .internalError
    case .resourcesExhausted, .auditRecordTooLarge: self = .resourceExhausted
    case .upgradeNotSupported, .noExtendedConnect: self = .unimplemented
    case .badRequest:
      // Limits of the head, and what broke a rule.
      self = status == 414 || status == 431 ? .resourceExhausted : GRPCStatus(ofHTTP: status)
    default: self = GRPCStatus(ofHTTP: status)
    }
  }
}
