// What a session negotiated, for records and routing. Everything is read out of OpenSSL where it
// lies, so that asking costs no allocation; bytes are lent for the length of a closure.

import COpenSSL
import Glibc

extension TLSSession {
  /// The negotiated version; meaningful once the handshake is complete.
  public var version: TLSVersion {
    SSL_version(ssl) == TLS1_3_VERSION ? .tls13 : .tls12
  }

  /// Whether the session was resumed from a ticket.
  public var isResumed: Bool { SSL_session_reused(ssl) == 1 }

  /// Lends the cipher suite's name in IANA's registry, for example `TLS_AES_128_GCM_SHA256`; empty
  /// before one is negotiated.
  @inline(__always)
  public func withCipherName<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
    body(cipherName)
  }

  /// Lends the server name that the client asked for, as it wrote it; empty if it asked for none.
  @inline(__always)
  public func withServerName<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
    body(serverName)
  }

  /// Lends the protocol that ALPN chose; empty if the client offered none, and then it is HTTP/1.1.
  @inline(__always)
  public func withALPN<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
    body(alpn)
  }

  private var cipherName: UnsafeRawBufferPointer {
    guard let cipher = SSL_get_current_cipher(ssl) else {
      return UnsafeRawBufferPointer(start: nil, count: 0)
    }
    return Self.bytes(of: SSL_CIPHER_standard_name(cipher))
  }

  private var serverName: UnsafeRawBufferPointer {
    Self.bytes(of: SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name))
  }

  private var alpn: UnsafeRawBufferPointer {
    var start: UnsafePointer<UInt8>?
    var count: UInt32 = 0
    SSL_get0_alpn_selected(ssl, &start, &count)
    return UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : Int(count))
  }

  /// The bytes of a C string without its end.
  // SAFETY: OpenSSL keeps the string as long as the session, which the caller of the closure
  // borrows.
  private static func bytes(of text: UnsafePointer<CChar>?) -> UnsafeRawBufferPointer {
    guard let text else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(start: text, count: strlen(text))
  }
}
