// Which lines of a trailer section go on to the next hop, whatever protocol they came by.

package enum TrailerFate: Equatable {
  case passes
  /// May not stand in a trailer section (RFC 9110 6.5.1).
  case dropped
  /// Another reader could take its name for a different one.
  case ambiguous
}

extension FieldLine {
  /// - Parameter dropsUnderscores: whether names with an underscore are ambiguous, all of them.
  package func trailerFate(_ base: UnsafeRawPointer, dropsUnderscores: Bool) -> TrailerFate {
    if known == .ambiguous || dropsUnderscores && known == .other && hasUnderscore(base) {
      return .ambiguous
    }
    return FieldSet.forbiddenInTrailers.has(known) ? .dropped : .passes
  }
}
