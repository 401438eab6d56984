// Durations and sizes outside a configuration file: flags take the same texts, and are told the same
// words about wrong ones.

/// Reads quantities that a flag carries.
public enum QuantityText {
  /// Why a text is no quantity, in the two parts of a `Problem`.
  public struct ParseError: Error, Sendable, Equatable {
    public var message: String
    public var hint: String
  }

  /// Nanoseconds of `250ms`, `30s`, `5m`, `1h`.
  public static func duration(
    _ text: String, in range: ClosedRange<Int64>
  ) throws(ParseError) -> Int64 {
    try value(
      Quantity.duration(text), in: range,
      "a duration from \(durationText(range.lowerBound)) to \(durationText(range.upperBound))")
  }

  /// Bytes of `512`, `64KiB`, `1MiB`.
  public static func size(_ text: String, in range: ClosedRange<Int>) throws(ParseError) -> Int {
    let wide = Int64(range.lowerBound)...Int64(range.upperBound)
    return Int(
      try value(
        Quantity.size(text), in: wide,
        "a size from \(sizeText(range.lowerBound)) to \(sizeText(range.upperBound))"))
  }

  private static func value(
    _ quantity: Quantity, in range: ClosedRange<Int64>, _ expected: String
  ) throws(ParseError) -> Int64 {
    switch quantity {
    case .value(let value) where range.contains(value): return value
    case .value, .tooLarge:
      throw ParseError(message: "is out of range", hint: "write \(expected)")
    case .malformed(let message, let hint):
      throw ParseError(message: message, hint: hint ?? "write \(expected)")
    }
  }
}
