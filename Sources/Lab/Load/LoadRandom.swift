// The chance of a load run: generators whose sequence is their seed's alone, so that a seed repeats
// the requests that were sent and the gaps between them. Not for secrets.

/// A generator for sequences: xoshiro256** (Blackman and Vigna, 2018), its state filled by splitmix64
/// as its authors advise.
struct LoadRandom {
  private var a: UInt64
  private var b: UInt64
  private var c: UInt64
  private var d: UInt64

  init(seed: UInt64) {
    a = Self.mix(seed &+ Self.golden)
    b = Self.mix(seed &+ 2 &* Self.golden)
    c = Self.mix(seed &+ 3 &* Self.golden)
    d = Self.mix(seed &+ 4 &* Self.golden)
  }

  /// The next 64 random bits.
  mutating func next() -> UInt64 {
    let product = b &* 5
    let result = (product << 7 | product >> 57) &* 9
    let shifted = b << 17
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = d << 45 | d >> 19
    return result
  }

  /// Uniform in (0, 1]: its logarithm is finite.
  mutating func unit() -> Double {
    // The 53 bits that a Double holds.
    (Double(next() >> 11) + 1) * 0x1p-53
  }

  /// The odd number next to 2⁶⁴ divided by the golden ratio: splitmix64's step.
  static let golden: UInt64 = 0x9E37_79B9_7F4A_7C15

  /// splitmix64's output function (Steele, Lea and Flood, 2014): a hash of 64 bits, so that the n-th
  /// of a sequence can be had without those before it.
  @inline(__always)
  static func mix(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
