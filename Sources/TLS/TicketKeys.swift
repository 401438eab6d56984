// The keys that protect session tickets (RFC 5077; RFC 8446, section 4.6.1), shared by every
// context and worker of the process so that a client may resume on any of them. It owns three
// generations and wipes the oldest; it refuses to read a clock or to make randomness, and to
// outlive the process.

import COpenSSL
import Synchronization

/// Session ticket keys, rotated by their owner.
///
/// A ticket is AES-256-CBC with HMAC-SHA256, as RFC 5077, section 4, recommends. The newest key
/// makes tickets; it and the two before it open them. A ticket therefore lives for two rotations at
/// least, which is also the lifetime that it states. The lock is taken once per ticket, never while
/// data flows.
public final class TicketKeys: Sendable {
  /// Key material of one generation.
  private struct Key: BitwiseCopyable {
    var name = SIMD16<UInt8>()
    var cipher = SIMD32<UInt8>()
    var mac = SIMD32<UInt8>()
  }

  private struct Generations {
    var newest: Key
    var previous: Key?
    var oldest: Key?
    var newestBornSeconds: Int64
  }

  private let generations: Mutex<Generations>
  private let randomBytes: @Sendable (UnsafeMutableRawBufferPointer) -> Void

  /// How long a key makes tickets, in seconds.
  public let rotationSeconds: Int64

  /// How long a ticket may be used: as long as its key is certain to be kept, and no longer than
  /// the seven days of RFC 8446, section 4.6.1.
  var lifetimeSeconds: Int { Int(min(rotationSeconds * 2, 7 * 86_400)) }

  /// Makes the first key.
  ///
  /// - Parameters:
  ///   - randomBytes: fills memory with cryptographically secure randomness; called here and at
  ///     rotations, from one thread at a time.
  ///   - now: the present, in seconds on any clock that `rotate(now:)` uses too; a monotonic one is
  ///     best.
  ///   - rotationSeconds: how long a key makes tickets, at least 1. Twelve hours bound what a
  ///     stolen key opens of TLS 1.2 traffic to a day and a half, and let yesterday's visitor
  ///     resume.
  public init(
    randomBytes: @escaping @Sendable (UnsafeMutableRawBufferPointer) -> Void, now: Int64,
    rotationSeconds: Int64 = 12 * 3600
  ) {
    // TRAP: our own constant.
    precondition(rotationSeconds >= 1, "a rotation takes at least one second")
    self.randomBytes = randomBytes
    self.rotationSeconds = rotationSeconds
    generations = Mutex(
      Generations(newest: Self.makeKey(randomBytes), newestBornSeconds: now))
  }

