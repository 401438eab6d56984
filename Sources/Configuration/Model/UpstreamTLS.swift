// TLS towards the servers of an upstream: which of them are trusted, by which name, and what they are
// shown in return. It holds paths and where they were written; the TLS room reads the files.

/// TLS on connections to an upstream.
public struct UpstreamTLS: Sendable, Equatable {
  /// Whether a server has to prove who it is. Without that anyone on the way to it can read and change
  /// everything.
  public var verify: Bool
  /// PEM file of the CAs that are trusted; nil: those of the system.
  public var caPath: String?
  /// Where it was written; where TLS was, if it was not.
  public var caLocation: SourceLocation
  /// The name that is asked for (SNI) and that the certificate must be for, in lower case, or an IP
  /// address, which is verified and not asked for (RFC 6066, section 3); nil: each server's own host.
  public var serverName: String?
  /// What a server that asks for a certificate is shown; nil: nothing.
  public var certificate: CertificateConfiguration?
  /// The oldest version that is accepted.
  public var minimumVersion: ListenerTLS.Version
  /// Protocols that are offered (RFC 7301), by preference.
  public var alpn: [String]

  public init(
    verify: Bool = true, caPath: String? = nil, caLocation: SourceLocation = SourceLocation(),
    serverName: String? = nil, certificate: CertificateConfiguration? = nil,
    minimumVersion: ListenerTLS.Version = .tls12, alpn: [String] = ["http/1.1"]
  ) {
    self.verify = verify
    self.caPath = caPath
    self.caLocation = caLocation
    self.serverName = serverName
    self.certificate = certificate
    self.minimumVersion = minimumVersion
    self.alpn = alpn
  }
}
