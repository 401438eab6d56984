// How sizes and delays are spread, and the draws that choose from them: pure functions of a key, so
// that the same seed and the same requests give the same answers, on any thread and either engine.

import Glibc

/// A distribution of non-negative numbers.
public enum Distribution: Equatable, Sendable {
  case constant(Double)
  /// Every value from the first to the second is as likely.
  case uniform(Double, Double)
  case exponential(mean: Double)
  /// The logarithm is normal: half lie below `median`, `sigma` is the deviation of the logarithm.
  case lognormal(median: Double, sigma: Double)

  /// The value of a draw.
  func value(_ draw: UInt64, maximum: Int) -> Int {
    let value: Double
    switch self {
    case .constant(let constant): return Int(constant)
    case .uniform(let low, let high): value = low + (high - low) * Self.share(draw)
    case .exponential(let mean): value = -mean * log(1 - Self.share(draw))
    case .lognormal(let median, let sigma):
      // Box and Muller: two uniform numbers make a normal one.
      let radius = sqrt(-2 * log(1 - Self.share(draw)))
      let angle = 2 * Double.pi * Self.share(OriginDraw.mix(draw))
      value = median * exp(sigma * radius * cos(angle))
    }
    return Int(min(value.rounded(), Double(maximum)))
  }

  /// 53 bits of a draw as a number from 0 up to 1, 1 excluded.
  static func share(_ draw: UInt64) -> Double { Double(draw >> 11) * 0x1p-53 }
}

/// The random numbers of a request: a hash of the seed, the connection's number in the order in which
/// the process accepted them, and the request's number on its connection.
///
/// So the same seed gives the same answers when the same connections come in the same order with the
/// same requests in order on each, however they interleave. One counter per process instead would
/// make the answers depend on the interleaving, and put a shared cache line on every request's path.
struct OriginDraw {
  let key: UInt64

  init(seed: UInt64, connection: UInt64, request: UInt64) {
    key = Self.mix(Self.mix(seed &+ connection &* 0x9E37_79B9_7F4A_7C15) ^ request)
  }

  var fault: UInt64 { Self.mix(key &+ 1) }
  var size: UInt64 { Self.mix(key &+ 2) }
  var delay: UInt64 { Self.mix(key &+ 3) }

  /// SplitMix64's finaliser (Steele, Lea and Flood, 2014): each bit of the input moves half of the
  /// output's.
  static func mix(_ value: UInt64) -> UInt64 {
    var z = value &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
