// Asking for new keys, which this proxy never does of its own accord: for tests, whose clients must be
// able to do what hostile ones do.

import COpenSSL

extension TLSSession {
  /// Emits a KeyUpdate that asks the peer for one in return (RFC 8446, section 4.6.3).
  ///
  /// - Returns: bytes of `output`; 0 where the session is not TLS 1.3 or has something to send already.
  package mutating func requestKeyUpdate(output: UnsafeMutableRawBufferPointer) -> Int {
    guard isHandshakeComplete, failure == nil, version == .tls13, !hasPendingOutput else {
      return 0
    }
    OpenSSLLibrary.clearStaleErrors()
    wires.pointee.begin(input: UnsafeRawBufferPointer(start: nil, count: 0), output: output)
    defer { wires.pointee.end() }
    guard SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1, SSL_do_handshake(ssl) == 1 else {
      OpenSSLLibrary.clearStaleErrors()
      return 0
    }
    return output.count - wires.pointee.outputRoom
  }
}
