// Frames of HTTP/2 and field blocks, read and written by code of the simulator's own: neither the product's
// codec nor the library under it may be the judge of what they write (RFC 9113 4 and 6, RFC 7541).

import MillraceEngine

/// One frame as it came.
struct Frame {
  enum Kind {
    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let priority: UInt8 = 2
    static let reset: UInt8 = 3
    static let settings: UInt8 = 4
    static let pushPromise: UInt8 = 5
    static let ping: UInt8 = 6
    static let goAway: UInt8 = 7
    static let windowUpdate: UInt8 = 8
    static let continuation: UInt8 = 9
    static let priorityUpdate: UInt8 = 16
  }

  enum Flag {
    static let ack: UInt8 = 1
    static let endStream: UInt8 = 1
    static let endHeaders: UInt8 = 4
    static let padded: UInt8 = 8
    static let priority: UInt8 = 32
  }

  enum Setting {
    static let maxStreams = 3
    static let initialWindow = 4
  }

  static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
  static let payloadMaximum = 16_384

  var kind: UInt8
  var flags: UInt8
  var stream: Int
  var payload: ArraySlice<UInt8>

  func has(_ flag: UInt8) -> Bool { flags & flag != 0 }

  /// The payload without padding and what PRIORITY puts in front of it; nil if it is too short for them.
  var content: ArraySlice<UInt8>? {
    var rest = payload
    if has(Flag.padded) {
      guard let padding = rest.popFirst(), Int(padding) <= rest.count else { return nil }
      rest = rest.dropLast(Int(padding))
    }
    if kind == Kind.headers && has(Flag.priority) {
      guard rest.count >= 5 else { return nil }
      rest = rest.dropFirst(5)
    }
    return rest
  }

  static func number(_ bytes: ArraySlice<UInt8>) -> Int {
    bytes.reduce(0) { $0 << 8 | Int($1) }
  }

