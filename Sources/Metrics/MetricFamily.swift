// What a process counts, described before anything is counted: families, their columns, and the
// groups of columns that have the same dimensions. Plain values; where they lie in memory is
// MetricLayout's.

/// How a figure behaves.
package enum MetricKind: UInt64, Sendable {
  /// It only grows.
  case counter = 1
  /// It is what it is at one moment.
  case gauge = 2
}

/// A figure under one name.
package struct MetricFamily: Equatable, Sendable {
  /// Lower case with underscores, at most 78 bytes.
  package let name: String
  /// One sentence for an operator, at most 286 bytes.
  package let help: String
  /// What one of it is, in the plural: `requests`, `bytes`. At most 30 bytes.
  package let unit: String
  package let kind: MetricKind

  package init(_ name: String, _ unit: String, _ help: String, kind: MetricKind = .counter) {
    self.name = name
    self.help = help
    self.unit = unit
    self.kind = kind
  }
}

/// A family, or the part of it that has one value of a dimension whose values are known beforehand:
/// `responses` with the class `2xx`.
package struct MetricColumn: Equatable, Sendable {
  package let family: MetricFamily
  /// Name and value of that dimension, for example `class` and `2xx`.
  package let label: Label?

  package struct Label: Equatable, Sendable {
    package let name: String
    package let value: String

    package init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  package init(_ family: MetricFamily, _ label: Label? = nil) {
    self.family = family
    self.label = label
  }
}

/// Columns that are counted for each member of a set: for each listener, for each server.
package struct MetricGroup: Equatable, Sendable {
  /// Names of what tells its rows apart, at most `MetricLayout.rowLabels`; none for a group of one row.
  package let dimensions: [String]
  package let columns: [MetricColumn]
  /// Rows that there is room for. The last one is shared by all that come once it is full.
  package let rowCapacity: Int
  /// Written in one go from time to time, and read as of one moment; otherwise each figure is
  /// written as it changes, and two of them may be read a moment apart.
  package let isPublished: Bool

  package init(
    dimensions: [String] = [], columns: [MetricColumn], rowCapacity: Int = 1,
    isPublished: Bool = false
  ) {
    self.dimensions = dimensions
    self.columns = columns
    self.rowCapacity = rowCapacity
    self.isPublished = isPublished
  }
}
