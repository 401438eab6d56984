// What a handshake with a server has failed of, as exchanges and metrics name it.

import Exchange
import TLS

extension Failure.Kind {
  /// What a connect has failed of whose handshake has.
  init(ofHandshake failure: TLSFailure.Kind) {
    self =
      switch failure {
      case .certificateExpired: .tlsExpired
      case .certificateNotYetValid: .tlsNotYetValid
      case .hostNameMismatch: .tlsNameMismatch
      case .unknownCA: .tlsUntrusted
      default: .tlsFailed
      }
  }
}

extension ServerMetric {
  /// Where a failed handshake is counted. - Parameter kind: what its connect has failed of.
  init(ofHandshake kind: Failure.Kind) {
    self =
      switch kind {
      case .tlsExpired: .handshakesExpired
      case .tlsNotYetValid: .handshakesNotYetValid
      case .tlsNameMismatch: .handshakesNameMismatch
      case .tlsUntrusted: .handshakesUntrusted
      case .tlsHandshakeTimeout: .handshakesTimedOut
      default: .handshakesFailed
      }
  }
}