  static func bytes(_ value: Int, _ count: Int) -> [UInt8] {
    (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  // MARK: Writing

  static func write(
    _ kind: UInt8, _ flags: UInt8 = 0, _ stream: Int = 0, _ payload: [UInt8] = []
  ) -> [UInt8] {
    bytes(payload.count, 3) + [kind, flags] + bytes(stream, 4) + payload
  }

  static func settings(_ entries: [(Int, Int)]) -> [UInt8] {
    write(Kind.settings, 0, 0, entries.flatMap { bytes($0.0, 2) + bytes($0.1, 4) })
  }

  static func windowUpdate(_ stream: Int, _ count: Int) -> [UInt8] {
    write(Kind.windowUpdate, 0, stream, bytes(count, 4))
  }

  static func reset(_ stream: Int, _ code: Int) -> [UInt8] {
    write(Kind.reset, 0, stream, bytes(code, 4))
  }

  static func goAway(_ last: Int, _ code: Int) -> [UInt8] {
    write(Kind.goAway, 0, 0, bytes(last, 4) + bytes(code, 4))
  }

  /// A field block as HEADERS and, by the dice, CONTINUATION frames and padding.
  static func head(
    _ stream: Int, _ block: [UInt8], ends: Bool, _ dice: inout SimulatedDice
  ) -> [UInt8] {
    var flags: UInt8 = ends ? Flag.endStream : 0
    var first = block[...]
    var rest = block[block.count...]
    if dice.chance(150) || block.count > payloadMaximum {
      let cut = dice.roll(min(block.count, payloadMaximum) + 1)
      first = block[..<cut]
      rest = block[cut...]
    }
    var payload = Array(first)
    if dice.chance(50) && payload.count < 16_000 {
      flags |= Flag.priority
      payload = bytes(0, 4) + [UInt8(dice.roll(256))] + payload
    }
    if dice.chance(50) && payload.count < 16_000 {
      flags |= Flag.padded
      let padding = dice.roll(100)
      payload = [UInt8(padding)] + payload + [UInt8](repeating: 0, count: padding)
    }
    if rest.isEmpty { return write(Kind.headers, flags | Flag.endHeaders, stream, payload) }
    var all = write(Kind.headers, flags, stream, payload)
    while !rest.isEmpty {
      let piece = rest.prefix(min(1 + rest.count / 2, payloadMaximum))
      rest = rest.dropFirst(piece.count)
      all += write(Kind.continuation, rest.isEmpty ? Flag.endHeaders : 0, stream, Array(piece))
    }
    return all
  }
}

/// Bytes that become frames.
struct FrameReader {
  private var bytes: [UInt8] = []
  private var at = 0
  var unread: Int { bytes.count - at }

  mutating func feed(_ more: [UInt8]) {
    bytes.removeFirst(at)
    at = 0
    bytes += more
  }

  /// Takes what a client begins with. - Returns: nil if it is not there yet, false if it is another text.
  mutating func takePreface() -> Bool? {
    let count = min(unread, Frame.preface.count)
    guard bytes[at..<(at + count)].elementsEqual(Frame.preface[..<count]) else { return false }
    guard count == Frame.preface.count else { return nil }
    at += count
    return true
  }

  mutating func next() -> Frame? {
    guard unread >= 9 else { return nil }
    let count = Frame.number(bytes[at..<(at + 3)])
    guard unread >= 9 + count else { return nil }
    let start = at + 9
    let frame = Frame(
      kind: bytes[at + 3], flags: bytes[at + 4],
      stream: Frame.number(bytes[(at + 5)..<start]) & 0x7FFF_FFFF,
      payload: bytes[start..<(start + count)])
    at = start + count
    return frame
  }
}

/// Field blocks without a dynamic table. What the product writes needs none; what is written here may
/// enter fields into the product's.
enum FieldBlock {
  typealias Fields = [(name: String, value: String)]

  static func write(_ fields: Fields, _ dice: inout SimulatedDice) -> [UInt8] {
    var block: [UInt8] = []
    for (name, value) in fields {
      let both = table.firstIndex { $0.0 == name && $0.1 == value }
      if let both, !dice.chance(200) {
        block += integer(both, 7, 0x80)
        continue
      }
      let (bits, prefix): (UInt8, Int) = [(0x40, 6), (0, 4), (0x10, 4)][dice.roll(3)]
      if let index = table.firstIndex(where: { $0.0 == name }), !dice.chance(200) {
        block += integer(index, prefix, bits)
      } else {
        block += [bits] + text(name)
      }
      block += text(value)
    }
    return block
  }

  private static func integer(_ value: Int, _ prefix: Int, _ bits: UInt8) -> [UInt8] {
    let limit = 1 << prefix - 1
    if value < limit { return [bits | UInt8(value)] }
    var bytes = [bits | UInt8(limit)]
    var rest = value - limit
    while rest >= 128 {
      bytes.append(UInt8(rest & 127) | 128)
      rest >>= 7
    }
    return bytes + [UInt8(rest)]
  }

  /// Each scalar below 256 is one byte, so that a value can be any bytes.
  private static func text(_ text: String) -> [UInt8] {
    let bytes = text.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) }
    return integer(bytes.count, 7, 0) + bytes
  }

  /// - Returns: nil if it cannot be read without a dynamic table and Huffman coding.
  static func read(_ block: ArraySlice<UInt8>) -> Fields? {
    var rest = block
    var fields: Fields = []
    while let first = rest.first {
      if first & 0x80 != 0 {
        guard let index = readInteger(&rest, 7), index > 0, index < table.count else { return nil }
        fields.append((table[index].0, table[index].1))
        continue
      }
      if first & 0xE0 == 0x20 {
        guard readInteger(&rest, 5) == 0 else { return nil }
        continue
      }
      guard let index = readInteger(&rest, first & 0xC0 == 0x40 ? 6 : 4), index < table.count
      else { return nil }
      guard let name = index > 0 ? table[index].0 : readText(&rest), let value = readText(&rest)
      else { return nil }
      fields.append((name, value))
    }
    return fields
  }

  private static func readInteger(_ rest: inout ArraySlice<UInt8>, _ prefix: Int) -> Int? {
    guard let first = rest.popFirst() else { return nil }
    let limit = 1 << prefix - 1
    var value = Int(first) & limit
    guard value == limit else { return value }
    var shift = 0
    while let byte = rest.popFirst(), shift < 32 {
      value += Int(byte & 127) << shift
      if byte < 128 { return value }
      shift += 7
    }
    return nil
  }

  private static func readText(_ rest: inout ArraySlice<UInt8>) -> String? {
    guard let first = rest.first, first < 128, let count = readInteger(&rest, 7),
      count <= rest.count
    else { return nil }
    defer { rest = rest.dropFirst(count) }
    return String(decoding: rest.prefix(count), as: UTF8.self)
  }

  /// RFC 7541 appendix A, from 1 on.
  private static let table: [(String, String)] = [
    ("", ""), (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
  ]
}
