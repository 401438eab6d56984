// HPACK's decoder (RFC 7541): the RFC's own examples, what nghttp2 encodes, damaged blocks beside
// nghttp2's decoder, and the limits of table, strings and integers.

import CNghttp2
import Glibc
import Testing

@testable import HTTP2

/// A field as text, so that failures can be read.
private struct Line: Hashable, CustomStringConvertible {
  var name: [UInt8]
  var value: [UInt8]

  init(_ name: some Sequence<UInt8>, _ value: some Sequence<UInt8>) {
    self.name = Array(name)
    self.value = Array(value)
  }

  init(_ name: String, _ value: String) { self.init(name.utf8, value.utf8) }

  var description: String {
    String(decoding: name, as: UTF8.self) + ": " + String(decoding: value, as: UTF8.self)
  }
}

/// A decoder of ours with what it needs.
private struct Decoder: ~Copyable {
  var reader: FieldBlockReader
  var heads = HTTP2HeadReader(bytes: 1 << 20, fields: 10_000)

  init(memory: HTTP2Memory = HTTP2Memory()) {
    reader = FieldBlockReader(fieldLimit: 10_000, memory: memory)
  }

  /// The fields of a block; nil: it is none.
  mutating func decode(_ block: [UInt8]) -> [Line]? {
    heads.arena.compact()
    heads.arena.open()
    let isRead = block.withUnsafeBytes {
      reader.decode($0, into: &heads.arena, &heads.scratch)
    }
    heads.arena.close()
    guard isRead else { return nil }
    var lines: [Line] = []
    heads.head.forEach { lines.append(Line($0.name, $0.value)) }
    return lines
  }
}

/// nghttp2's decoder, and its encoder.
private final class Peer {
  private var inflater: OpaquePointer?
  private var deflater: OpaquePointer?

  init() {
    #expect(nghttp2_hd_inflate_new(&inflater) == 0)
    #expect(nghttp2_hd_deflate_new(&deflater, 4096) == 0)
  }

  deinit {
    nghttp2_hd_inflate_del(inflater)
    nghttp2_hd_deflate_del(deflater)
  }

  func resize(_ size: Int) { nghttp2_hd_deflate_change_table_size(deflater, size) }

  func encode(_ lines: [Line], hidden: Set<Int> = []) -> [UInt8] {
    var fields: [nghttp2_nv] = []
    for (index, line) in lines.enumerated() {
      let name = UnsafeMutablePointer<UInt8>.allocate(capacity: line.name.count + 1)
      name.initialize(from: line.name, count: line.name.count)
      let value = UnsafeMutablePointer<UInt8>.allocate(capacity: line.value.count + 1)
      value.initialize(from: line.value, count: line.value.count)
      fields.append(
        nghttp2_nv(
          name: name, value: value, namelen: line.name.count, valuelen: line.value.count,
          flags: UInt8(hidden.contains(index) ? NGHTTP2_NV_FLAG_NO_INDEX.rawValue : 0)))
    }
    defer {
      for field in fields {
        field.name.deallocate()
        field.value.deallocate()
      }
    }
    var block = [UInt8](
      repeating: 0, count: nghttp2_hd_deflate_bound(deflater, fields, fields.count))
    let count = nghttp2_hd_deflate_hd(deflater, &block, block.count, fields, fields.count)
    #expect(count >= 0)
    return Array(block[..<max(0, count)])
  }

