// Numbers as a person reads them: three figures, a unit, nothing more. No locale.

/// Texts of quantities.
public enum Figures {
  /// A time from nanoseconds: `812 ns`, `4.31 µs`, `12.0 ms`, `1.25 s`.
  public static func time(_ nanoseconds: Double) -> String {
    switch nanoseconds.magnitude {
    case ..<999.5: return three(nanoseconds) + " ns"
    case ..<999.5e3: return three(nanoseconds / 1e3) + " µs"
    case ..<999.5e6: return three(nanoseconds / 1e6) + " ms"
    default: return three(nanoseconds / 1e9) + " s"
    }
  }
  public static func time(_ nanoseconds: Int) -> String { time(Double(nanoseconds)) }

  /// A rate or a large count with its thousands apart: `12,345`.
  public static func rate(_ value: Double) -> String {
    value < 100 ? three(value) : grouped(Int(value.rounded()))
  }

  /// A share of 1: `0.12%`, `99.3%`.
  public static func percent(_ share: Double) -> String { three(share * 100) + "%" }

  /// Bytes: `512 B`, `64.0 KiB`.
  public static func bytes(_ value: Double) -> String {
    switch value {
    case ..<1024: return three(value) + " B"
    case ..<1_048_576: return three(value / 1024) + " KiB"
    case ..<1_073_741_824: return three(value / 1_048_576) + " MiB"
    default: return three(value / 1_073_741_824) + " GiB"
    }
  }

  public static func grouped(_ value: Int) -> String {
    var digits = Array(String(value.magnitude))
    var at = digits.count - 3
    while at > 0 {
      digits.insert(",", at: at)
      at -= 3
    }
    return (value < 0 ? "-" : "") + String(digits)
  }

  /// Three significant figures, without an exponent.
  public static func three(_ value: Double) -> String {
    guard value.isFinite else { return "–" }
    let size = value.magnitude
    if size >= 99.95 || size == 0 { return String(Int(value.rounded())) }
    return decimals(value, size >= 9.995 ? 1 : size >= 0.09995 ? 2 : 3)
  }

  public static func decimals(_ value: Double, _ places: Int) -> String {
    var factor = 1.0
    for _ in 0..<places { factor *= 10 }
    let scaled = Int((value.magnitude * factor).rounded())
    let whole = scaled / Int(factor)
    let rest = String(scaled % Int(factor))
    let sign = value < 0 && scaled != 0 ? "-" : ""
    guard places > 0 else { return sign + String(whole) }
    return sign + "\(whole)." + String(repeating: "0", count: places - rest.count) + rest
  }
}
