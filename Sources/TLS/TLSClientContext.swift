// The client side's configuration, for the load generator and for servers behind TLS. It verifies by
// default: trust in an unverified peer has to be asked for by name.

import COpenSSL

/// What every client session of one destination shares.
public final class TLSClientContext: @unchecked Sendable {
  // Unchecked because of the pointer: an SSL_CTX that is no longer configured may be used from any
  // thread.

  /// Which servers are trusted.
  public enum Trust: Sendable, Hashable {
    /// Those that the system's authorities vouch for.
    case system
    /// Those that the authorities in this PEM file vouch for.
    case file(String)
    /// All of them. Encryption without authentication: for tests and load generators only.
    case anyone
  }

  private let group: OpaquePointer
  /// Whether sessions keep what servers give to resume with.
  private let keepsTickets: Bool

  /// TLS 1.2: those of a server, and those with finite-field groups, which cost a client little and older
  /// servers have nothing better. All are AEAD: `recordOverheadMaximum` counts on that.
  private static let ciphers =
    TLSContext.ciphers
    + ":DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"

  /// Prepares a client. Reads files; not for the loop.
  ///
  /// - Parameters:
  ///   - trust: which servers are trusted.
  ///   - certificate: shown to a server that asks for one; nil: nothing is shown.
  ///   - minimumVersion: the oldest version that is accepted.
  ///   - alpn: protocols by preference, 1 to 255 bytes each; empty: ALPN is not offered.
  ///   - keepsTickets: sessions gather what servers give to resume with (`ClientTickets`).
  /// - Throws: `certificateUnreadable` if the authorities cannot be loaded, what is wrong with the
  ///   certificate, or why OpenSSL refused a setting.
  public init(
    trust: Trust = .system, certificate: CertificateSource? = nil,
    minimumVersion: TLSVersion = .tls12, alpn: [String] = ["http/1.1"], keepsTickets: Bool = false
  ) throws(TLSFailure) {
    let wire = try TLSContext.protocolList(alpn)
    var pair: CertificatePair?
    if let certificate { pair = try TLSContext.load(certificate) }
    guard OpenSSLLibrary.isReady, let group = SSL_CTX_new(TLS_client_method()) else {
      throw TLSFailure(
        stage: .configuration, kind: .libraryFailure, code: OpenSSLLibrary.drainErrors())
    }
    ERR_clear_error()
    var isTrustLoaded = true
    switch trust {
    case .system: isTrustLoaded = TrustedAuthorities.loadSystem(into: group)
    case .file(let path): isTrustLoaded = TrustedAuthorities.load(path, into: group)
    case .anyone: break
    }
    SSL_CTX_set_verify(group, trust == .anyone ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nil)
    // A star stands for a whole label (RFC 9525, section 6.3).
    X509_VERIFY_PARAM_set_hostflags(
      SSL_CTX_get0_param(group), UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
    let isConfigured =
      TLSContext.configure(group, minimumVersion: minimumVersion)
      && SSL_CTX_set_cipher_list(group, Self.ciphers) == 1
      && SSL_CTX_set_ciphersuites(group, TLSContext.cipherSuites) == 1
      && pair?.install(in: group) != false
      // Unlike every other call, this one returns 0 for success.
      && (wire.isEmpty || SSL_CTX_set_alpn_protos(group, wire, UInt32(wire.count)) == 0)
    guard isTrustLoaded, isConfigured else {
      let code = OpenSSLLibrary.drainErrors()
      SSL_CTX_free(group)
      var path: String?
      if case .file(let file) = trust, !isTrustLoaded { path = file }
      throw TLSFailure(
        stage: .configuration,
        kind: isTrustLoaded ? .configurationRefused : .certificateUnreadable, code: code, path: path
      )
    }
    SSL_CTX_set_info_callback(group, SessionNotes.record)
    if keepsTickets {
      // No store of OpenSSL's own: it would be shared by all servers and workers of the context.
      _ = copenssl_SSL_CTX_set_session_cache_mode(
        group,
        Int(SSL_SESS_CACHE_CLIENT) | Int(SSL_SESS_CACHE_NO_INTERNAL)
          | Int(SSL_SESS_CACHE_NO_AUTO_CLEAR))
      SSL_CTX_sess_set_new_cb(group, ClientCallbacks.newSession)
    }
    self.keepsTickets = keepsTickets
    self.group = group
  }

  deinit { SSL_CTX_free(group) }

  /// As ALPN has it: its length, and the name.
  private static let http1: [UInt8] = [8] + Array("http/1.1".utf8)

  /// An SSL that will verify and ask for `host`; nil if memory ran out or the name is refused.
  ///
  /// - Parameter offersHTTP1: ALPN offers HTTP/1.1 alone, whatever else the context would.
  func makeParts(
    host: String, offersHTTP1: Bool
  ) -> (ssl: OpaquePointer, wires: UnsafeMutablePointer<SessionWires>)? {
    guard let parts = TLSSession.makeParts(group) else { return nil }
    // An address literal is verified as such and never sent as a server name (RFC 6066, section 3).
    let isAddress = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(parts.ssl), host) == 1
    ERR_clear_error()
    let isNamed =
      isAddress
      || (SSL_set1_host(parts.ssl, host) == 1
        && copenssl_SSL_set_tlsext_host_name(parts.ssl, host) == 1)
    // Unlike every other call, this one returns 0 for success.
    guard isNamed, !offersHTTP1 || SSL_set_alpn_protos(parts.ssl, Self.http1, 9) == 0 else {
      SSL_free(parts.ssl)
      parts.wires.deallocate()
      return nil
    }
    parts.wires.pointee.keepsTickets = keepsTickets
    SSL_set_connect_state(parts.ssl)
    return parts
  }
}

extension TLSSession {
  /// A client's session; nil if memory ran out or the host name is refused. The first `receive`,
  /// with no input, gives the ClientHello.
  ///
  /// - Parameters:
  ///   - host: the name or the address literal that the server's certificate must be for.
  ///   - offersHTTP1: ALPN offers HTTP/1.1 alone, whatever else the context would.
  public init?(client context: TLSClientContext, host: String, offersHTTP1: Bool = false) {
    guard let parts = context.makeParts(host: host, offersHTTP1: offersHTTP1) else { return nil }
    self.init(client: parts)
  }
}
