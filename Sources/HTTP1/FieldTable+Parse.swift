// A section of field lines, read into the table that a head keeps them in.

import HTTP

extension FieldTable {
  /// Reads the section at `position` to its empty line and moves behind it.
  // SAFETY: `found < ceiling <= capacity` before each store; a FieldName's raw value is below 64.
  mutating func parse(
    _ base: UnsafeRawPointer, _ position: inout Int, _ end: Int, maximum: Int
  ) -> PartOutcome {
    let ceiling = min(maximum, capacity)
    var found = 0
    var seen: FieldSet = []
    var twice: FieldSet = []
    var cursor = position
    var line = FieldLine()
    while true {
      switch FieldLineParser.next(base, &cursor, end, &line) {
      case .line:
        guard found < ceiling else { return .rejected(.tooManyFields) }
        let bit = FieldSet(line.known)
        if seen.isDisjoint(with: bit) {
          firstIndex[Int(line.known.rawValue)] = UInt16(truncatingIfNeeded: found)
        }
        twice.formUnion(seen.intersection(bit))
        seen.formUnion(bit)
        line.isHopByHop = !FieldSet.connectionSpecific.isDisjoint(with: bit)
        lines[found] = line
        found &+= 1
      case .endOfSection:
        count = found
        present = seen
        repeated = twice
        position = cursor
        return .done
      case .needsMore:
        return .needsMore
      case .rejected(let rejection):
        return .rejected(rejection)
      }
    }
  }
}
