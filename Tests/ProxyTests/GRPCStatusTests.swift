// What a call of gRPC is told for each reason of the proxy's own: the table of docs/http-conformance.md.

import Exchange
import HTTP
import Testing

@testable import Proxy

@Suite struct GRPCStatusTests {
  private static let table: [Failure.Kind: GRPCStatus] = [
    .badRequest: .internalError, .headTimeout: .deadlineExceeded, .noRoute: .unimplemented,
    .methodRefused: .unknown, .upgradeNotSupported: .unimplemented,
    .noExtendedConnect: .unimplemented, .loopDetected: .internalError,
    .auditFull: .unavailable, .auditRecordTooLarge: .resourceExhausted,
    .connectRefused: .unavailable, .connectUnreachable: .unavailable,
    .connectTimeout: .unavailable, .connectFailed: .unavailable, .tlsExpired: .unavailable,
    .tlsNotYetValid: .unavailable, .tlsNameMismatch: .unavailable, .tlsUntrusted: .unavailable,
    .tlsHandshakeTimeout: .unavailable, .tlsFailed: .unavailable, .upstreamReset: .unavailable,
    .upstreamClosedEarly: .unavailable, .upstreamTruncated: .unavailable,
    .upstreamMalformed: .internalError, .upstreamUpgrade: .internalError,
    .streamRefused: .unavailable, .upstreamSilent: .unavailable,
    .responseTimeout: .deadlineExceeded,
    .requestBodyMalformed: .internalError, .requestBodyTimeout: .deadlineExceeded,
    .resourcesExhausted: .resourceExhausted, .noServer: .unavailable,
  ]

  @Test func eachReasonThatIsReplied() {
    for kind in Failure.Kind.allCases {
      let failure = Failure(kind)
      guard failure.isAnswerable, failure.status >= 400 else { continue }
      #expect(
        GRPCStatus(kind, status: failure.status) == Self.table[kind],
        "\(failure.label)")
    }
  }

  @Test func limitsOfAHead() {
    #expect(GRPCStatus(.badRequest, status: 414) == .resourceExhausted)
    #expect(GRPCStatus(.badRequest, status: 431) == .resourceExhausted)
    #expect(GRPCStatus(.badRequest, status: 417) == .unknown)
  }
}
