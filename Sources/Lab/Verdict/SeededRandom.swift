// The random numbers of the verdict: SplitMix64, seeded by the comparison's seed and the name of what
// is computed, so that the same measurements give the same intervals whatever the order of work.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { self.state = seed }

  /// A stream of its own for each name: FNV-1a over the name's bytes, on top of the seed.
  init(seed: UInt64, name: String) {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name.utf8 {
      hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
    }
    self.state = seed ^ hash
  }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// An index below `count`, which is small: the high half of a product is uniform enough
  /// (bias below count / 2^32).
  mutating func index(below count: Int) -> Int {
    Int(((next() >> 32) &* UInt64(count)) >> 32)
  }
}
