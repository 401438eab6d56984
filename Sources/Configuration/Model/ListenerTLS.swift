// The TLS side of a listener: which certificates it may present and which versions it speaks. It
// holds paths and where they were written, never key material; the TLS room reads the files and
// reports against these locations.

/// TLS on a listener.
public struct ListenerTLS: Sendable, Equatable {
  /// The oldest version that is accepted. 1.0 and 1.1 do not exist here (RFC 8996).
  public enum Version: String, Sendable, Equatable, CaseIterable {
    case tls12 = "1.2"
    case tls13 = "1.3"
  }

  /// Who seals the records of TLS 1.3 that are sent.
  public enum RecordLayer: String, Sendable, Equatable, CaseIterable {
    /// The session itself with libcrypto's ciphers, where much is sent; OpenSSL's record layer elsewhere, and with an
    /// OpenSSL other than 3.0.
    case automatic = "auto"
    /// OpenSSL's record layer.
    case openSSL = "openssl"
  }

  /// At least one; chosen by SNI, the first one where nothing matches.
  public var certificates: [CertificateConfiguration]
  public var minimumVersion: Version
  public var recordLayer: RecordLayer

  public init(
    certificates: [CertificateConfiguration], minimumVersion: Version = .tls12,
    recordLayer: RecordLayer = .automatic
  ) {
    self.certificates = certificates
    self.minimumVersion = minimumVersion
    self.recordLayer = recordLayer
  }
}

/// A certificate chain and its private key, as PEM files.
public struct CertificateConfiguration: Sendable, Equatable {
  public var certificatePath: String
  public var certificateLocation: SourceLocation
  public var keyPath: String
  public var keyLocation: SourceLocation

  public init(
    certificatePath: String,
    certificateLocation: SourceLocation = SourceLocation(),
    keyPath: String,
    keyLocation: SourceLocation = SourceLocation()
  ) {
    self.certificatePath = certificatePath
    self.certificateLocation = certificateLocation
    self.keyPath = keyPath
    self.keyLocation = keyLocation
  }
}
