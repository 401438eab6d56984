// How OpenSSL's reason codes become kinds of failure. The reason decides first, because it is the
// most precise; then the alert that was sent; what neither explains is a protocol error.

import COpenSSL

extension TLSFailure.Kind {
  /// What an SSL_ERROR_SSL means.
  ///
  /// - Parameters:
  ///   - code: the error that explains it, 0 if OpenSSL queued none.
  ///   - alertSent: the fatal alert that this side sent during the session, nil if none.
  ///   - isFirstRecord: whether no record of the peer has been accepted yet.
  ///   - verifyResult: SSL_get_verify_result, an X509_V_ code; X509_V_OK on the server side.
  init(code: UInt, alertSent: UInt8?, isFirstRecord: Bool, verifyResult: Int) {
    if code != 0, ERR_GET_LIB(code) == ERR_LIB_SSL {
      let reason = ERR_GET_REASON(code)
      if let kind = Self.known(
        reason: reason, isFirstRecord: isFirstRecord, verifyResult: verifyResult)
      {
        self = kind
        return
      }
    }
    if code != 0, ERR_GET_REASON(code) == copenssl_ERR_R_MALLOC_FAILURE() {
      self = .outOfMemory
    } else if let alertSent {
      self = .alertSent(alertSent)
    } else if code != 0, ERR_GET_LIB(code) == ERR_LIB_SSL {
      self = .protocolError
    } else {
      self = .libraryFailure
    }
  }

  /// The kind of a reason of the SSL library that has one of its own.
  private static func known(
    reason: Int32, isFirstRecord: Bool, verifyResult: Int
  ) -> TLSFailure.Kind? {
    // Reasons from 1000 up are alerts of the peer, by number (ssl.h, SSL_AD_REASON_OFFSET).
    if reason >= SSL_AD_REASON_OFFSET, reason < SSL_AD_REASON_OFFSET + 256 {
      return .alertReceived(UInt8(reason - SSL_AD_REASON_OFFSET))
    }
    switch reason {
    case SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST:
      return .notTLS
    case SSL_R_WRONG_VERSION_NUMBER, SSL_R_LENGTH_TOO_SHORT, SSL_R_RECORD_LENGTH_MISMATCH,
      SSL_R_UNEXPECTED_MESSAGE, SSL_R_BAD_RECORD_TYPE:
      return isFirstRecord ? .notTLS : nil
    case SSL_R_RECORD_TOO_SMALL:
      // The record layer's reason for too many records without content.
      return isFirstRecord ? .notTLS : .tooManyMessages
    case SSL_R_TOO_MANY_WARN_ALERTS:
      return .tooManyMessages
    case SSL_R_NO_SHARED_CIPHER, SSL_R_NO_CIPHERS_SPECIFIED, SSL_R_NO_CIPHERS_AVAILABLE:
      return .noSharedCipher
    case SSL_R_NO_SHARED_GROUPS, SSL_R_NO_SUITABLE_KEY_SHARE, SSL_R_NO_SUITABLE_GROUPS:
      return .noSharedGroup
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
      return .noSharedSignature
    case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_UNKNOWN_PROTOCOL,
      SSL_R_NO_PROTOCOLS_AVAILABLE, SSL_R_UNSUPPORTED_SSL_VERSION, SSL_R_INAPPROPRIATE_FALLBACK:
      return .unsupportedVersion
    case SSL_R_NO_APPLICATION_PROTOCOL:
      return .noApplicationProtocol
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      return refusedCertificate(verifyResult)
    default:
      return nil
    }
  }

  /// Whether the server's certificate did not verify (client side).
  var isOfServerCertificate: Bool {
    switch self {
    case .unknownCA, .hostNameMismatch, .certificateExpired, .certificateNotYetValid,
      .peerCertificateRefused:
      true
    default: false
    }
  }

  /// Why the server's certificate could not be verified.
  private static func refusedCertificate(_ result: Int) -> TLSFailure.Kind {
    switch Int32(truncatingIfNeeded: result) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
      X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
      X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_UNTRUSTED:
      return .unknownCA
    case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
      return .hostNameMismatch
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return .certificateExpired
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return .certificateNotYetValid
    default:
      return .peerCertificateRefused
    }
  }
}
