// Which template the n-th request is made from: by weight, at constant cost, as a function of the
// seed and of n alone. So several walkers of one sequence agree on it without talking.

/// The alias table of weighted templates (Walker 1977, in Vose's form of 1991).
final class RequestChooser: @unchecked Sendable {
  // Unchecked because of the pointers: the tables are never written after init.

  private let count: Int
  private let seed: UInt64
  /// Below it, of 2⁶⁴, a column gives itself; its alias otherwise.
  private let thresholds: UnsafeMutablePointer<UInt64>
  private let aliases: UnsafeMutablePointer<UInt32>

  /// - Precondition: at least one weight, none negative, not all zero.
  init(weights: [Double], seed: UInt64) {
    precondition(!weights.isEmpty && weights.allSatisfy { $0 >= 0 && $0.isFinite })
    let sum = weights.reduce(0, +)
    precondition(sum > 0, "templates that are never sent")
    count = weights.count
    // Another sequence than the pacer's, which starts from the same seed.
    self.seed = LoadRandom.mix(seed ^ 0x7465_6D70_6C61_7465)
    thresholds = .allocate(capacity: count)
    thresholds.initialize(repeating: .max, count: count)
    aliases = .allocate(capacity: count)
    for i in 0..<count { (aliases + i).initialize(to: UInt32(i)) }
    var scaled = weights.map { $0 / sum * Double(weights.count) }
    var poor = scaled.indices.filter { scaled[$0] < 1 }
    var rich = scaled.indices.filter { scaled[$0] >= 1 }
    while let less = poor.popLast(), let more = rich.last {
      thresholds[less] = UInt64(scaled[less] * 0x1p64)
      aliases[less] = UInt32(more)
      scaled[more] -= 1 - scaled[less]
      if scaled[more] < 1 {
        rich.removeLast()
        poor.append(more)
      }
    }
  }

  deinit {
    thresholds.deallocate()
    aliases.deallocate()
  }

  /// The template of the request with this number.
  @inline(__always)
  func template(_ number: UInt64) -> UInt32 {
    if count == 1 { return 0 }
    let column = LoadRandom.mix(seed &+ (2 &* number &+ 1) &* LoadRandom.golden)
    let within = LoadRandom.mix(seed &+ (2 &* number &+ 2) &* LoadRandom.golden)
    let place = Int(column.multipliedFullWidth(by: UInt64(count)).high)
    return within < thresholds[place] ? UInt32(place) : aliases[place]
  }
}
