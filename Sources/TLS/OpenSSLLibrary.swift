// OpenSSL's process-wide state: the one initialisation and what is fetched once because fetching is
// slow in OpenSSL 3. It refuses to hold anything that belongs to a context or to a session.

import COpenSSL

/// OpenSSL as a library of the process.
enum OpenSSLLibrary {
  /// Initialises OpenSSL at its first use. The system's `openssl.cnf` is honoured, so that a host
  /// which mandates FIPS or a stricter level gets it. No atexit handler: worker threads may still
  /// be inside OpenSSL while the process exits, and the handler would free the tables under them.
  static let isReady: Bool = OPENSSL_init_ssl(copenssl_OPENSSL_INIT_NO_ATEXIT(), nil) == 1

  /// The ticket cipher, fetched once: an implicit fetch takes locks and searches the property store
  /// at every use.
  // SAFETY: an EVP_CIPHER is immutable and reference-counted; this reference is never given back.
  nonisolated(unsafe) static let ticketCipher: OpaquePointer? = {
    guard isReady else { return nil }
    return EVP_CIPHER_fetch(nil, "AES-256-CBC", nil)
  }()

  /// The ciphers of TLS 1.3, each fetched once as well.
  // SAFETY: as above.
  nonisolated(unsafe) static let aes128: OpaquePointer? = fetch("AES-128-GCM")
  nonisolated(unsafe) static let aes256: OpaquePointer? = fetch("AES-256-GCM")
  nonisolated(unsafe) static let chacha20: OpaquePointer? = fetch("ChaCha20-Poly1305")

  private static func fetch(_ name: StaticString) -> OpaquePointer? {
    guard isReady else { return nil }
    // SAFETY: a literal, whose bytes end in a zero.
    let text = UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    return EVP_CIPHER_fetch(nil, text, nil)
  }

  /// Empties this thread's error queue if anything is in it. SSL_get_error reads the queue, so a
  /// stale entry would turn a healthy retry into a failure. The look costs less than the
  /// unconditional clear, which walks all sixteen slots.
  @inline(__always)
  static func clearStaleErrors() {
    if ERR_peek_error() != 0 { ERR_clear_error() }
  }

  /// Empties this thread's error queue and returns the entry that explains it best, 0 if it was
  /// empty: the earliest one from the TLS library itself, otherwise the earliest one.
  static func drainErrors() -> UInt {
    var chosen: UInt = 0
    while true {
      let code = ERR_get_error()
      if code == 0 { return chosen }
      if chosen == 0 || (ERR_GET_LIB(chosen) != ERR_LIB_SSL && ERR_GET_LIB(code) == ERR_LIB_SSL) {
        chosen = code
      }
    }
  }

  /// OpenSSL's words for an error code, nil if it has none.
  static func reason(of code: UInt) -> String? {
    guard code != 0 else { return nil }
    if let text = ERR_reason_error_string(code) { return String(cString: text) }
    guard ERR_GET_LIB(code) == ERR_LIB_SYS else { return nil }
    // A failed system call has words only in the long form, `error:…:system library::words`.
    var line = [CChar](repeating: 0, count: 256)
    ERR_error_string_n(code, &line, line.count)
    let bytes = line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    let words = bytes.split(separator: UInt8(ascii: ":")).last
    return words.map { String(decoding: $0, as: UTF8.self) }
  }
}
