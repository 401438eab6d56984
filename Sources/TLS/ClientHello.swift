// The name that a client asks for in its first message (SNI, RFC 6066 3), read without a session: for who
// passes the connection on as it is. It reads and checks no more than it takes to find the name, and
// copies nothing but that.

/// What the first bytes of a connection say, as far as they go.
public enum ClientHello: Equatable, Sendable {
  /// The name is still to come.
  case incomplete
  /// In lower case.
  case name(String)
  /// It asks for no name.
  case noName
  /// It is no ClientHello, or longer than any client's.
  case malformed

  /// Bytes within which a ClientHello ends, records included: OpenSSL's, with post-quantum key shares, has
  /// 1.7 KiB.
  public static var bytesMaximum: Int { 16_384 }

  /// Bytes that a connection's beginning may cost altogether, since each look begins anew: what comes byte
  /// by byte is looked at as often, and one of 16 KiB would cost 134 MB so. A usual message (1.7 KiB)
  /// costs 16 KB in pieces of 100 bytes.
  public static var workMaximum: Int { 1_048_576 }

  /// Reads the bytes that a connection begins with; more may follow.
  public init(_ bytes: UnsafeRawBufferPointer) {
    var reader = HandshakeReader(bytes)
    do throws(HandshakeReader.Stop) {
      self = try Self.read(&reader)
    } catch {
      let mayGoOn = error == .needsMore && bytes.count < Self.bytesMaximum
      self = mayGoOn ? .incomplete : .malformed
    }
  }

  /// RFC 8446 4.1.2; the same in every version.
  private static func read(
    _ reader: inout HandshakeReader
  ) throws(HandshakeReader.Stop) -> ClientHello {
    guard try reader.byte() == 1 else { return .malformed }
    let length = try reader.number(3)
    guard length <= bytesMaximum else { return .malformed }
    var body = length
    // Version and random.
    try reader.skip(34, of: &body)
    for width in [1, 2, 1] {
      // Session id, cipher suites, compression methods.
      let count = try reader.number(width, of: &body)
      try reader.skip(count, of: &body)
    }
    guard body > 0 else { return .noName }
    var extensions = try reader.number(2, of: &body)
    guard extensions == body else { return .malformed }
    while extensions > 0 {
      let kind = try reader.number(2, of: &extensions)
      var size = try reader.number(2, of: &extensions)
      guard size <= extensions else { return .malformed }
      extensions -= size
      guard kind == 0 else {
        try reader.skip(size, of: &size)
        continue
      }
      let list = try reader.number(2, of: &size)
      guard list == size else { return .malformed }
      // The one kind of name that there is.
      guard try reader.number(1, of: &size) == 0 else { return .malformed }
      let count = try reader.number(2, of: &size)
      guard count > 0, count <= 255, count <= size else { return .malformed }
      return try name(&reader, count)
    }
    return .noName
  }

  private static func name(
    _ reader: inout HandshakeReader, _ count: Int
  ) throws(HandshakeReader.Stop) -> ClientHello {
    var letters: [UInt8] = []
    for _ in 0..<count {
      var letter = try reader.byte()
      if letter >= 0x41, letter <= 0x5A { letter |= 0x20 }
      switch letter {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
        letters.append(letter)
      default: return .malformed
      }
    }
    return .name(String(decoding: letters, as: UTF8.self))
  }
}

/// The bytes of handshake messages, out of the records that carry them (RFC 8446 5.1): a message may be
/// spread over several.
private struct HandshakeReader {
  enum Stop: Error { case needsMore, malformed }

  private let bytes: UnsafeRawBufferPointer
  private var position = 0
  /// Bytes that are left of the record.
  private var left = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// The next byte of a message.
  mutating func byte() throws(Stop) -> UInt8 {
    while left == 0 { try beginRecord() }
    guard position < bytes.count else { throw .needsMore }
    let byte = bytes[position]
    position += 1
    left -= 1
    return byte
  }

  private mutating func beginRecord() throws(Stop) {
    // A handshake record of any version 3.x, and none that is empty.
    if position < bytes.count, bytes[position] != 22 { throw .malformed }
    if position + 1 < bytes.count, bytes[position + 1] != 3 { throw .malformed }
    guard bytes.count - position >= 5 else { throw .needsMore }
    left = Int(bytes[position + 3]) << 8 | Int(bytes[position + 4])
    guard left > 0, left <= 16_384 else { throw .malformed }
    position += 5
  }

  /// A number of so many bytes.
  mutating func number(_ width: Int) throws(Stop) -> Int {
    var number = 0
    for _ in 0..<width { number = number << 8 | Int(try byte()) }
    return number
  }

  /// The same, out of what is left of a vector.
  mutating func number(_ width: Int, of room: inout Int) throws(Stop) -> Int {
    guard room >= width else { throw .malformed }
    room -= width
    return try number(width)
  }

  mutating func skip(_ count: Int, of room: inout Int) throws(Stop) {
    guard count <= room else { throw .malformed }
    room -= count
    for _ in 0..<count { _ = try byte() }
  }
}
