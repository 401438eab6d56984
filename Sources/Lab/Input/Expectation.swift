// A bound that a run must hold, as in `p99<5ms`: read from a flag, judged by the result. A quantity
// that a run has nothing to say about does not hold.

/// A condition on a load result.
public struct Expectation: Sendable, Equatable {
  /// What is compared.
  public enum Quantity: Sendable, Equatable {
    /// A percentile, 0 to 100, or mean or maximum of a latency.
    case latency(Series, Statistic)
    /// Failed requests out of those planned, 0 to 1.
    case errors
    /// Good responses per second.
    case rate
    /// Requests sent per second, out of those whose moments came (`LoadResult.dueRate`): 0 to 1.
    case offered
  }
  public enum Series: String, Sendable { case latency, uncorrected, delay, connect }
  public enum Statistic: Sendable, Equatable {
    case percentile(Double)
    case mean, maximum
  }
  public enum Comparison: String, Sendable {
    case less = "<", atMost = "<=", greater = ">", atLeast = ">="
  }

  public var text: String
  public var quantity: Quantity
  public var comparison: Comparison
  /// Nanoseconds for a latency, a share, or a rate.
  public var bound: Double

  public struct ParseError: Error, Sendable, Equatable { public var message: String }

  private static let example =
    "write for example p99<5ms, mean<=800us, max<1s, uncorrected.p99<2ms, errors<0.1% or rate>=10000"

  public init(_ text: String) throws(ParseError) {
    let plain = text.filter { $0 != " " }
    guard let at = plain.firstIndex(where: { $0 == "<" || $0 == ">" }) else {
      throw ParseError(message: "\"\(text)\" contains no < or >; \(Self.example)")
    }
    let isInclusive = plain[at...].dropFirst().hasPrefix("=")
    let sign = String(plain[at]) + (isInclusive ? "=" : "")
    let name = plain[..<at]
    let value = plain[plain.index(at, offsetBy: isInclusive ? 2 : 1)...]
    guard let comparison = Comparison(rawValue: sign), let quantity = Self.quantity(name) else {
      throw ParseError(message: "\"\(name)\" is not a known quantity; \(Self.example)")
    }
    guard let bound = Self.bound(value, quantity) else {
      throw ParseError(message: "\"\(value)\" is not a valid bound for \(name); \(Self.example)")
    }
    self.text = plain
    self.quantity = quantity
    self.comparison = comparison
    self.bound = bound
  }

  private static func quantity(_ name: Substring) -> Quantity? {
    switch name {
    case "errors": return .errors
    case "rate": return .rate
    case "offered": return .offered
    default: break
    }
    let parts = name.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    if parts.count == 2, let series = Series(rawValue: String(parts[0])),
      let statistic = statistic(parts[1])
    {
      return .latency(series, statistic)
    }
    return statistic(name).map { .latency(.latency, $0) }
  }

  private static func statistic(_ name: Substring) -> Statistic? {
    if name == "mean" { return .mean }
    if name == "max" { return .maximum }
    // "p999" and "p9999" as users of other tools write them.
    switch name {
    case "p999": return .percentile(99.9)
    case "p9999": return .percentile(99.99)
    default: break
    }
    guard name.hasPrefix("p"), let rank = Double(name.dropFirst()), rank > 0, rank <= 100 else {
      return nil
    }
    return .percentile(rank)
  }

  private static func bound(_ text: Substring, _ quantity: Quantity) -> Double? {
    switch quantity {
    case .rate: return Double(text).flatMap { $0 >= 0 ? $0 : nil }
    case .errors, .offered:
      let isPercent = text.hasSuffix("%")
      guard let number = Double(isPercent ? text.dropLast() : text), number >= 0 else { return nil }
      return isPercent ? number / 100 : number
    case .latency:
      for (unit, factor) in [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)]
      where text.hasSuffix(unit) {
        guard let number = Double(text.dropLast(unit.count)), number >= 0 else { return nil }
        return number * factor
      }
      return nil
    }
  }

  // MARK: Judgement

  public struct Judgement: Sendable, Equatable {
    public var holds: Bool
    /// What was measured, as it is printed; "nothing" where there is nothing.
    public var found: String
  }

  public func judge(_ result: LoadResult) -> Judgement {
    guard let exact = value(in: result) else { return Judgement(holds: false, found: "nothing") }
    // 99.9% is no binary fraction: what is equal in decimals must count as equal.
    let value = Self.decimal(exact)
    let bound = Self.decimal(bound)
    let holds =
      switch comparison {
      case .less: value < bound
      case .atMost: value <= bound
      case .greater: value > bound
      case .atLeast: value >= bound
      }
    return Judgement(holds: holds, found: Self.text(value, quantity))
  }

  private func value(in result: LoadResult) -> Double? {
    switch quantity {
    case .rate: return result.completedRate
    case .errors:
      let failed = result.failures.values.reduce(0, +)
      return result.planned == 0 ? nil : Double(failed) / Double(result.planned)
    case .offered:
      return result.dueRate.map { result.offeredRate / $0 }
    case .latency(let series, let statistic):
      let summary =
        switch series {
        case .latency: result.latency
        case .uncorrected: result.uncorrected
        case .delay: result.delay
        case .connect: result.connectTime
        }
      guard summary.count > 0 else { return nil }
      switch statistic {
      case .mean: return summary.mean
      case .maximum: return Double(summary.maximum)
      case .percentile(let rank): return Double(summary.value(atPercentile: rank))
      }
    }
  }

  private static func decimal(_ value: Double) -> Double { (value * 1e9).rounded() / 1e9 }

  private static func text(_ value: Double, _ quantity: Quantity) -> String {
    switch quantity {
    case .rate: Figures.rate(value)
    case .errors, .offered: Figures.percent(value)
    case .latency: Figures.time(value)
    }
  }
}

extension LatencySummary {
  /// The value at a percentile, from the histogram's places; 0 without any.
  public func value(atPercentile rank: Double) -> Int {
    guard count > 0 else { return 0 }
    let wanted = max(1, Int((rank / 100 * Double(count)).rounded(.up)))
    var seen = 0
    for place in histogram where place.count == 2 {
      seen += place[1]
      if seen >= wanted { return place[0] }
    }
    return maximum
  }
}
