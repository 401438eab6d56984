// A TLS client made of OpenSSL's own memory BIOs: the other side of these tests, sharing no code
// with the room that they test.

import COpenSSL

final class PlainPeer {
  struct Settings {
    var version: Int32 = TLS1_3_VERSION
    var serverName: String? = nil
    var alpn: [String] = []
    var trust: String? = nil
    var ciphers: String? = nil
    /// Of TLS 1.3.
    var suites: String? = nil
    var groups: String? = nil
    /// A code of RFC 6066, section 4: 1 is 512 bytes, 4 is 4096.
    var maximumFragment: UInt8? = nil
    var signatures: String? = nil
    var session: OpaquePointer? = nil
  }

  let context: OpaquePointer
  let ssl: OpaquePointer
  private let incoming: OpaquePointer
  private let outgoing: OpaquePointer
  private(set) var isConnected = false
  private(set) var error: Int32 = SSL_ERROR_NONE
  private(set) var reason: Int32 = 0

  init(_ settings: Settings = Settings()) {
    context = SSL_CTX_new(TLS_client_method())!
    // Level 0 lets the peer offer what the server is to refuse.
    if settings.version < TLS1_2_VERSION { SSL_CTX_set_security_level(context, 0) }
    _ = copenssl_SSL_CTX_set_min_proto_version(context, settings.version)
    _ = copenssl_SSL_CTX_set_max_proto_version(context, settings.version)
    if let ciphers = settings.ciphers { SSL_CTX_set_cipher_list(context, ciphers) }
    if let code = settings.maximumFragment {
      SSL_CTX_set_tlsext_max_fragment_length(context, code)
    }
    if let suites = settings.suites { SSL_CTX_set_ciphersuites(context, suites) }
    if let groups = settings.groups { _ = copenssl_SSL_CTX_set1_groups_list(context, groups) }
    if let signatures = settings.signatures {
      _ = SSL_CTX_ctrl(
        context, SSL_CTRL_SET_SIGALGS_LIST, 0, UnsafeMutableRawPointer(mutating: signatures.cString)
      )
    }
    if let trust = settings.trust {
      SSL_CTX_load_verify_file(context, trust)
      SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
    }
    ssl = SSL_new(context)!
    incoming = BIO_new(BIO_s_mem())!
    outgoing = BIO_new(BIO_s_mem())!
    _ = copenssl_BIO_set_mem_eof_return(incoming, -1)
    SSL_set_bio(ssl, incoming, outgoing)
    SSL_set_connect_state(ssl)
    if let name = settings.serverName { _ = copenssl_SSL_set_tlsext_host_name(ssl, name) }
    var wire: [UInt8] = []
    for name in settings.alpn { wire += [UInt8(name.utf8.count)] + Array(name.utf8) }
    if !wire.isEmpty { SSL_set_alpn_protos(ssl, wire, UInt32(wire.count)) }
    if let session = settings.session { SSL_set_session(ssl, session) }
  }

  deinit {
    SSL_free(ssl)
    SSL_CTX_free(context)
  }

  /// Goes on with the handshake.
  func step() {
    guard !isConnected, error == SSL_ERROR_NONE else { return }
    ERR_clear_error()
    let result = SSL_do_handshake(ssl)
    if result == 1 { isConnected = true } else { note(result) }
  }

  func give(_ bytes: [UInt8]) {
    if !bytes.isEmpty { BIO_write(incoming, bytes, Int32(bytes.count)) }
  }

  func take() -> [UInt8] {
    let count = BIO_ctrl_pending(outgoing)
    var bytes = [UInt8](repeating: 0, count: count)
    if count > 0 { BIO_read(outgoing, &bytes, Int32(count)) }
    return bytes
  }

  func write(_ bytes: [UInt8]) {
    ERR_clear_error()
    let result = SSL_write(ssl, bytes, Int32(bytes.count))
    if result <= 0 { note(result) }
  }

  /// All plaintext that has arrived.
  func read() -> [UInt8] {
    var all: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16_384)
    while true {
      ERR_clear_error()
      let count = SSL_read(ssl, &chunk, 16_384)
      if count <= 0 {
        note(count)
        return all
      }
      all += chunk[..<Int(count)]
    }
  }

  func close() { SSL_shutdown(ssl) }

  var isResumed: Bool { SSL_session_reused(ssl) == 1 }
  var hasReceivedClose: Bool { SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN != 0 }

  /// The session for a later connection; the caller owns it.
  func makeSession() -> OpaquePointer? { SSL_get1_session(ssl) }

  /// The common name of the certificate that the server showed.
  var certificateName: String {
    guard let certificate = SSL_get1_peer_certificate(ssl) else { return "" }
    defer { X509_free(certificate) }
    var name = [CChar](repeating: 0, count: 256)
    let count = X509_NAME_get_text_by_NID(
      X509_get_subject_name(certificate), NID_commonName, &name, 256)
    return String(decoding: name[..<Int(max(0, count))].map { UInt8($0) }, as: UTF8.self)
  }

  var cipherName: String { String(cString: SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl))) }

  private func note(_ result: Int32) {
    let error = SSL_get_error(ssl, result)
    guard error != SSL_ERROR_WANT_READ else { return }
    self.error = error
    reason = ERR_GET_REASON(ERR_peek_error())
    ERR_clear_error()
  }
}

extension String {
  /// A C string that lives for the process: test settings only.
  var cString: UnsafePointer<CChar> {
    let bytes = Array(utf8CString)
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
    copy.initialize(from: bytes, count: bytes.count)
    return UnsafePointer(copy)
  }
}
