// Who seals the records that a session sends. OpenSSL does, until a server's session of TLS 1.3 has much to send: then
// the session takes that over, with the secret and the count of records that OpenSSL has told it.

import COpenSSL
import Glibc

/// When a server's session of TLS 1.3 begins to seal its records without OpenSSL's record layer. It never goes back.
package struct RecordSealing: Sendable, Equatable {
  /// Bytes of plaintext that wait to be sent, from which it does.
  package var plaintext: Int
  /// Bytes of application data that the session must have carried before, both ways.
  package var behind: Int

  package init(plaintext: Int, behind: Int) {
    self.plaintext = plaintext
    self.behind = behind
  }

  /// OpenSSL's way costs 0.4 to 2 µs more for a record of 16 KiB; three small responses in one record save
  /// nothing that could be measured. To begin takes some microseconds, and a kilobyte from then on.
  package static let whenLong = RecordSealing(plaintext: 8192, behind: 65_536)
  package static let always = RecordSealing(plaintext: 1, behind: 0)
  package static let never = RecordSealing(plaintext: .max, behind: .max)

  /// Whether OpenSSL is of the series in which the order of its callbacks, on which the count of records rests, is
  /// known: 3.0. With any other it seals all records; so it does where only its FIPS provider may derive keys.
  package static let isPossible =
    OPENSSL_version_major() == 3 && OPENSSL_version_minor() == 0
    && EVP_default_properties_is_fips_enabled(nil) == 0
}

/// The records that one session sends.
struct SentRecords {
  /// When they are sealed here.
  var sealing = RecordSealing.never
  /// Whether the session is told its secret, in a handshake of TLS 1.3.
  var isTold = false
  /// What the keys of OpenSSL's records come from, as long as sealing may be taken over.
  private var secret: TrafficSecret?
  /// Records that OpenSSL has sealed with them.
  private var written: UInt64 = 0
  /// Bytes of the last one without its header.
  private var lastLength = 0
  /// Whether records are as long as their content makes them. They are longer where padding is configured
  /// (RecordPadding in openssl.cnf), which only OpenSSL does, except full ones, and those that fit by chance.
  private var isUnpadded = false
  private var sealer: RecordSealer?
  /// Bytes of plaintext that came to be sent in calls of at least `sealing.plaintext`.
  private var longBytes = 0
  /// Whether those are enough for a long session.
  var isLong: Bool { longBytes >= SessionLengths.worthwhile }
  /// Whether a record could not be sealed: nothing more can be sent then.
  private(set) var hasLostOne = false

  /// Whether they are sealed here, and not by OpenSSL. What OpenSSL writes from then on is dropped: what it says,
  /// alerts and KeyUpdates, is sealed here as well.
  @inline(__always)
  var areSealedHere: Bool { sealer != nil }

  /// Takes note of the secret that OpenSSL seals with from now on.
  mutating func follow(_ secret: TrafficSecret?) {
    self.secret = secret
    written = 0
  }

  /// Notes that OpenSSL has written a record.
  /// - Parameter header: of the record (RFC 8446, section 5.2).
  mutating func note(header: UnsafeRawBufferPointer) {
    guard header.count >= RecordSealer.headerBytes else { return }
    lastLength = Int(header[3]) << 8 | Int(header[4])
    if secret != nil { written &+= 1 }
  }

  /// Notes that the last record has this side's Finished, of 36 or 52 bytes. With the type of its content that is a
  /// prime number: only padding to a multiple of 37 or 53 leaves it as it is, and what comes next tells of that.
  mutating func noteFinished(_ count: Int) { isUnpadded = lastLength == Self.length(count) }

  /// Bytes of a record without padding, its header left out.
  @inline(__always)
  private static func length(_ content: Int) -> Int {
    content + RecordSealer.overhead - RecordSealer.headerBytes
  }

  /// Whether a call with so much plaintext counts, and the session is not a long one already.
  @inline(__always)
  func counts(_ waiting: Int) -> Bool { waiting >= sealing.plaintext && !isLong }

  /// Counts the plaintext that such a call has sent. - Returns: whether that makes the session a long one.
  mutating func count(_ sent: Int) -> Bool {
    longBytes &+= sent
    return isLong
  }

  /// Notes how much content the last record has.
  @inline(__always)
  mutating func noteContent(_ count: Int) {
    if secret != nil, lastLength != Self.length(count) { isUnpadded = false }
  }

  /// Notes that something that this side had to say is lost.
  mutating func lose() { hasLostOne = true }

  /// Notes that OpenSSL has said that it takes its next keys.
  mutating func noteKeyUpdate(_ ssl: OpaquePointer) {
    if sealer != nil {
      if sealer?.updateKeys() != true { hasLostOne = true }
    } else {
      follow(RecordSealer.digest(ssl).flatMap { secret?.next($0) })
    }
  }

  /// Whether records are sealed here, from now on if not before.
  /// - Parameters:
  ///   - waiting: bytes of plaintext to be sent.
  ///   - carried: bytes that the session has carried.
  ///   - isWhole: whether its records may be as long as the protocol allows. Others are OpenSSL's affair.
  @inline(__always)
  mutating func takeOver(
    _ ssl: OpaquePointer, waiting: Int, carried: Int, isWhole: Bool
  ) -> Bool {
    if sealer != nil { return true }
    guard secret != nil, isUnpadded, isWhole, waiting >= sealing.plaintext,
      carried >= sealing.behind
    else { return false }
    return takeOver(ssl)
  }

  /// Takes sealing over from OpenSSL, if libcrypto has what it needs; otherwise OpenSSL keeps it.
  private mutating func takeOver(_ ssl: OpaquePointer) -> Bool {
    guard let secret else { return false }
    sealer = RecordSealer(ssl, secret, sequence: written)
    self.secret = nil
    OpenSSLLibrary.clearStaleErrors()
    return sealer != nil
  }

  /// Makes a record, as `RecordSealer` does. - Returns: false if that failed, now or before.
  @inline(__always)
  mutating func seal(
    type: UInt8, _ content: UnsafeRawBufferPointer, into target: UnsafeMutableRawPointer
  ) -> Bool {
    if !hasLostOne, sealer?.seal(type: type, content, into: target) == true { return true }
    hasLostOne = true
    return false
  }

  /// The same for application data in several pieces.
  mutating func seal(
    _ pieces: UnsafeBufferPointer<iovec>, skipping: Int, count: Int,
    into target: UnsafeMutableRawPointer
  ) -> Bool {
    if !hasLostOne, sealer?.seal(pieces, skipping: skipping, count: count, into: target) == true {
      return true
    }
    hasLostOne = true
    return false
  }

  /// Forgets the keys; the last thing that the owner does.
  mutating func release() {
    sealer?.release()
    sealer = nil
    secret = nil
  }
}
