// The words of a failure: a stable label for logs and metrics, and a sentence for a person. It
// decides nothing; the kinds are told apart in TLSFailure+OpenSSL.swift.

import COpenSSL

extension TLSFailure.Kind {
  /// A short stable word for logs and metrics; it allocates nothing.
  public var label: StaticString {
    switch self {
    case .certificateMissing: "certificate_missing"
    case .certificateUnreadable: "certificate_unreadable"
    case .certificateMalformed: "certificate_malformed"
    case .certificateRefused: "certificate_refused"
    case .certificateExpired: "certificate_expired"
    case .certificateNotYetValid: "certificate_not_yet_valid"
    case .keyMissing: "key_missing"
    case .keyUnreadable: "key_unreadable"
    case .keyMalformed: "key_malformed"
    case .keyEncrypted: "key_encrypted"
    case .keyMismatch: "key_mismatch"
    case .noCertificates: "no_certificates"
    case .invalidALPN: "invalid_alpn"
    case .configurationRefused: "configuration_refused"
    case .alertReceived: "alert_received"
    case .alertSent: "alert_sent"
    case .noSharedCipher: "no_shared_cipher"
    case .noSharedGroup: "no_shared_group"
    case .noSharedSignature: "no_shared_signature"
    case .unsupportedVersion: "unsupported_version"
    case .noApplicationProtocol: "no_application_protocol"
    case .notTLS: "not_tls"
    case .renegotiationRefused: "renegotiation_refused"
    case .tooManyMessages: "too_many_messages"
    case .truncated: "truncated"
    case .protocolError: "protocol_error"
    case .unknownCA: "unknown_ca"
    case .hostNameMismatch: "host_name_mismatch"
    case .peerCertificateRefused: "peer_certificate_refused"
    case .sendAfterClose: "send_after_close"
    case .outOfMemory: "out_of_memory"
    case .libraryFailure: "library_failure"
    }
  }

  /// What happened, as the end of a sentence.
  var sentence: String {
    switch self {
    case .certificateMissing: "the certificate file does not exist"
    case .certificateUnreadable: "the certificate file cannot be read"
    case .certificateMalformed: "the file does not contain a valid PEM certificate"
    case .certificateRefused: "the certificate is too weak for the OpenSSL security level"
    case .certificateExpired: "the certificate has expired"
    case .certificateNotYetValid: "the certificate is not valid yet"
    case .keyMissing: "the key file does not exist"
    case .keyUnreadable: "the key file cannot be read"
    case .keyMalformed: "the file does not contain a valid PEM private key"
    case .keyEncrypted: "the private key is protected by a passphrase"
    case .keyMismatch: "the private key does not belong to the certificate"
    case .noCertificates: "no certificate is configured"
    case .invalidALPN: "an ALPN protocol name must have 1 to 255 bytes"
    case .configurationRefused: "OpenSSL rejected a setting"
    case .alertReceived(let alert): "the peer sent the alert \(alertName(alert))"
    case .alertSent(let alert): "the handshake was rejected with the alert \(alertName(alert))"
    case .noSharedCipher: "no cipher suite in common with the peer"
    case .noSharedGroup: "no key exchange group in common with the peer"
    case .noSharedSignature: "no signature algorithm in common with the peer"
    case .unsupportedVersion: "no TLS version in common with the peer"
    case .noApplicationProtocol: "no ALPN protocol in common with the peer"
    case .notTLS: "the first bytes are not a TLS record"
    case .renegotiationRefused: "the peer requested a renegotiation, which is not supported"
    case .tooManyMessages: "the peer sent too many messages without application data"
    case .truncated: "the connection ended without close_notify, data may be missing"
    case .protocolError: "the peer violated the TLS protocol"
    case .unknownCA: "the server's certificate is not signed by a trusted CA"
    case .hostNameMismatch: "the server's certificate does not match the host name"
    case .peerCertificateRefused: "the server's certificate could not be verified"
    case .sendAfterClose: "data was sent after close_notify"
    case .outOfMemory: "out of memory"
    case .libraryFailure: "OpenSSL failed"
    }
  }
}

extension TLSFailure: CustomStringConvertible {
  /// What was being done, what happened, and OpenSSL's reason where it adds something.
  public var description: String {
    var text =
      switch stage {
      case .configuration: "TLS configuration"
      case .handshake: "TLS handshake"
      case .read: "TLS read"
      case .write: "TLS write"
      }
    if let path { text += " (\(path))" }
    text += ": "
    text += isPlainHTTP ? "plain HTTP request sent to a TLS port" : kind.sentence
    if verification != 0 {
      // What OpenSSL calls it says more than that verification failed.
      text += " (OpenSSL: \(String(cString: X509_verify_cert_error_string(verification))))"
    } else if let reason = OpenSSLLibrary.reason(of: code) {
      text += " (OpenSSL: \(reason))"
    }
    return text
  }
}

/// An alert's registered name and number, for example `unknown CA (48)`.
private func alertName(_ alert: UInt8) -> String {
  "\(String(cString: SSL_alert_desc_string_long(Int32(alert)))) (\(alert))"
}