  /// Takes the keys of another process on this machine, whose clock is the same.
  ///
  /// - Parameters:
  ///   - copied: as `copied` made it there.
  ///   - randomBytes: as for the first key.
  /// - Returns: nil for bytes that are not keys.
  public init?(
    copied: [UInt8], randomBytes: @escaping @Sendable (UnsafeMutableRawBufferPointer) -> Void,
    rotationSeconds: Int64 = 12 * 3600
  ) {
    // TRAP: our own constant.
    precondition(rotationSeconds >= 1, "a rotation takes at least one second")
    let keys = (copied.count - 8) / Self.keyBytes
    guard (1...3).contains(keys), copied.count == 8 + keys * Self.keyBytes else { return nil }
    let born = copied[..<8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    let found = (0..<3).map { i in
      i < keys ? Self.key(copied[(8 + i * Self.keyBytes)...].prefix(Self.keyBytes)) : nil
    }
    guard let newest = found[0] else { return nil }
    self.randomBytes = randomBytes
    self.rotationSeconds = rotationSeconds
    generations = Mutex(
      Generations(
        newest: newest, previous: found[1], oldest: found[2],
        newestBornSeconds: Int64(bitPattern: born)))
  }

  /// The keys, for the process that takes this one's place: the birth of the newest in seconds, 8 bytes
  /// little-endian, then 80 bytes for each key, the newest first. A secret, as the keys are.
  public var copied: [UInt8] {
    generations.withLock { state in
      var bytes: [UInt8] = []
      withUnsafeBytes(of: state.newestBornSeconds.littleEndian) { bytes += $0 }
      for key in [state.newest, state.previous, state.oldest] {
        guard let key else { continue }
        withUnsafeBytes(of: key.name) { bytes += $0 }
        withUnsafeBytes(of: key.cipher) { bytes += $0 }
        withUnsafeBytes(of: key.mac) { bytes += $0 }
      }
      return bytes
    }
  }

  private static let keyBytes = 80

  private static func key(_ bytes: ArraySlice<UInt8>) -> Key {
    var key = Key()
    withUnsafeMutableBytes(of: &key.name) { $0.copyBytes(from: bytes.prefix(16)) }
    withUnsafeMutableBytes(of: &key.cipher) { $0.copyBytes(from: bytes.dropFirst(16).prefix(32)) }
    withUnsafeMutableBytes(of: &key.mac) { $0.copyBytes(from: bytes.dropFirst(48)) }
    return key
  }

  deinit {
    generations.withLock { Self.wipe(&$0) }
  }

  /// Makes a new key if the newest one has served its time; call it as often as convenient.
  ///
  /// A call that comes late makes up for every rotation that was missed, so that no key opens
  /// tickets for longer than promised. A clock that went backwards rotates nothing.
  ///
  /// - Returns: how many generations were moved on, 0 to 3.
  @discardableResult
  public func rotate(now: Int64) -> Int {
    generations.withLock { state in
      let age = now.subtractingReportingOverflow(state.newestBornSeconds)
      guard !age.overflow, age.partialValue >= rotationSeconds else { return 0 }
      let steps = Int(min(age.partialValue / rotationSeconds, 3))
      for _ in 0..<steps {
        state.oldest = state.previous
        state.previous = state.newest
        state.newest = Self.makeKey(randomBytes)
      }
      state.newestBornSeconds = now
      return steps
    }
  }

  // MARK: OpenSSL's side

  /// Prepares to seal a ticket: writes the key's name and the IV, and keys both contexts. 1, or -1
  /// on failure, as SSL_CTX_set_tlsext_ticket_key_evp_cb(3) wants it.
  func seal(
    name: UnsafeMutablePointer<UInt8>, iv: UnsafeMutablePointer<UInt8>, cipher: OpaquePointer,
    mac: OpaquePointer
  ) -> Int32 {
    // The IV is 16 bytes, AES's block; predictable IVs would break CBC, so OpenSSL's generator
    // makes it.
    guard let algorithm = OpenSSLLibrary.ticketCipher, RAND_bytes(iv, 16) == 1 else { return -1 }
    var key = generations.withLock { $0.newest }
    defer { Self.wipe(&key) }
    withUnsafeBytes(of: &key.name) {
      UnsafeMutableRawBufferPointer(start: name, count: 16).copyMemory(from: $0)
    }
    let isKeyed = withUnsafeBytes(of: &key.cipher) {
      EVP_EncryptInit_ex(
        cipher, algorithm, nil, $0.assumingMemoryBound(to: UInt8.self).baseAddress, iv)
    }
    return isKeyed == 1 && Self.initialize(mac, key: &key) ? 1 : -1
  }

  /// Prepares to open a ticket. 0 if no kept key has this name (a full handshake follows), 1 if it
  /// can be opened, 2 if a new ticket should replace it as well, -1 on failure.
  ///
  /// - Parameter renewsAlways: TLS 1.3 tickets are for one use (RFC 8446, C.4), so each is
  ///   replaced.
  func open(
    name: UnsafePointer<UInt8>, iv: UnsafePointer<UInt8>, cipher: OpaquePointer, mac: OpaquePointer,
    renewsAlways: Bool
  ) -> Int32 {
    guard let algorithm = OpenSSLLibrary.ticketCipher else { return -1 }
    let wanted = UnsafeRawPointer(name).loadUnaligned(as: SIMD16<UInt8>.self)
    var isNewest = false
    let found = generations.withLock { state -> Key? in
      if state.newest.name == wanted {
        isNewest = true
        return state.newest
      }
      if let key = state.previous, key.name == wanted { return key }
      if let key = state.oldest, key.name == wanted { return key }
      return nil
    }
    guard var key = found else { return 0 }
    defer { Self.wipe(&key) }
    let isKeyed = withUnsafeBytes(of: &key.cipher) {
      EVP_DecryptInit_ex(
        cipher, algorithm, nil, $0.assumingMemoryBound(to: UInt8.self).baseAddress, iv)
    }
    guard isKeyed == 1, Self.initialize(mac, key: &key) else { return -1 }
    return isNewest && !renewsAlways ? 1 : 2
  }

  // MARK: Keys

  private static func makeKey(_ randomBytes: (UnsafeMutableRawBufferPointer) -> Void) -> Key {
    var key = Key()
    withUnsafeMutableBytes(of: &key, randomBytes)
    return key
  }

  /// Keys a MAC context with HMAC-SHA256. OpenSSL made the context for HMAC; it lacks digest and
  /// key.
  private static func initialize(_ mac: OpaquePointer, key: inout Key) -> Bool {
    var digest: (CChar, CChar, CChar, CChar, CChar, CChar, CChar) = (
      0x53, 0x48, 0x41, 0x32, 0x35, 0x36, 0  // "SHA256"
    )
    return withUnsafeMutableBytes(of: &key.mac) { bytes in
      withUnsafeMutableBytes(of: &digest) { name in
        var parameters = (
          OSSL_PARAM_construct_octet_string(
            copenssl_OSSL_MAC_PARAM_KEY(), bytes.baseAddress, bytes.count),
          OSSL_PARAM_construct_utf8_string(
            copenssl_OSSL_MAC_PARAM_DIGEST(), name.assumingMemoryBound(to: CChar.self).baseAddress,
            0),
          OSSL_PARAM_construct_end()
        )
        return withUnsafeBytes(of: &parameters) {
          // SAFETY: a homogeneous tuple is laid out as an array, which is what OSSL_PARAM lists
          // are.
          EVP_MAC_CTX_set_params(mac, $0.assumingMemoryBound(to: OSSL_PARAM.self).baseAddress) == 1
        }
      }
    }
  }

  private static func wipe(_ key: inout Key) {
    withUnsafeMutableBytes(of: &key) { OPENSSL_cleanse($0.baseAddress, $0.count) }
  }

  private static func wipe(_ generations: inout Generations) {
    wipe(&generations.newest)
    if generations.previous != nil { generations.previous = Key() }
    if generations.oldest != nil { generations.oldest = Key() }
  }
}
