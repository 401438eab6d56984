// How figures are written in a verdict, a table and a plot: a unit that fits, three digits that
// matter, a true minus sign.

import Glibc

/// Numbers as text.
enum Figure {
  /// A share as a percentage: 0.954 is "95.4%".
  static func percent(_ share: Double) -> String {
    share.isNaN ? "–" : "\(decimal(share * 100, abs(share) >= 0.995 ? 0 : 1))%"
  }

  /// Rounded down: what is below a bound is not shown as having reached it.
  static func wholePercent(_ share: Double) -> String {
    guard share.isFinite, abs(share) < 1e6 else { return "–" }
    return "\(Int((share * 100 + 1e-9).rounded(.down)))%"
  }

  /// A ratio as a change: 0.887 is "−11.3%", 1.18 is "+18%", 42 is "×42".
  static func change(_ ratio: Double) -> String {
    if ratio >= 9.95 && ratio.isFinite { return "×" + three(ratio) }
    guard !ratio.isNaN else { return "–" }
    let percent = (ratio - 1) * 100
    let digits = abs(percent) < 9.95 ? 1 : 0
    let text = decimal(abs(percent), digits)
    if text.allSatisfy({ $0 == "0" || $0 == "." }) { return "±0%" }
    return (percent < 0 ? "\u{2212}" : "+") + text + "%"
  }

  /// A ratio with three decimals.
  static func ratio(_ value: Double) -> String {
    decimal(value, value >= 10 ? 1 : value >= 2 ? 2 : 3)
  }

  /// Seconds with a unit: "182 µs".
  static func seconds(_ value: Double) -> String {
    if value < 1e-6 { return "\(three(value * 1e9)) ns" }
    if value < 1e-3 { return "\(three(value * 1e6)) µs" }
    if value < 1 { return "\(three(value * 1e3)) ms" }
    return "\(three(value)) s"
  }

  /// Requests per second: "24,300".
  static func rate(_ value: Double) -> String {
    guard value >= 100, value < 1e18 else { return three(value) }
    // Three digits matter: a rate moves by more than a thousandth from round to round.
    let scale = pow(10, max(0, floor(log10(value)) - 2))
    return grouped(Int((value / scale).rounded() * scale))
  }

  static func bytes(_ value: Double) -> String {
    var value = value
    for unit in ["B", "KiB", "MiB"] {
      if value < 1024 { return "\(three(value)) \(unit)" }
      value /= 1024
    }
    return "\(three(value)) GiB"
  }

  /// A count with thousands apart.
  static func grouped(_ value: Int) -> String {
    var text = ""
    let digits = String(value.magnitude)
    for (i, digit) in digits.enumerated() {
      if i > 0 && (digits.count - i) % 3 == 0 { text.append(",") }
      text.append(digit)
    }
    return value < 0 ? "\u{2212}" + text : text
  }

  /// Three digits that matter: 1234, 182, 18.2, 1.82, 0.018.
  static func three(_ value: Double) -> String {
    let size = abs(value)
    if size >= 1e18 { return decimal(value, 0) }
    if size >= 99.95 { return grouped(Int(value.rounded())) }
    if size >= 9.995 { return decimal(value, 1) }
    if size >= 0.0995 || size == 0 { return decimal(value, 2) }
    return decimal(value, 4)
  }

  /// A quantity in its unit.
  static func value(_ value: Double, of quantity: Quantity) -> String {
    switch quantity {
    case .throughput: "\(rate(value))/s"
    case .memory, .copiedPerRequest: bytes(value)
    case .systemCallsPerRequest, .turnsPerRequest, .completionsPerTurn, .switchesPerRequest,
      .recordsPerCommit, .wakeUpsPerRequest, .completionsPerRequest, .instructionsPerRequest:
      three(value)
    default: seconds(value)
    }
  }

  /// So many digits after the point, without Foundation's formats.
  static func decimal(_ value: Double, _ digits: Int) -> String {
    let scale = pow(10.0, Double(digits))
    guard abs(value) * scale < 1e18 else {
      return value.isNaN ? "–" : value < 0 ? "\u{2212}∞" : "∞"
    }
    let whole = Int((abs(value) * scale).rounded())
    let sign = value < 0 && whole > 0 ? "\u{2212}" : ""
    guard digits > 0 else { return sign + String(whole) }
    let fraction = String(whole % Int(scale))
    return sign + String(whole / Int(scale)) + "."
      + String(repeating: "0", count: digits - fraction.count) + fraction
  }
}

extension Figure {
  /// A tick of an axis of time: round values only, so few digits.
  static func tick(seconds value: Double) -> String {
    for (unit, size) in [("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)] where value >= size * 0.999 {
      return "\(short(value / size)) \(unit)"
    }
    return value == 0 ? "0" : "\(short(value * 1e9)) ns"
  }

  /// A tick of an axis of counts: 5k, 20k, 1.5M.
  static func tick(count value: Double) -> String {
    if value >= 1e6 { return "\(short(value / 1e6))M" }
    if value >= 1e3 { return "\(short(value / 1e3))k" }
    return short(value)
  }

  /// Without zeroes after the point.
  private static func short(_ value: Double) -> String {
    var text = decimal(value, 2)
    while text.hasSuffix("0") { text.removeLast() }
    if text.hasSuffix(".") { text.removeLast() }
    return text
  }
}
