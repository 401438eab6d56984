// A scale from values to pixels, with the ticks that fit on it: round values, 1-2-5 on logarithmic
// scales, and never two labels that touch.

import Glibc

struct Axis {
  enum Kind { case linear, logarithmic }

  let kind: Kind
  let low: Double
  let high: Double
  /// Pixels at the low and the high end; for a vertical axis the first is the greater.
  let from: Double
  let to: Double
  /// Ticks at whole values only, as for rounds.
  var isWhole = false

  init(_ kind: Kind, _ low: Double, _ high: Double, from: Double, to: Double) {
    self.kind = kind
    self.low = low
    self.high = high > low ? high : low + max(abs(low), 1)
    self.from = from
    self.to = to
  }

  /// From zero to a little more than the greatest value.
  static func fromZero(_ greatest: Double, from: Double, to: Double) -> Axis {
    Axis(.linear, 0, greatest > 0 ? greatest * 1.06 : 1, from: from, to: to)
  }

  /// Decades' parts around some positive values.
  static func logarithmic(around values: [Double], from: Double, to: Double) -> Axis {
    let positive = values.filter { $0 > 0 && $0.isFinite }
    let low = positive.min() ?? 1
    let high = positive.max() ?? 10
    let below = steps(downFrom: low * 0.97)
    let above = steps(upFrom: high * 1.03)
    return Axis(.logarithmic, below, above, from: from, to: to)
  }

  func position(_ value: Double) -> Double {
    let share: Double
    switch kind {
    case .linear: share = (value - low) / (high - low)
    case .logarithmic: share = log(max(value, low / 10) / low) / log(high / low)
    }
    return from + (to - from) * min(max(share, -0.05), 1.05)
  }

  /// Round values on it, at most so many.
  func ticks(atMost most: Int) -> [Double] {
    switch kind {
    case .linear:
      let rough = max((high - low) / Double(max(1, most)), isWhole ? 1 : 0)
      let decade = pow(10, floor(log10(rough)))
      let step = [1, 2, 5, 10].map { $0 * decade }.first { $0 >= rough * 0.999 } ?? rough
      let first = (low / step).rounded(.up)
      let last = ((high + step * 1e-6) / step).rounded(.down)
      guard last >= first else { return [] }
      return (Int(first)...Int(last)).map { Double($0) * step }
    case .logarithmic:
      for parts in [[1.0, 2, 5], [1, 3], [1]] {
        let found = decades().flatMap { d in parts.map { $0 * d } }
          .filter { $0 >= low * 0.999 && $0 <= high * 1.001 }
        if found.count <= most || parts.count == 1 { return found }
      }
      return []
    }
  }

  private func decades() -> [Double] {
    guard low > 0, high.isFinite else { return [] }
    return (Int(floor(log10(low)))...Int(ceil(log10(high)))).map { pow(10, Double($0)) }
  }

  private static func steps(downFrom value: Double) -> Double {
    let decade = pow(10, floor(log10(value)))
    return [5.0, 2, 1].map { $0 * decade }.first { $0 <= value } ?? decade
  }

  private static func steps(upFrom value: Double) -> Double {
    let decade = pow(10, floor(log10(value)))
    return [1.0, 2, 5, 10].map { $0 * decade }.first { $0 >= value } ?? decade * 10
  }
}
