// What went wrong in TLS, as a value: where, what kind, and OpenSSL's own code. It refuses to hold
// text: sentences are made when a person asks for them, so that failing costs the loop nothing.

/// A failure of the TLS layer, from a file that cannot be read to an alert of the peer.
public struct TLSFailure: Error, Sendable, Equatable {
  /// What was being done.
  public enum Stage: UInt8, Sendable, Hashable, BitwiseCopyable {
    /// A certificate, a key or a setting was being loaded.
    case configuration
    /// The session was being negotiated.
    case handshake
    /// Application data was being received.
    case read
    /// Application data was being sent.
    case write
  }

  /// What happened. Trivially copyable, so that the data plane can pass it by value.
  public enum Kind: Sendable, Hashable, BitwiseCopyable {
    /// There is no certificate file at the path.
    case certificateMissing
    /// The certificate file exists and cannot be read.
    case certificateUnreadable
    /// The certificate file holds no certificate that can be parsed.
    case certificateMalformed
    /// The certificate is below the security level: a short key or a weak digest.
    case certificateRefused
    /// The certificate's validity has ended.
    case certificateExpired
    /// The certificate's validity has not begun.
    case certificateNotYetValid
    /// There is no key file at the path.
    case keyMissing
    /// The key file exists and cannot be read.
    case keyUnreadable
    /// The key file holds no private key that can be parsed.
    case keyMalformed
    /// The private key is protected by a passphrase, which a server that starts alone cannot type.
    case keyEncrypted
    /// The private key does not belong to the certificate.
    case keyMismatch
    /// A context was asked for with no certificate at all.
    case noCertificates
    /// An ALPN name is empty or longer than 255 bytes (RFC 7301, section 3.1).
    case invalidALPN
    /// OpenSSL refused a setting, for example under a restrictive `openssl.cnf`.
    case configurationRefused

    /// The peer sent this alert (RFC 8446, section 6) and gave up.
    case alertReceived(UInt8)
    /// This side sent this alert, and no other kind says it better.
    case alertSent(UInt8)
    /// The peer offered no cipher suite that is allowed here.
    case noSharedCipher
    /// The peer offered no key exchange group that is allowed here.
    case noSharedGroup
    /// The peer can verify no signature that this side's certificates can make.
    case noSharedSignature
    /// The peer speaks only protocol versions that are refused here.
    case unsupportedVersion
    /// The peer's ALPN list has nothing in common with this side's.
    case noApplicationProtocol
    /// The first bytes were not TLS, most often plain HTTP spoken to a TLS port.
    case notTLS
    /// The peer asked for a renegotiation (TLS 1.2), which is never granted.
    case renegotiationRefused
    /// The peer sent more messages without application data than `MessageLimits` or OpenSSL allows.
    case tooManyMessages
    /// The transport ended without close_notify: what was received may be cut short.
    case truncated
    /// The peer broke the protocol in another way.
    case protocolError

    /// The server's certificate leads to no trusted authority (client side).
    case unknownCA
    /// The server's certificate is for another name (client side).
    case hostNameMismatch
    /// The server's certificate did not verify for another reason (client side).
    case peerCertificateRefused

    /// The caller sent application data after close_notify.
    case sendAfterClose
    /// Memory ran out.
    case outOfMemory
    /// OpenSSL failed for a reason of its own.
    case libraryFailure
  }

  /// What was being done.
  public let stage: Stage
  /// What happened.
  public let kind: Kind
  /// OpenSSL's packed error code (`openssl errstr` explains its hexadecimal form), 0 if it gave
  /// none.
  public let code: UInt
  /// Why the peer's certificate was not trusted, an X509_V_ number; 0 if it is not about that.
  public let verification: Int
  /// The file that it is about, nil if it is about no file.
  public let path: String?
  /// Whether the bytes that were not TLS began as an HTTP request does.
  public let isPlainHTTP: Bool

  public init(
    stage: Stage, kind: Kind, code: UInt = 0, verification: Int = 0, path: String? = nil,
    isPlainHTTP: Bool = false
  ) {
    self.stage = stage
    self.kind = kind
    self.code = code
    self.verification = verification
    self.path = path
    self.isPlainHTTP = isPlainHTTP
  }

  /// A short stable word for logs and metrics; it allocates nothing.
  public var label: StaticString { kind.label }
}
