// Metrics as text: Prometheus' format 0.0.4, which every scraper reads, and OpenMetrics 1.0, for those that
// ask for it. Both come from the same families; they differ in how a counter's family is named, in units, and
// in the mark at the end.

/// A family of series: one name, one meaning.
package struct MetricSeriesFamily: Equatable, Sendable {
  package enum Kind: String, Sendable {
    case counter, gauge, histogram
  }

  /// With `_total` where it is a counter.
  package let name: String
  package let help: String
  package let kind: Kind
  package var series: [Series]

  package struct Label: Equatable, Sendable {
    package let name: String
    package let value: String

    package init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  package struct Series: Equatable, Sendable {
    package let labels: [Label]
    package let value: Value
  }

  package enum Value: Equatable, Sendable {
    case count(UInt64)
    case number(Double)
    /// Upper bounds and how many fell into each, not cumulated; then how many are above all of them; and
    /// the sum, in the unit of the bounds.
    case histogram(bounds: [Double], counts: [UInt64], sum: Double)
  }

  package init(_ name: String, _ kind: Kind, _ help: String, _ series: [Series] = []) {
    self.name = name
    self.kind = kind
    self.help = help
    self.series = series
  }

  package mutating func add(_ value: Value, _ labels: [Label] = []) {
    series.append(Series(labels: labels, value: value))
  }
}

package enum MetricText {
  case prometheus, openMetrics

  package static let prometheusType = "text/plain; version=0.0.4; charset=utf-8"
  package static let openMetricsType =
    "application/openmetrics-text; version=1.0.0; charset=utf-8"

  /// The format that a client asks for. - Parameter accept: the value of its Accept field.
  package init(accept: String) {
    self = accept.contains("application/openmetrics-text") ? .openMetrics : .prometheus
  }

  package var type: String {
    self == .openMetrics ? Self.openMetricsType : Self.prometheusType
  }

  package func text(_ families: [MetricSeriesFamily]) -> String {
    var text = ""
    for family in families where !family.series.isEmpty { write(family, to: &text) }
    if self == .openMetrics { text += "# EOF\n" }
    return text
  }

  private func write(_ family: MetricSeriesFamily, to text: inout String) {
    var name = family.name
    // OpenMetrics names the family of a counter without the suffix of its samples.
    if self == .openMetrics, family.kind == .counter, name.hasSuffix("_total") {
      name = String(name.dropLast(6))
    }
    text += "# HELP \(name) \(Self.escaped(family.help, quotes: self == .openMetrics))\n"
    text += "# TYPE \(name) \(family.kind.rawValue)\n"
    if self == .openMetrics, let unit = Self.unit(name) { text += "# UNIT \(name) \(unit)\n" }
    for series in family.series {
      switch series.value {
      case .count(let value): line(family.name, series.labels, "\(value)", &text)
      case .number(let value): line(family.name, series.labels, Self.number(value), &text)
      case .histogram(let bounds, let counts, let sum):
        var total: UInt64 = 0
        for (bound, count) in zip(bounds.map(Self.number) + ["+Inf"], counts) {
          total &+= count
          line(
            family.name + "_bucket", series.labels + [.init("le", bound)], "\(total)", &text)
        }
        line(family.name + "_sum", series.labels, Self.number(sum), &text)
        line(family.name + "_count", series.labels, "\(total)", &text)
      }
    }
  }

  private func line(
    _ name: String, _ labels: [MetricSeriesFamily.Label], _ value: String, _ text: inout String
  ) {
    text += name
    if !labels.isEmpty {
      text += "{"
      for (i, label) in labels.enumerated() {
        if i > 0 { text += "," }
        text += "\(label.name)=\"\(Self.escaped(label.value, quotes: true))\""
      }
      text += "}"
    }
    text += " \(value)\n"
  }

  /// The base unit that a name ends in, of those that the metrics have.
  private static func unit(_ name: String) -> String? {
    ["seconds", "bytes"].first { name.hasSuffix("_" + $0) }
  }

  /// Whole numbers without a fraction.
  private static func number(_ value: Double) -> String {
    if let whole = Int64(exactly: value), abs(whole) < 1 << 53 { return "\(whole)" }
    return value.isNaN ? "NaN" : value.isInfinite ? (value < 0 ? "-Inf" : "+Inf") : "\(value)"
  }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\"" where quotes: result += "\\\""
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