  func decode(_ block: [UInt8]) -> [Line]? {
    var lines: [Line] = []
    // One byte more, so that there is an address also for no bytes.
    let memory = block + [0]
    return memory.withUnsafeBufferPointer { bytes -> [Line]? in
      var at = 0
      while true {
        var field = nghttp2_nv()
        var flags: Int32 = 0
        let used = nghttp2_hd_inflate_hd2(
          inflater, &field, &flags, bytes.baseAddress! + at, block.count - at, 1)
        guard used >= 0 else { return nil }
        at += used
        if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0 {
          lines.append(
            Line(
              UnsafeBufferPointer(start: field.name, count: field.namelen),
              UnsafeBufferPointer(start: field.value, count: field.valuelen)))
        } else if flags & Int32(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 {
          return nghttp2_hd_inflate_end_headers(inflater) == 0 ? lines : nil
        } else if at >= block.count {
          return nil
        }
      }
    }
  }
}

private func bytes(_ hex: String) -> [UInt8] {
  let digits = hex.filter { !$0.isWhitespace }.compactMap { $0.hexDigitValue }
  return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

/// Fields as they come, and as they should not.
private func drawn(_ dice: inout some RandomNumberGenerator) -> [Line] {
  let names = [
    ":method", ":path", ":authority", "accept", "cookie", "user-agent", "x-a",
    "x-long-name-of-a-field",
  ]
  return (0..<Int.random(in: 0...12, using: &dice)).map { _ in
    let length = [0, 1, 7, 30, 30, 200, 200, 1500, 5000].randomElement(using: &dice)!
    let isText = Bool.random(using: &dice)
    let few = Bool.random(using: &dice)
    let value: [UInt8] =
      few
      ? Array("value-\(Int.random(in: 0...9, using: &dice))".utf8)
      : (0..<length).map { _ in
        isText ? UInt8.random(in: 32...126, using: &dice) : UInt8.random(in: 0...255, using: &dice)
      }
    return Line(Array(names.randomElement(using: &dice)!.utf8), value)
  }
}

private struct Dice: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

@Suite("Field blocks: decoding")
struct FieldBlockReaderTests {
  private static let requests = [
    [
      Line(":method", "GET"), Line(":scheme", "http"), Line(":path", "/"),
      Line(":authority", "www.example.com"),
    ],
    [
      Line(":method", "GET"), Line(":scheme", "http"), Line(":path", "/"),
      Line(":authority", "www.example.com"), Line("cache-control", "no-cache"),
    ],
    [
      Line(":method", "GET"), Line(":scheme", "https"), Line(":path", "/index.html"),
      Line(":authority", "www.example.com"), Line("custom-key", "custom-value"),
    ],
  ]

  @Test("the examples of RFC 7541, C.3 and C.4", arguments: [0, 1])
  func examples(coded: Int) {
    let blocks = [
      [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
      ],
      [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
      ],
    ][coded]
    var decoder = Decoder()
    for (block, expected) in zip(blocks, Self.requests) {
      #expect(decoder.decode(bytes(block)) == expected)
    }
  }

  @Test("every entry of the static table is that of nghttp2")
  func staticTable() {
    let peer = Peer()
    var decoder = Decoder()
    for index in UInt8(1)...61 {
      let block = [0x80 | index]
      let lines = decoder.decode(block)
      #expect(lines == peer.decode(block))
      #expect(lines?.count == 1)
    }
  }

  @Test("each byte, in Huffman code, alone and between others")
  func everyByte() {
    let peer = Peer()
    var decoder = Decoder()
    for byte in UInt8.min...UInt8.max {
      for text in [[byte], [byte, byte, 97], Array("abc".utf8) + [byte, 0, byte]] {
        // A value of so many e's is shorter in code, and so nghttp2 uses it.
        let lines = [Line(Array("x".utf8), text + [UInt8](repeating: 101, count: 200))]
        #expect(decoder.decode(peer.encode(lines)) == lines)
      }
    }
  }

  @Test("each byte, in Huffman code, behind and before codes of every length that matters")
  func everyOffset() {
    let peer = Peer()
    var decoder = Decoder()
    // Codes of five bits and one of six or seven move what follows to each bit of a byte.
    for byte in UInt8.min...UInt8.max {
      for before in 0...9 {
        for odd in [Array("a".utf8), Array("b".utf8), Array("s".utf8), Array(":".utf8)] {
          let text = odd + [UInt8](repeating: 101, count: before) + [byte]
          // A value of so many e's is shorter in code, and so nghttp2 uses it; 0 to 13 of them stand behind the byte.
          let lead = [UInt8](repeating: 101, count: 100)
          for behind in [0, 3, 8, 13] {
            let tail = [UInt8](repeating: 101, count: behind)
            let lines = [Line(Array("x".utf8), lead + text + tail)]
            guard decoder.decode(peer.encode(lines)) == lines else {
              Issue.record("byte \(byte), \(before) before, \(behind) behind")
              return
            }
          }
        }
      }
    }
  }

  @Test("the code that ends a string stands in none, wherever", arguments: 0...24)
  func endOfString(before: Int) {
    // e is 00101, the end of a string thirty ones; 16 bytes of e's stand behind it.
    var bits = [Int]()
    for _ in 0..<before { bits += [0, 0, 1, 0, 1] }
    let good = Self.literal(bits + Array(repeating: [0, 0, 1, 0, 1], count: 24).flatMap { $0 })
    bits += [Int](repeating: 1, count: 30)
    let bad = Self.literal(bits + Array(repeating: [0, 0, 1, 0, 1], count: 24).flatMap { $0 })
    var decoder = Decoder()
    #expect(
      decoder.decode(good) == [Line(Array("x".utf8), [UInt8](repeating: 101, count: before + 24))])
    #expect(decoder.decode(bad) == nil)
  }

  /// A field whose value is these bits, padded with ones.
  private static func literal(_ bits: [Int]) -> [UInt8] {
    var bits = bits
    while bits.count % 8 != 0 { bits.append(1) }
    let value = stride(from: 0, to: bits.count, by: 8).map { start in
      bits[start..<start + 8].reduce(UInt8(0)) { $0 << 1 | UInt8($1) }
    }
    return [0x00, 1, UInt8(ascii: "x"), 0x80 | UInt8(value.count)] + value
  }

  @Test("what nghttp2 encodes, block after block", arguments: 1...20 as ClosedRange<UInt64>)
  func encoded(seed: UInt64) {
    var dice = Dice(state: seed)
    let peer = Peer()
    let memory = HTTP2Memory()
    do {
      var decoder = Decoder(memory: memory)
      for _ in 0..<30 {
        let lines = drawn(&dice)
        let hidden = Set(lines.indices.filter { _ in Int.random(in: 0..<5, using: &dice) == 0 })
        if Int.random(in: 0..<8, using: &dice) == 0 {
          peer.resize([0, 31, 32, 33, 100, 1000, 4095, 4096].randomElement(using: &dice)!)
        }
        let block = peer.encode(lines, hidden: hidden)
        guard decoder.decode(block) == lines else {
          Issue.record("decoded otherwise: \(lines)")
          return
        }
      }
    }
    #expect(memory.blocksInUse == 0)
  }

  @Test(
    "a damaged block is refused where nghttp2 refuses it", arguments: 1...20 as ClosedRange<UInt64>)
  func damaged(seed: UInt64) {
    var dice = Dice(state: seed &+ 1000)
    for _ in 0..<30 {
      let encoder = Peer()
      let peer = Peer()
      var decoder = Decoder()
      for _ in 0..<4 {
        var block = encoder.encode(drawn(&dice))
        for _ in 0..<Int.random(in: 0...3, using: &dice) where !block.isEmpty {
          let place = Int.random(in: block.indices, using: &dice)
          switch Int.random(in: 0..<4, using: &dice) {
          case 0: block[place] = UInt8.random(in: 0...255, using: &dice)
          case 1: block[place] ^= 1 << UInt8.random(in: 0...7, using: &dice)
          case 2: block.removeSubrange(place...)
          default: block.insert(UInt8.random(in: 0...255, using: &dice), at: place)
          }
        }
        let expected = peer.decode(block)
        let found = decoder.decode(block)
        #expect(found == expected, "seed \(seed): \(block)")
        if expected == nil { break }
      }
    }
  }

  @Test("an index of 0, and the first one behind the tables")
  func indexes() {
    var decoder = Decoder()
    #expect(decoder.decode([0x80]) == nil)
    #expect(decoder.decode([0xBD])?.count == 1)
    #expect(decoder.decode([0xBE]) == nil)
    #expect(decoder.decode([0x40, 1, 120, 1, 121]) == [Line("x", "y")])
    #expect(decoder.decode([0xBE]) == [Line("x", "y")])
    #expect(decoder.decode([0xBF]) == nil)
  }

  @Test("as many empty entries as there are places for, and one more")
  func fullTable() {
    for count in [127, 128, 129, 300] {
      var decoder = Decoder()
      var block: [UInt8] = []
      for _ in 0..<count { block += [0x40, 0, 0] }
      #expect(decoder.decode(block)?.count == count)
      let entries = min(count, 128)
      // The oldest one: 61 + entries, as an integer with a prefix of seven bits.
      #expect(decoder.decode([0xFF, UInt8((61 + entries - 127) & 0x7F)])?.count == 1)
      #expect(decoder.decode([0xFF, UInt8((61 + entries + 1 - 127) & 0x7F)]) == nil)
    }
  }

  @Test("an entry of the table's size stays, one of a byte more empties it")
  func largestEntry() {
    for (length, stays) in [(4062, true), (4063, true), (4064, false)] {
      var decoder = Decoder()
      #expect(decoder.decode([0x40, 1, 120, 1, 121])?.count == 1)
      let rest = length - 127
      let block =
        [0x40, 1, 120, 0x7F, UInt8(rest & 0x7F | 0x80), UInt8(rest >> 7)]
        + [UInt8](repeating: 122, count: length)
      #expect(decoder.decode(block)?.first?.value.count == length)
      #expect((decoder.decode([0xBE])?.first?.value.count == length) == stays)
      #expect(decoder.decode([0xBF]) == nil)
    }
  }

  @Test("an entry may be named by one that it drives out")
  func nameOfAnEvicted() {
    var decoder = Decoder()
    let name = [UInt8](repeating: 110, count: 100)
    #expect(decoder.decode([0x40, 100] + name + [1, 121])?.count == 1)
    for round in 0..<40 {
      // The name of the only entry, with a value that leaves room for one.
      let rest = 3900 - 127
      let value = [UInt8](repeating: UInt8(97 + round % 26), count: 3900)
      let block = [0x7E, 0x7F, UInt8(rest & 0x7F | 0x80), UInt8(rest >> 7)] + value
      #expect(decoder.decode(block) == [Line(name, value)])
      #expect(decoder.decode([0xBE]) == [Line(name, value)])
      #expect(decoder.decode([0xBF]) == nil)
    }
  }

  @Test("the size of the table: what was allowed, at the beginning of a block only")
  func resizing() {
    let allowed: [UInt8] = [0x3F, 0xE1, 0x1F]
    let tooMuch: [UInt8] = [0x3F, 0xE2, 0x1F]
    var decoder = Decoder()
    #expect(decoder.decode(allowed) == [])
    #expect(decoder.decode([0x20] + allowed + [0x82])?.count == 1)
    var other = Decoder()
    #expect(other.decode(tooMuch) == nil)
    var third = Decoder()
    #expect(third.decode([0x82, 0x20]) == nil)
  }

  @Test("padding of strings: up to seven ones, and no end of string")
  func padding() {
    func block(_ coded: [UInt8]) -> [UInt8] { [0x00, 1, 120, 0x80 | UInt8(coded.count)] + coded }
    var decoder = Decoder()
    // 'a' is 00011; '0' is 00000.
    #expect(decoder.decode(block([0b0001_1111])) == [Line("x", "a")])
    #expect(decoder.decode(block([0b0001_1110])) == nil)
    // A whole byte of padding.
    #expect(decoder.decode(block([0b0001_1111, 0xFF])) == nil)
    // '&' has eight bits: no padding at all.
    #expect(decoder.decode(block([0xF8])) == [Line("x", "&")])
    #expect(decoder.decode(block([])) == [Line("x", "")])
    // The end of a string is thirty ones.
    #expect(decoder.decode(block([0xFF, 0xFF, 0xFF, 0xFF])) == nil)
    // '\' has 19 bits, and leaves five of padding.
    #expect(decoder.decode(block([0xFF, 0xFE, 0x1F])) == [Line("x", "\\")])
  }

  @Test("a block that is cut anywhere is refused, and nothing behind it is read")
  func cut() {
    let peer = Peer()
    let lines = [
      Line(":path", "/a/long/path"), Line("x-name", String(repeating: "v", count: 300)),
      Line("cookie", "a=b"),
    ]
    let block = peer.encode(lines)
    var starts: Set<Int> = [0]
    for count in 1..<block.count {
      var decoder = Decoder()
      if let found = decoder.decode(Array(block[..<count])) {
        #expect(found == Array(lines[..<found.count]))
        starts.insert(count)
      }
    }
    #expect(starts.count == lines.count)
  }

  @Test("integers that are too long or too large")
  func integers() {
    var decoder = Decoder()
    #expect(decoder.decode([0xFF, 0x80, 0x80, 0x80, 0x00]) == nil)
    for block: [UInt8] in [
      [0xFF], [0xFF, 0x80], [0xFF, 0xFF, 0xFF, 0xFF, 0x7F], [0xFF, 0x80, 0x80, 0x80, 0x80, 0x00],
      [0x00, 0x7F, 0xFF, 0xFF, 0xFF, 0x7F, 120], [0x00, 2, 120], [0x00, 1, 120, 2, 121],
    ] {
      var other = Decoder()
      #expect(other.decode(block) == nil)
    }
  }
}
