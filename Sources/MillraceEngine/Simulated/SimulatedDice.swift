// All chance of a simulated world. Whatever is decided there, from the latency of a packet to the
// bytes of a key, comes from one generator in one order, so that a seed is a whole run.

import CLinux
import Glibc

/// A generator whose sequence is its seed's alone (xorshift64*, Vigna 2016; the seed is spread by
/// a step of splitmix64). Not for secrets.
public struct SimulatedDice: Sendable {
  private var state: UInt64

  /// The die of a seed: equal seeds give equal throws.
  public init(seed: UInt64) {
    var mixed = seed &+ 0x9E37_79B9_7F4A_7C15
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    mixed ^= mixed >> 31
    // Zero is the one state that xorshift never leaves.
    state = mixed == 0 ? 0x9E37_79B9_7F4A_7C15 : mixed
  }

  /// The next 64 random bits.
  public mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }

  /// 0..<sides. - Precondition: `sides` > 0.
  public mutating func roll(_ sides: Int) -> Int {
    precondition(sides > 0, "a random range without values")
    return Int(next().multipliedFullWidth(by: UInt64(sides)).high)
  }

  /// A value of the range, each as likely as any other.
  public mutating func roll(_ range: ClosedRange<Int>) -> Int {
    range.lowerBound + roll(range.upperBound - range.lowerBound + 1)
  }

  /// True in `per1000` of a thousand cases. 0 and less takes nothing from the sequence.
  public mutating func chance(_ per1000: Int) -> Bool {
    per1000 > 0 && roll(1000) < per1000
  }

  /// Fills `room` with random bytes.
  public mutating func fill(_ room: UnsafeMutableRawBufferPointer) {
    var at = 0
    while at < room.count {
      var value = next()
      let length = min(8, room.count - at)
      memcpy(room.baseAddress! + at, &value, length)
      at += length
    }
  }

  /// Bytes of its own.
  public mutating func bytes(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    bytes.withUnsafeMutableBytes { fill($0) }
    return bytes
  }

  /// A seed for a generator of somebody else's, which then takes nothing from this one.
  public mutating func split() -> SimulatedDice { SimulatedDice(seed: next()) }

  /// Puts the places in any order.
  mutating func shuffle<T>(_ places: inout [T]) {
    guard places.count > 1 else { return }
    for i in stride(from: places.count - 1, to: 0, by: -1) { places.swapAt(i, roll(i + 1)) }
  }
}
