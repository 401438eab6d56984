// Records that no TLS library makes: sealed with a client's own keys, but with any type, content and
// length. The keys come from the session's key log (SSL_CTX_set_keylog_callback(3)), the rest from
// RFC 8446, sections 5 and 7, and from RFC 5246, sections 5 and 6.3 with RFC 5288. AES-128-GCM only.

import COpenSSL
import Synchronization
import TLS

/// What the client of a session could put on the wire behind its handshake.
final class RecordForge {
  enum Content: UInt8 { case changeCipherSpec = 20, alert = 21, handshake = 22, data = 23 }

  private let isTLS13: Bool
  private var secret: [UInt8] = []
  private var key: [UInt8] = []
  private var iv: [UInt8] = []
  private var sequence: UInt64

  /// The secrets of all clients of the process that keep a log, by the first of their line's words
  /// and their client random.
  private static let log = Mutex<[String: [UInt8]]>([:])

  /// Makes a client keep its secrets and choose the cipher that a forge can speak. Before its first
  /// step.
  static func prepare(_ client: PlainPeer) {
    SSL_CTX_set_keylog_callback(client.context) { _, line in
      guard let line else { return }
      let words = String(cString: line).split(separator: " ")
      guard words.count == 3 else { return }
      RecordForge.log.withLock {
        $0["\(words[0]) \(words[1])"] = RecordForge.bytes(hexadecimal: words[2])
      }
    }
    SSL_set_ciphersuites(client.ssl, "TLS_AES_128_GCM_SHA256")
    SSL_set_cipher_list(client.ssl, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")
  }

  /// Takes over from a client that is connected and has written nothing since.
  init?(_ client: PlainPeer) {
    isTLS13 = SSL_version(client.ssl) == TLS1_3_VERSION
    var random = [UInt8](repeating: 0, count: 32)
    guard SSL_get_client_random(client.ssl, &random, 32) == 32 else { return nil }
    let name = random.map { Self.hexadecimal($0) }.joined()
    let label = isTLS13 ? "CLIENT_TRAFFIC_SECRET_0" : "CLIENT_RANDOM"
    guard let secret = Self.log.withLock({ $0.removeValue(forKey: "\(label) \(name)") }) else {
      return nil
    }
    // In TLS 1.2 the client's Finished was the first record under these keys.
    sequence = isTLS13 ? 0 : 1
    self.secret = secret
    if isTLS13 {
      deriveKeys()
      return
    }
    var server = [UInt8](repeating: 0, count: 32)
    guard SSL_get_server_random(client.ssl, &server, 32) == 32 else { return nil }
    // client key 16, server key 16, client salt 4, server salt 4; AEAD has no MAC keys.
    let block = Self.expand12(secret, Array("key expansion".utf8) + server + random, count: 40)
    key = Array(block[..<16])
    iv = Array(block[32..<36])
  }

  private func deriveKeys() {
    key = Self.expand13(secret, "key", 16)
    iv = Self.expand13(secret, "iv", 12)
  }

  /// One record, sealed.
  func record(_ content: Content, _ bytes: [UInt8]) -> [UInt8] {
    record(type: content.rawValue, bytes)
  }

  /// One record of any type, sealed.
  func record(type: UInt8, _ bytes: [UInt8]) -> [UInt8] {
    defer { sequence += 1 }
    let number = (0..<8).map { UInt8(truncatingIfNeeded: sequence >> UInt64(56 - 8 * $0)) }
    func length(_ count: Int) -> [UInt8] { [UInt8(count >> 8 & 0xFF), UInt8(count & 0xFF)] }
    guard isTLS13 else {
      let head: [UInt8] = [type, 3, 3]
      let sealed = Self.seal(
        key, nonce: iv + number, additional: number + head + length(bytes.count), bytes)
      return head + length(8 + sealed.count) + number + sealed
    }
    let inner = bytes + [type]
    let head = [UInt8(23), 3, 3] + length(inner.count + 16)
    var nonce = iv
    for index in 0..<8 { nonce[4 + index] ^= number[index] }
    return head + Self.seal(key, nonce: nonce, additional: head, inner)
  }

  /// A KeyUpdate (RFC 8446, section 4.6.3), in records of at most `fragment` bytes.
  func keyUpdate(requested: Bool, fragment: Int = 5) -> [UInt8] {
    let message: [UInt8] = [24, 0, 0, 1, requested ? 1 : 0]
    var wire: [UInt8] = []
    for start in stride(from: 0, to: message.count, by: fragment) {
      wire += record(.handshake, Array(message[start..<min(message.count, start + fragment)]))
    }
    secret = Self.expand13(secret, "traffic upd", 32)
    deriveKeys()
    sequence = 0
    return wire
  }

  func warning(_ description: Int32) -> [UInt8] {
    record(.alert, [UInt8(SSL3_AL_WARNING), UInt8(description)])
  }

  // MARK: Keys

  private static func mac(_ key: [UInt8], _ data: [UInt8]) -> [UInt8] {
    var out = [UInt8](repeating: 0, count: 32)
    var count = 0
    _ = EVP_Q_mac(
      nil, "HMAC", nil, "SHA256", nil, key, key.count, data, data.count, &out, out.count, &count)
    return out
  }

  /// HKDF-Expand-Label with an empty context, of at most one block (RFC 8446, section 7.1).
  private static func expand13(_ secret: [UInt8], _ label: String, _ count: Int) -> [UInt8] {
    let label = Array("tls13 \(label)".utf8)
    return Array(mac(secret, [0, UInt8(count), UInt8(label.count)] + label + [0, 1])[..<count])
  }

  /// P_SHA256 (RFC 5246, section 5).
  private static func expand12(_ secret: [UInt8], _ seed: [UInt8], count: Int) -> [UInt8] {
    var block: [UInt8] = []
    var round = seed
    while block.count < count {
      round = mac(secret, round)
      block += mac(secret, round + seed)
    }
    return Array(block[..<count])
  }

  private static func seal(
    _ key: [UInt8], nonce: [UInt8], additional: [UInt8], _ plaintext: [UInt8]
  ) -> [UInt8] {
    let context = EVP_CIPHER_CTX_new()
    defer { EVP_CIPHER_CTX_free(context) }
    var sealed = [UInt8](repeating: 0, count: plaintext.count + 16)
    var count: Int32 = 0
    EVP_EncryptInit_ex(context, EVP_aes_128_gcm(), nil, key, nonce)
    EVP_EncryptUpdate(context, nil, &count, additional, Int32(additional.count))
    if !plaintext.isEmpty {
      EVP_EncryptUpdate(context, &sealed, &count, plaintext, Int32(plaintext.count))
    }
    sealed.withUnsafeMutableBytes { area in
      let tag = area.baseAddress! + plaintext.count
      EVP_EncryptFinal_ex(context, tag.assumingMemoryBound(to: UInt8.self), &count)
      _ = EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, tag)
    }
    return sealed
  }

  private static func bytes(hexadecimal text: Substring) -> [UInt8] {
    let digits = text.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map {
      UInt8(digits[$0] << 4 | digits[$0 + 1])
    }
  }

  private static func hexadecimal(_ byte: UInt8) -> String {
    let text = String(byte, radix: 16)
    return text.count == 1 ? "0" + text : text
  }
}

/// A connected pair, and the forge that speaks for the client from now on.
func connectForged(
  _ context: TLSContext, version: Int32, outputArea: Int = 65_536
) throws -> (server: ServerSide, forge: RecordForge) {
  let server = ServerSide(context)
  server.outputArea = outputArea
  let client = PlainPeer(PlainPeer.Settings(version: version))
  RecordForge.prepare(client)
  pump(server, client)
  guard client.isConnected, let forge = RecordForge(client) else { throw ForgeFailure() }
  return (server, forge)
}

struct ForgeFailure: Error {}
