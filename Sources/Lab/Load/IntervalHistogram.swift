// The latencies of a quarter of a second, for the live line and the course over time: coarse, small
// and quick to add and to clear, because that happens on the load threads while they work.

/// A histogram of nanoseconds in steps of 1/32 of an octave: 3% at worst, 1.6% on average.
struct IntervalHistogram: ~Copyable, @unchecked Sendable {
  // Unchecked because of the pointer, which nobody else has.

  private static let stepBits = 5
  /// 2⁴² ns, 73 minutes: what is longer counts as that.
  private static let highestBit = 42
  private static let places = (highestBit - stepBits + 2) << stepBits

  private let counts: UnsafeMutablePointer<UInt32>
  private(set) var total = 0

  init() {
    counts = .allocate(capacity: Self.places)
    counts.initialize(repeating: 0, count: Self.places)
  }

  deinit { counts.deallocate() }

  @inline(__always)
  mutating func record(_ nanoseconds: Int64) {
    counts[Self.place(UInt64(max(0, nanoseconds)))] &+= 1
    total += 1
  }

  mutating func add(_ other: borrowing IntervalHistogram) {
    guard other.total > 0 else { return }
    for i in 0..<Self.places { counts[i] &+= other.counts[i] }
    total += other.total
  }

  mutating func clear() {
    guard total > 0 else { return }
    counts.update(repeating: 0, count: Self.places)
    total = 0
  }

  /// The value below which `share` of the recorded ones lie, to the middle of its place; 0 for none.
  func value(at share: Double) -> Int {
    guard total > 0 else { return 0 }
    let wanted = max(1, Int((Double(total) * share).rounded(.up)))
    var seen = 0
    for i in 0..<Self.places {
      seen += Int(counts[i])
      if seen >= wanted { return Int(Self.middle(i)) }
    }
    return Int(Self.middle(Self.places - 1))
  }

  @inline(__always)
  private static func place(_ value: UInt64) -> Int {
    let bounded = min(value, 1 << highestBit)
    let octave = max(0, 63 - (bounded | 1).leadingZeroBitCount - stepBits)
    return octave << stepBits + Int(bounded >> UInt64(octave))
  }

  private static func middle(_ place: Int) -> UInt64 {
    let octave = max(0, place >> stepBits - 1)
    let low = UInt64(place - octave << stepBits) << UInt64(octave)
    return low + (1 << UInt64(octave)) / 2
  }
}
