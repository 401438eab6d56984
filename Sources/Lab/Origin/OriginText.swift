// The small texts that flags and paths share: numbers, sizes, durations, distributions, shares. They
// are read from bytes where they lie, because a path is read once per request.

import Glibc

extension UnsafeRawBufferPointer {
  /// Whether the bytes are exactly this text.
  @inline(__always)
  func spells(_ text: StaticString) -> Bool {
    count == text.utf8CodeUnitCount
      && (count == 0 || memcmp(baseAddress!, text.utf8Start, count) == 0)
  }
}

public enum OriginText {
  /// Sizes up to 1 TiB: more is a slip of the pen.
  static let sizeMaximum = 1 << 40
  /// Durations up to a day.
  static let durationMaximum = 86_400_000_000_000

  /// A whole number without sign, of at most 15 digits.
  static func decimal(_ text: UnsafeRawBufferPointer) -> Int? {
    guard text.count > 0, text.count <= 15 else { return nil }
    var value = 0
    for byte in text {
      guard byte >= 0x30, byte <= 0x39 else { return nil }
      value = value * 10 + Int(byte & 0x0F)
    }
    return value
  }

  /// A number with an optional fraction, and what follows it.
  private static func number(
    _ text: UnsafeRawBufferPointer
  ) -> (value: Double, unit: UnsafeRawBufferPointer)? {
    var value = 0.0
    var scale = 0.0
    var digits = 0
    var index = 0
    while index < text.count {
      let byte = text[index]
      if byte >= 0x30 && byte <= 0x39 {
        value = value * 10 + Double(byte & 0x0F)
        if scale > 0 { scale *= 10 }
        digits += 1
      } else if byte == UInt8(ascii: ".") && scale == 0 && digits > 0 {
        scale = 1
      } else {
        break
      }
      index += 1
    }
    guard digits > 0, digits <= 15, scale != 1 else { return nil }
    return (
      scale > 0 ? value / scale : value, UnsafeRawBufferPointer(rebasing: text[index...])
    )
  }

  /// Bytes: `128`, `64KiB`, `1.5MiB`.
  static func size(_ text: UnsafeRawBufferPointer) -> Double? {
    guard let (value, unit) = number(text) else { return nil }
    let factor: Double
    if unit.count == 0 || unit.spells("B") {
      factor = 1
    } else if unit.spells("KiB") {
      factor = 1024
    } else if unit.spells("MiB") {
      factor = 1_048_576
    } else if unit.spells("GiB") {
      factor = 1_073_741_824
    } else {
      return nil
    }
    return value * factor <= Double(sizeMaximum) ? value * factor : nil
  }

  /// Nanoseconds: `0`, `250us`, `20ms`, `1.5s`, `2m`.
  static func duration(_ text: UnsafeRawBufferPointer) -> Double? {
    guard let (value, unit) = number(text) else { return nil }
    let factor: Double
    if unit.spells("ms") {
      factor = 1e6
    } else if unit.spells("us") {
      factor = 1e3
    } else if unit.spells("s") {
      factor = 1e9
    } else if unit.spells("ns") {
      factor = 1
    } else if unit.spells("m") {
      factor = 6e10
    } else {
      // A bare 0 is as long in every unit.
      return unit.count == 0 && value == 0 ? 0 : nil
    }
    return value * factor <= Double(durationMaximum) ? value * factor : nil
  }

  /// Parts of a text, without the blanks around them.
  private static func trimmed(_ text: Slice<UnsafeRawBufferPointer>) -> UnsafeRawBufferPointer {
    var slice = text
    while slice.first == 0x20 { slice = slice.dropFirst() }
    while slice.last == 0x20 { slice = slice.dropLast() }
    return UnsafeRawBufferPointer(rebasing: slice)
  }

  /// A distribution: a value, `uniform(a,b)`, `exponential(mean)`, `lognormal(median,sigma)`.
  /// - Parameter value: reads one value in the unit of the distribution.
  static func distribution(
    _ text: UnsafeRawBufferPointer, _ value: (UnsafeRawBufferPointer) -> Double?
  ) -> Distribution? {
    if let constant = value(text) { return .constant(constant) }
    guard let open = text.firstIndex(of: UInt8(ascii: "(")), text.last == UInt8(ascii: ")") else {
      return nil
    }
    let name = UnsafeRawBufferPointer(rebasing: text[..<open])
    let inside = text[(open + 1)..<(text.count - 1)]
    let comma = inside.firstIndex(of: UInt8(ascii: ","))
    let first = trimmed(inside[..<(comma ?? inside.endIndex)])
    let second = comma.map { trimmed(inside[($0 + 1)...]) }
    if name.spells("exponential"), second == nil, let mean = value(first) {
      return .exponential(mean: mean)
    }
    guard let second else { return nil }
    if name.spells("uniform"), let low = value(first), let high = value(second), low <= high {
      return .uniform(low, high)
    }
    if name.spells("lognormal"), let median = value(first), median > 0,
      let (sigma, rest) = number(second), rest.isEmpty, sigma <= 5
    {
      return .lognormal(median: median, sigma: sigma)
    }
    return nil
  }

  // MARK: Of flags

  /// A size or a distribution of sizes.
  public static func sizes(_ text: String) -> Distribution? {
    withBytes(text) { distribution($0, size) }
  }

  /// A duration or a distribution of durations.
  public static func durations(_ text: String) -> Distribution? {
    withBytes(text) { distribution($0, duration) }
  }

  /// Bytes, at least one.
  public static func bytes(_ text: String) -> Int? {
    withBytes(text) { size($0).map { Int($0) } }.flatMap { $0 > 0 ? $0 : nil }
  }

  /// `200ms every 1s`.
  public static func stall(_ text: String) -> OriginStall? {
    let parts = text.split(separator: " ")
    guard parts.count == 3, parts[1] == "every",
      let pause = withBytes(String(parts[0]), duration),
      let period = withBytes(String(parts[2]), duration), pause > 0, pause < period
    else { return nil }
    return OriginStall(pauseNanoseconds: Int64(pause), everyNanoseconds: Int64(period))
  }

  /// `reset=0.1%` or `reset=0.001`.
  public static func fault(_ text: String) -> (fault: OriginFault, share: Double)? {
    guard let equals = text.firstIndex(of: "=") else { return nil }
    guard let fault = withBytes(String(text[..<equals]), { OriginFault($0) }) else { return nil }
    var number = text[text.index(after: equals)...]
    let isPercent = number.last == "%"
    if isPercent { number = number.dropLast() }
    guard let value = Double(number), value.isFinite, value >= 0 else { return nil }
    let share = isPercent ? value / 100 : value
    return share <= 1 ? (fault, share) : nil
  }

  private static func withBytes<R>(_ text: String, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    var text = text
    return text.withUTF8 { body(UnsafeRawBufferPointer($0)) }
  }
}
