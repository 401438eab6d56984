// The handshake that a client of WebSocket makes over HTTP/1.1 (RFC 6455 4.1): a key of sixteen random
// bytes, and the value that proves that the server has understood it. Made by this proxy where one of its
// peers speaks HTTP/2, which has neither (RFC 8441 5).

/// Sec-WebSocket-Key, and the Sec-WebSocket-Accept that belongs to it.
public struct WebSocketKey: BitwiseCopyable, Equatable, Sendable {
  /// Bytes of the key's text, and of the value that accepts it.
  public static var textBytes: Int { 24 }
  public static var acceptBytes: Int { 28 }

  /// The text, as the field has it: base64 of sixteen bytes.
  @usableFromInline var text: (UInt64, UInt64, UInt64) = (0, 0, 0)

  /// Room for one, which costs nothing to make: it is never sent.
  @inlinable @inline(__always)
  public init() {}

  /// A key of these random bits; the same for both parts is as good as any.
  public init(_ high: UInt64, _ low: UInt64) {
    withUnsafeMutableBytes(of: &text) { text in
      withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { bits in
        bits.storeBytes(of: high.bigEndian, toByteOffset: 0, as: UInt64.self)
        bits.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        Base64.encode(UnsafeRawBufferPointer(bits), into: text)
      }
    }
  }

  /// A client's key; nil if it is none (4.2.1).
  public init?(_ value: UnsafeRawBufferPointer) {
    guard value.count == Self.textBytes, value.suffix(2).elementsEqual("==".utf8),
      value.dropLast(2).allSatisfy(Base64.isLetter)
    else { return nil }
    withUnsafeMutableBytes(of: &text) { $0.copyMemory(from: value) }
  }

  public static func == (a: WebSocketKey, b: WebSocketKey) -> Bool { a.text == b.text }

  /// Calls `body` with the key as the field has it.
  public func withText<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    withUnsafeBytes(of: text, body)
  }

  /// Whether `value` accepts the key.
  public func isAccepted(by value: UnsafeRawBufferPointer) -> Bool {
    value.count == Self.acceptBytes && withAccept { $0.elementsEqual(value) }
  }

  /// Calls `body` with the value that accepts the key: base64 of the SHA-1 of its text and a fixed word
  /// (4.2.2).
  public func withAccept<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    let word: StaticString = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    let length = Self.textBytes + word.utf8CodeUnitCount
    return withText { text in
      withUnsafeTemporaryAllocation(byteCount: length + 20 + Self.acceptBytes, alignment: 8) {
        room in
        room.copyMemory(from: text)
        UnsafeMutableRawBufferPointer(rebasing: room[text.count...]).copyMemory(
          from: UnsafeRawBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount))
        let digest = UnsafeMutableRawBufferPointer(rebasing: room[length..<(length + 20)])
        SHA1.hash(UnsafeRawBufferPointer(rebasing: room[..<length]), into: digest)
        let accept = UnsafeMutableRawBufferPointer(rebasing: room[(length + 20)...])
        Base64.encode(UnsafeRawBufferPointer(digest), into: accept)
        return body(UnsafeRawBufferPointer(accept))
      }
    }
  }
}

/// RFC 4648 4, with padding.
enum Base64 {
  private static func letter(_ value: UInt8) -> UInt8 {
    switch value {
    case 0..<26: UInt8(ascii: "A") + value
    case 26..<52: UInt8(ascii: "a") + (value - 26)
    case 52..<62: UInt8(ascii: "0") + (value - 52)
    case 62: UInt8(ascii: "+")
    default: UInt8(ascii: "/")
    }
  }

  static func isLetter(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"):
      true
    default: false
    }
  }

  /// - Parameter room: four bytes for each three, or part of three, of `bytes`.
  static func encode(
    _ bytes: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer
  ) {
    var at = 0
    var start = 0
    while start < bytes.count {
      let count = min(3, bytes.count - start)
      var group: UInt32 = 0
      for index in 0..<3 {
        group = group << 8 | (index < count ? UInt32(bytes[start + index]) : 0)
      }
      for index in 0..<4 {
        let value = UInt8(truncatingIfNeeded: group >> UInt32(18 - 6 * index)) & 63
        room[at] = index <= count ? letter(value) : UInt8(ascii: "=")
        at += 1
      }
      start += 3
    }
  }
}

/// FIPS 180-4. It is no protection here, and is not meant as one (RFC 6455 10.8): it only shows that the
/// server has read the request.
enum SHA1 {
  private static var start: [5 of UInt32] {
    [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
  }

  /// - Parameters:
  ///   - message: at most 119 bytes, which with their padding are two blocks.
  ///   - digest: room for 20 bytes.
  static func hash(
    _ message: UnsafeRawBufferPointer, into digest: UnsafeMutableRawBufferPointer
  ) {
    // TRAP: the message is a key's text and a fixed word.
    precondition(message.count <= 119 && digest.count >= 20, "not a message for this hash")
    var state = start
    withUnsafeTemporaryAllocation(byteCount: 128, alignment: 8) { blocks in
      blocks.initializeMemory(as: UInt8.self, repeating: 0)
      blocks.copyMemory(from: message)
      blocks[message.count] = 0x80
      let length = message.count < 56 ? 64 : 128
      blocks.storeBytes(
        of: UInt64(message.count * 8).bigEndian, toByteOffset: length - 8, as: UInt64.self)
      for block in 0..<(length / 64) {
        compress(&state, UnsafeRawBufferPointer(rebasing: blocks[(block * 64)..<(block * 64 + 64)]))
      }
    }
    for index in 0..<5 {
      digest.storeBytes(of: state[index].bigEndian, toByteOffset: index * 4, as: UInt32.self)
    }
  }

  private static func compress(_ state: inout [5 of UInt32], _ block: UnsafeRawBufferPointer) {
    var words = InlineArray<80, UInt32>(repeating: 0)
    for index in 0..<16 {
      words[index] = UInt32(
        bigEndian: block.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self))
    }
    for index in 16..<80 {
      words[index] = rotate(
        words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16], 1)
    }
    var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
    for index in 0..<80 {
      let (mix, constant): (UInt32, UInt32) =
        switch index {
        case 0..<20: (b & c | ~b & d, 0x5A82_7999)
        case 20..<40: (b ^ c ^ d, 0x6ED9_EBA1)
        case 40..<60: (b & c | b & d | c & d, 0x8F1B_BCDC)
        default: (b ^ c ^ d, 0xCA62_C1D6)
        }
      let next = rotate(a, 5) &+ mix &+ e &+ constant &+ words[index]
      (e, d, c, b, a) = (d, c, rotate(b, 30), a, next)
    }
    state[0] &+= a
    state[1] &+= b
    state[2] &+= c
    state[3] &+= d
    state[4] &+= e
  }

  private static func rotate(_ value: UInt32, _ count: UInt32) -> UInt32 {
    value << count | value >> (32 - count)
  }
}
