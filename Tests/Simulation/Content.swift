// Content that knows whose it is: each byte of a body is a function of the request that it belongs
// to, of its direction and of its place. A byte of another exchange, a lost or a doubled one is seen
// at once, wherever it turns up.

/// Which body of an exchange.
enum Direction: UInt64 {
  case request = 0x5EED_0001
  case response = 0x5EED_0002
}

enum Content {
  @inline(__always)
  private static func word(_ id: Int, _ direction: Direction, _ index: Int) -> UInt64 {
    var value = UInt64(id) &* 0x9E37_79B9_7F4A_7C15 ^ direction.rawValue << 40 ^ UInt64(index)
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }

  /// `count` bytes of a body from `offset` on.
  static func bytes(_ id: Int, _ direction: Direction, from offset: Int, count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: max(count, 1)) { room, filled in
      var at = 0
      while at < count {
        let place = offset + at
        var value = word(id, direction, place / 8) >> UInt64(place % 8 * 8)
        let length = min(8 - place % 8, count - at)
        for _ in 0..<length {
          room[at] = UInt8(truncatingIfNeeded: value)
          value >>= 8
          at += 1
        }
      }
      filled = count
    }
  }

  /// The first place at which `bytes` are not the body's from `offset` on; nil if they are.
  static func difference(
    _ bytes: ArraySlice<UInt8>, _ id: Int, _ direction: Direction, at offset: Int
  ) -> Int? {
    let expected = self.bytes(id, direction, from: offset, count: bytes.count)
    if expected.elementsEqual(bytes) { return nil }
    for (i, byte) in bytes.enumerated() where byte != expected[i] { return offset + i }
    return nil
  }
}
