// The units that durations and sizes are counted in, and their text, read and written. A duration
// always carries its unit; a size without one is bytes. Whatever is printed here is read back to
// the same number.

/// Nanoseconds in each unit of a duration.
public enum DurationUnit {
  public static let millisecond: Int64 = 1_000_000
  public static let second: Int64 = 1_000_000_000
  public static let minute: Int64 = 60 * second
  public static let hour: Int64 = 60 * minute
}

/// One unit with its name and what it stands for.
struct Unit: Sendable {
  let name: String
  let factor: Int64

  /// Largest first, so that the first one that divides a value prints it shortest.
  static let durations = [
    Unit(name: "h", factor: DurationUnit.hour),
    Unit(name: "m", factor: DurationUnit.minute),
    Unit(name: "s", factor: DurationUnit.second),
    Unit(name: "ms", factor: DurationUnit.millisecond),
  ]

  static let sizes = [
    Unit(name: "GiB", factor: 1 << 30),
    Unit(name: "MiB", factor: 1 << 20),
    Unit(name: "KiB", factor: 1 << 10),
    Unit(name: "B", factor: 1),
  ]
}

/// `90s` for 90 seconds: the largest unit that leaves no remainder.
package func durationText(_ nanoseconds: Int64) -> String {
  if nanoseconds == 0 { return "0s" }
  for unit in Unit.durations where nanoseconds % unit.factor == 0 {
    return "\(nanoseconds / unit.factor)\(unit.name)"
  }
  return "\(nanoseconds)ns"
}

/// `64KiB` for 65536: the largest unit that leaves no remainder.
package func sizeText(_ bytes: Int) -> String {
  if bytes == 0 { return "0B" }
  for unit in Unit.sizes where bytes % Int(unit.factor) == 0 {
    return "\(bytes / Int(unit.factor))\(unit.name)"
  }
  return "\(bytes)B"
}

/// A number with a unit, as it was read.
enum Quantity: Equatable {
  case value(Int64)
  /// It is out of any range: larger than 64 bits hold, or in none of the units that it may be meant in.
  case tooLarge
  /// What is wrong, and what would be right if that can be told.
  case malformed(String, hint: String?)

  /// - Parameter range: what a number without a unit may be meant for.
  static func duration(_ text: String, in range: ClosedRange<Int64>? = nil) -> Quantity {
    let parsed = parts(text)
    guard let (digits, suffix) = parsed else {
      return .malformed("is \(quoted(text)), expected a duration", hint: nil)
    }
    if let error = leadingZero(text, digits) { return error }
    if suffix.isEmpty { return withoutUnit(digits, range) }
    guard let unit = Unit.durations.first(where: { $0.name == suffix }) else {
      return .malformed(durationProblem(text, suffix), hint: nil)
    }
    return scaled(digits, unit)
  }

  static func size(_ text: String) -> Quantity {
    guard let (digits, suffix) = parts(text) else {
      return .malformed("is \(quoted(text)), expected a size", hint: nil)
    }
    if let error = leadingZero(text, digits) { return error }
    if suffix.isEmpty { return scaled(digits, Unit(name: "B", factor: 1)) }
    if let unit = Unit.sizes.first(where: { $0.name == suffix }) { return scaled(digits, unit) }
    let letter = lowercased(suffix).first
    let meant = Unit.sizes.first { lowercased($0.name).first == letter && suffix.count <= 3 }
    return .malformed(
      "is \(quoted(text)), and \(quoted(suffix)) is not a unit of size (B, KiB, MiB or GiB)",
      hint: meant.map { "write \(excerpt(digits))\($0.name)" })
  }

  private static func leadingZero(_ text: String, _ digits: String) -> Quantity? {
    guard digits.count > 1, digits.hasPrefix("0") else { return nil }
    return .malformed(
      "is \(quoted(text)), but some parsers read a leading 0 as octal",
      hint: "write it without the 0")
  }

  /// Advice that would be refused itself is none.
  private static func withoutUnit(_ digits: String, _ range: ClosedRange<Int64>?) -> Quantity {
    let number = excerpt(digits)
    var meant: [String] = []
    for (name, words) in [("s", "seconds"), ("ms", "milliseconds")] {
      guard let unit = Unit.durations.first(where: { $0.name == name }),
        case .value(let nanoseconds) = scaled(digits, unit)
      else { continue }
      if let range, !range.contains(nanoseconds) { continue }
      meant.append("\(number)\(name) for \(words)")
    }
    if meant.isEmpty { return .tooLarge }
    return .malformed(
      "is \(number), a number without a unit", hint: "write " + meant.joined(separator: " or "))
  }

  private static func durationProblem(_ text: String, _ suffix: String) -> String {
    if suffix.hasPrefix(".") {
      return "is \(quoted(text)), but a duration must be a whole number (use a smaller unit)"
    }
    return "is \(quoted(text)), and \(quoted(suffix)) is not a unit of time (ms, s, m or h)"
  }

  /// The leading digits and the rest; nil if there are no leading digits.
  private static func parts(_ text: String) -> (digits: String, suffix: String)? {
    let digits = text.utf8.prefix { isDigit($0) }
    guard !digits.isEmpty else { return nil }
    return (String(text.prefix(digits.count)), String(text.dropFirst(digits.count)))
  }

  private static func scaled(_ digits: String, _ unit: Unit) -> Quantity {
    guard let number = Int64(digits) else { return .tooLarge }
    let (product, overflow) = number.multipliedReportingOverflow(by: unit.factor)
    return overflow ? .tooLarge : .value(product)
  }
}
