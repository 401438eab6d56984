// Records of TLS 1.3 for long plaintext, made by libcrypto straight into the caller's memory. OpenSSL's own
// record layer makes each in a buffer of its own first and hands it out by a copy: for responses of 64 KiB that,
// and what it does besides the cipher, is a tenth of the proxy's CPU (docs/performance.md). The handshake,
// its secrets and what is received stay OpenSSL's.
//
// TRAP: (file) memory of values on the stack, which has an address, and the caller's, which is as long as a record needs.

import COpenSSL
import Glibc

/// A secret from which the keys of one direction come (RFC 8446, section 7.1).
struct TrafficSecret {
  private var bytes: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)
  private var count = 0

  /// - Parameter hexadecimal: digits to the end of the text, as SSL_CTX_set_keylog_callback(3) gives them.
  /// nil if it is no secret of a hash that TLS 1.3 uses.
  init?(hexadecimal text: UnsafePointer<CChar>) {
    let length = strlen(text)
    guard length == 64 || length == 96 else { return nil }
    count = length / 2
    let isWhole = withUnsafeMutableBytes(of: &bytes) { bytes in
      for place in 0..<length / 2 {
        guard let high = Self.digit(text[2 * place]), let low = Self.digit(text[2 * place + 1])
        else { return false }
        bytes[place] = high << 4 | low
      }
      return true
    }
    if !isWhole { return nil }
  }

  private static func digit(_ letter: CChar) -> UInt8? {
    switch UInt8(bitPattern: letter) {
    case let digit where digit >= UInt8(ascii: "0") && digit <= UInt8(ascii: "9"):
      digit - UInt8(ascii: "0")
    case let digit where digit | 0x20 >= UInt8(ascii: "a") && digit | 0x20 <= UInt8(ascii: "f"):
      (digit | 0x20) - UInt8(ascii: "a") + 10
    default: nil
    }
  }

  /// The secret behind a KeyUpdate (RFC 8446, section 7.2); nil if libcrypto fails.
  func next(_ digest: OpaquePointer) -> TrafficSecret? {
    var following = self
    let isMade = withUnsafeMutableBytes(of: &following.bytes) {
      expand(
        "tls13 traffic upd", digest, into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]))
    }
    return isMade ? following : nil
  }

  /// HKDF-Expand-Label with an empty context. What is asked for is never longer than the hash, so that it is the
  /// first block of HKDF-Expand (RFC 5869, section 2.3). - Returns: false if libcrypto fails.
  func expand(
    _ label: StaticString, _ digest: OpaquePointer, into target: UnsafeMutableRawBufferPointer
  ) -> Bool {
    var info = SIMD32<UInt8>()
    var block = SIMD64<UInt8>()
    var made: UInt32 = 0
    return withUnsafeMutableBytes(of: &info) { info in
      let info = info.assumingMemoryBound(to: UInt8.self)
      info[1] = UInt8(target.count)
      info[2] = UInt8(label.utf8CodeUnitCount)
      memcpy(info.baseAddress! + 3, label.utf8Start, label.utf8CodeUnitCount)
      // Behind it the length of the context, 0, and the number of the block.
      let end = 3 + label.utf8CodeUnitCount + 2
      info[end - 1] = 1
      return withUnsafeBytes(of: bytes) { secret in
        withUnsafeMutableBytes(of: &block) { block in
          let block = block.assumingMemoryBound(to: UInt8.self)
          defer { OPENSSL_cleanse(block.baseAddress, block.count) }
          guard
            HMAC(
              digest, secret.baseAddress, Int32(count), info.baseAddress, end, block.baseAddress,
              &made) != nil, Int(made) == count, target.count <= count
          else { return false }
          memcpy(target.baseAddress!, block.baseAddress!, target.count)
          return true
        }
      }
    }
  }
}

/// The keys of what one side sends, and the number of its next record. Its owner calls `release`.
struct RecordSealer {
  /// Bytes that a record has besides its plaintext: its header, the content type and the tag.
  static let overhead = headerBytes + 1 + tagBytes
  static let headerBytes = 5
  private static let tagBytes = 16

  private let context: OpaquePointer
  private let digest: OpaquePointer
  private let keyBytes: Int
  private var secret: TrafficSecret
  /// The first four bytes of the nonce's fixed part as they lie, and the others as a number, to which the record's is
  /// added without carry (RFC 8446, section 5.3).
  private var nonceStart: UInt32 = 0
  private var nonceEnd: UInt64 = 0
  private var sequence: UInt64

  /// nil if libcrypto fails, or for a cipher suite that is not known here.
  /// - Parameters:
  ///   - secret: what the keys come from.
  ///   - sequence: records that were sealed with these keys already.
  init?(_ ssl: OpaquePointer, _ secret: TrafficSecret, sequence: UInt64) {
    guard let digest = Self.digest(ssl), let cipher = Self.cipher(ssl),
      let context = EVP_CIPHER_CTX_new()
    else { return nil }
    self.context = context
    self.digest = digest
    self.secret = secret
    self.sequence = sequence
    keyBytes = Int(EVP_CIPHER_get_key_length(cipher))
    guard EVP_EncryptInit_ex2(context, cipher, nil, nil, nil) == 1, takeKeys() else {
      release()
      return nil
    }
  }

