// Strings of field blocks in HPACK's Huffman code (RFC 7541 5.2 and appendix B). The code is canonical:
// codes of one length are consecutive numbers in the order of their symbols, and so its lengths say all.
//
// TRAP: (file) tables of our own, and memory that the caller has measured.

/// What decoding needs. One for the process, made when it is first asked for.
struct HuffmanCode {
  /// A code of up to so many bits is found in one step; all of ASCII's letters and digits are shorter.
  private static let quickBits = 10
  private static let longest = 30
  private static let endOfString: UInt16 = 256

  /// By the next `quickBits` bits: the symbol and, in the lowest four bits, its length; 0: it is longer.
  private let quick: UnsafeMutablePointer<UInt16>
  /// By length: the first code, how many there are, and where their symbols begin in `symbols`.
  private let first: UnsafeMutablePointer<UInt32>
  private let number: UnsafeMutablePointer<UInt32>
  private let start: UnsafeMutablePointer<UInt32>
  private let symbols: UnsafeMutablePointer<UInt16>

  // SAFETY: written once, before it is published, and never freed.
  nonisolated(unsafe) static let shared = HuffmanCode()

  private init() {
    quick = .allocate(capacity: 1 << Self.quickBits)
    quick.initialize(repeating: 0, count: 1 << Self.quickBits)
    first = .allocate(capacity: Self.longest + 1)
    number = .allocate(capacity: Self.longest + 1)
    start = .allocate(capacity: Self.longest + 1)
    symbols = .allocate(capacity: Self.lengths.count)
    var code: UInt32 = 0
    var place = 0
    for length in 0...Self.longest {
      code <<= 1
      first[length] = code
      start[length] = UInt32(place)
      for (symbol, its) in Self.lengths.enumerated() where Int(its) == length {
        symbols[place] = UInt16(symbol)
        place += 1
        if length <= Self.quickBits {
          let rest = Self.quickBits - length
          for tail in 0..<(1 << rest) {
            quick[Int(code) << rest | tail] = UInt16(symbol) << 4 | UInt16(length)
          }
        }
        code += 1
      }
      number[length] = code - first[length]
    }
  }

  /// Bytes that a string of `count` bytes can have when it is decoded: no code has less than five bits.
  static func bound(_ count: Int) -> Int { count * 8 / 5 }

  /// Decodes a string.
  /// - Parameter output: room for `bound` bytes.
  /// - Returns: its bytes; nil: it is none, or its padding is not that of a string.
  func decode(_ input: UnsafeRawBufferPointer, into output: UnsafeMutablePointer<UInt8>) -> Int? {
    let end = input.count * 8
    // In bits.
    var at = 0
    var count = 0
    while end - at >= 64 {
      // From where the next code begins: at least 57 bits, of which the loop uses 50 or fewer. The look behind it
      // may see only seven that are real, with zeros behind them, and these make no long code: all of those begin
      // with ten bits from 1111111101 on.
      let word = UInt64(bigEndian: input.loadUnaligned(fromByteOffset: at >> 3, as: UInt64.self))
      var bits = word &<< UInt64(truncatingIfNeeded: at & 7)
      for _ in 0..<5 {
        let entry = quick[Int(bits &>> UInt64(64 - Self.quickBits))]
        if entry == 0 { break }
        output[count] = UInt8(truncatingIfNeeded: entry &>> 4)
        count += 1
        let length = UInt64(entry & 15)
        bits &<<= length
        at += Int(length)
      }
      guard quick[Int(bits &>> UInt64(64 - Self.quickBits))] == 0, end - at >= 64 else { continue }
      guard let length = decodeLong(input, at, into: output + count) else { return nil }
      at += length
      count += 1
    }
    return decodeRest(input, at, into: output, count)
  }

  /// Decodes a code that is longer than `quickBits`, eight bytes or more before the end.
  /// - Returns: its length; nil: it ends a string, which must not stand in one.
  private func decodeLong(
    _ input: UnsafeRawBufferPointer, _ at: Int, into output: UnsafeMutablePointer<UInt8>
  ) -> Int? {
    let word = UInt64(bigEndian: input.loadUnaligned(fromByteOffset: at >> 3, as: UInt64.self))
    let (symbol, length) = find(word << UInt64(at & 7))
    guard symbol != Self.endOfString else { return nil }
    output.pointee = UInt8(truncatingIfNeeded: symbol)
    return length
  }

  /// Decodes the last 63 bits or fewer. - Returns: as `decode`.
  private func decodeRest(
    _ input: UnsafeRawBufferPointer, _ at: Int, into output: UnsafeMutablePointer<UInt8>,
    _ before: Int
  ) -> Int? {
    var count = before
    var left = input.count * 8 - at
    // Those that are not there are 0.
    var bits: UInt64 = 0
    for place in (at >> 3)..<input.count { bits = bits << 8 | UInt64(input[place]) }
    bits <<= UInt64(64 - left)
    while true {
      let entry = quick[Int(bits >> UInt64(64 - Self.quickBits))]
      var length = Int(entry & 15)
      var symbol = entry >> 4
      if entry == 0 {
        (symbol, length) = find(bits)
        if length <= left && symbol == Self.endOfString { return nil }
      }
      guard length <= left else { return isPadding(bits, left) ? count : nil }
      output[count] = UInt8(truncatingIfNeeded: symbol)
      count += 1
      bits <<= UInt64(length)
      left -= length
    }
  }

  /// Whether what is left of a string is the beginning of the code that ends it: ones, and less than a byte.
  @inline(__always)
  private func isPadding(_ bits: UInt64, _ left: Int) -> Bool {
    left < 8 && (left == 0 || bits >> UInt64(64 - left) == (1 << UInt64(left)) - 1)
  }

  /// The symbol of a code that is longer than `quickBits`, and its length.
  private func find(_ bits: UInt64) -> (UInt16, Int) {
    for length in (Self.quickBits + 1)...Self.longest {
      let code = UInt32(truncatingIfNeeded: bits >> UInt64(64 - length))
      let place = code &- first[length]
      if code >= first[length], place < number[length] {
        return (symbols[Int(start[length] + place)], length)
      }
    }
    // The code is complete: every 30 bits begin with one of it.
    return (Self.endOfString, Self.longest)
  }

  /// Bits of each symbol's code: the bytes from 0 to 255, and the end of a string.
  private static let lengths: [UInt8] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
  ]
}