  /// The hash of the session's cipher suite.
  static func digest(_ ssl: OpaquePointer) -> OpaquePointer? {
    SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(ssl))
  }

  private static func cipher(_ ssl: OpaquePointer) -> OpaquePointer? {
    switch SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl)) {
    case 0x1301: OpenSSLLibrary.aes128
    case 0x1302: OpenSSLLibrary.aes256
    case 0x1303: OpenSSLLibrary.chacha20
    default: nil
    }
  }

  func release() { EVP_CIPHER_CTX_free(context) }

  private mutating func takeKeys() -> Bool {
    var key = SIMD32<UInt8>()
    var nonce = SIMD16<UInt8>()
    return withUnsafeMutableBytes(of: &key) { key in
      defer { OPENSSL_cleanse(key.baseAddress, key.count) }
      return withUnsafeMutableBytes(of: &nonce) { nonce in
        guard
          secret.expand(
            "tls13 key", digest, into: UnsafeMutableRawBufferPointer(rebasing: key[..<keyBytes])),
          secret.expand(
            "tls13 iv", digest, into: UnsafeMutableRawBufferPointer(rebasing: nonce[..<12])),
          EVP_EncryptInit_ex2(
            context, nil, key.baseAddress!.assumingMemoryBound(to: UInt8.self), nil, nil) == 1
        else { return false }
        nonceStart = nonce.loadUnaligned(as: UInt32.self)
        nonceEnd = UInt64(bigEndian: nonce.loadUnaligned(fromByteOffset: 4, as: UInt64.self))
        return true
      }
    }
  }

  /// Goes on with the keys behind a KeyUpdate. - Returns: false if libcrypto fails.
  mutating func updateKeys() -> Bool {
    guard let following = secret.next(digest) else { return false }
    secret = following
    sequence = 0
    return takeKeys()
  }

  /// Makes one record (RFC 8446, section 5.2).
  /// - Parameters:
  ///   - type: of the content.
  ///   - content: 1 to 16,384 bytes.
  ///   - target: room for the content and `overhead`.
  /// - Returns: false if libcrypto fails: nothing more can be sent then.
  @inline(__always)
  mutating func seal(
    type: UInt8, _ content: UnsafeRawBufferPointer, into target: UnsafeMutableRawPointer
  ) -> Bool {
    let sealed = target + Self.headerBytes
    return begin(content.count, target) && add(content, sealed)
      && finish(type, sealed + content.count)
  }

  /// The same for application data in several pieces.
  /// - Parameters:
  ///   - pieces: hold `skipping` and `count` bytes, or more.
  ///   - skipping: bytes at their start that are left out.
  ///   - count: bytes of the content behind those.
  mutating func seal(
    _ pieces: UnsafeBufferPointer<iovec>, skipping: Int, count: Int,
    into target: UnsafeMutableRawPointer
  ) -> Bool {
    guard begin(count, target) else { return false }
    var sealed = target + Self.headerBytes
    var (skipping, left) = (skipping, count)
    for piece in pieces {
      let bytes = UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len)
      let first = min(skipping, bytes.count)
      let taken = min(left, bytes.count - first)
      skipping -= first
      guard taken > 0 else { continue }
      guard add(UnsafeRawBufferPointer(rebasing: bytes[first..<first + taken]), sealed) else {
        return false
      }
      sealed += taken
      left -= taken
      if left == 0 { break }
    }
    return left == 0 && finish(UInt8(SSL3_RT_APPLICATION_DATA), sealed)
  }

  /// Writes the header of a record with `count` bytes of content, and begins its encryption.
  @inline(__always)
  private mutating func begin(_ count: Int, _ target: UnsafeMutableRawPointer) -> Bool {
    let header = target.assumingMemoryBound(to: UInt8.self)
    let length = count + Self.overhead - Self.headerBytes
    (header[0], header[1], header[2]) = (UInt8(SSL3_RT_APPLICATION_DATA), 3, 3)
    (header[3], header[4]) = (UInt8(length >> 8), UInt8(truncatingIfNeeded: length))
    var nonce: (UInt64, UInt64) = (0, 0)
    let number = sequence
    sequence &+= 1
    var made: Int32 = 0
    return withUnsafeMutableBytes(of: &nonce) { nonce in
      nonce.storeBytes(of: nonceStart, as: UInt32.self)
      nonce.storeBytes(of: (nonceEnd ^ number).bigEndian, toByteOffset: 4, as: UInt64.self)
      return EVP_EncryptInit_ex2(
        context, nil, nil, nonce.baseAddress!.assumingMemoryBound(to: UInt8.self), nil) == 1
        && EVP_EncryptUpdate(context, nil, &made, header, Int32(Self.headerBytes)) == 1
    }
  }

  @inline(__always)
  private func add(_ content: UnsafeRawBufferPointer, _ target: UnsafeMutableRawPointer) -> Bool {
    var made: Int32 = 0
    return EVP_EncryptUpdate(
      context, target.assumingMemoryBound(to: UInt8.self), &made,
      content.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(content.count)) == 1
  }

  /// Puts the type of the content and the tag behind it.
  @inline(__always)
  private func finish(_ type: UInt8, _ target: UnsafeMutableRawPointer) -> Bool {
    var type = type
    var made: Int32 = 0
    let target = target.assumingMemoryBound(to: UInt8.self)
    return EVP_EncryptUpdate(context, target, &made, &type, 1) == 1
      && EVP_EncryptFinal_ex(context, target + 1, &made) == 1
      && EVP_CIPHER_CTX_ctrl(
        context, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagBytes), target + 1) == 1
  }
}
