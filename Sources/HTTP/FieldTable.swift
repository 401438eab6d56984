// The field lines of one head. The memory behind it belongs to the head that was parsed or copied;
// the table is a plain value over it. It keeps where each recognised name stands first and which
// came twice, so that the checks which follow touch only the lines that they are about.
//
// TRAP: (file) the capacity is the operator's, 8 to 1000 or more by our own constant; indices are
// counted to `count` by callers.

/// Field lines, in the order received.
@usableFromInline
package struct FieldTable {
  /// Entries of `firstIndex`: one for each possible `FieldName`.
  @usableFromInline package static var names: Int { UInt64.bitWidth }

  @usableFromInline package let capacity: Int
  @usableFromInline package var count = 0
  /// The recognised names in the section; bit 0 stands for all others.
  @usableFromInline package var present: FieldSet = []
  /// The recognised names that came more than once.
  @usableFromInline package var repeated: FieldSet = []
  @usableFromInline package let lines: UnsafeMutablePointer<FieldLine>
  /// Index of the first line of each recognised name; valid where `present` has its bit.
  @usableFromInline package let firstIndex: UnsafeMutablePointer<UInt16>

  /// Takes memory for a table, which `deallocate` gives back. Precondition: 1...65535.
  package init(allocating capacity: Int) {
    precondition(capacity > 0 && capacity <= Int(UInt16.max), "1...65535 field lines")
    self.capacity = capacity
    lines = .allocate(capacity: capacity)
    lines.initialize(repeating: FieldLine(), count: capacity)
    firstIndex = .allocate(capacity: Self.names)
    firstIndex.initialize(repeating: 0, count: Self.names)
  }

  /// A copy of `other` in memory of the caller's: `other.count` lines and `names` indices.
  package init(
    copying other: FieldTable, lines: UnsafeMutablePointer<FieldLine>,
    firstIndex: UnsafeMutablePointer<UInt16>
  ) {
    capacity = other.count
    count = other.count
    present = other.present
    repeated = other.repeated
    self.lines = lines
    self.firstIndex = firstIndex
    lines.initialize(from: other.lines, count: other.count)
    firstIndex.initialize(from: other.firstIndex, count: Self.names)
  }

  package func deallocate() {
    lines.deallocate()
    firstIndex.deallocate()
  }

  /// The line at `index`; traps outside `0..<count`.
  @inlinable @inline(__always)
  package func line(_ index: Int) -> FieldLine {
    precondition(index >= 0 && index < count, "no such field line")
    return lines[index]
  }

  /// The first line with this name.
  @inlinable @inline(__always)
  package func first(_ name: FieldName) -> FieldLine? {
    present.has(name) ? lines[Int(firstIndex[Int(name.rawValue)])] : nil
  }

  /// Forgets every line.
  @inlinable
  package mutating func removeAll() {
    count = 0
    present = []
    repeated = []
  }

  /// Adds a line, hop-by-hop if its name is; false if the table is full.
  package mutating func append(_ line: FieldLine) -> Bool {
    guard count < capacity else { return false }
    var line = line
    let bit = FieldSet(line.known)
    if present.isDisjoint(with: bit) {
      firstIndex[Int(line.known.rawValue)] = UInt16(truncatingIfNeeded: count)
    }
    repeated.formUnion(present.intersection(bit))
    present.formUnion(bit)
    line.isHopByHop = !FieldSet.connectionSpecific.isDisjoint(with: bit)
    lines[count] = line
    count += 1
    return true
  }

  /// Marks each line whose recognised name is in `names` as hop-by-hop.
  package func markHopByHop(_ names: FieldSet) {
    for index in 0..<count where names.has(lines[index].known) { lines[index].isHopByHop = true }
  }

  /// Counts the lines of an ambiguous name, and with `underscores` marks as hop-by-hop, and counts,
  /// the other unrecognised names that have an underscore.
  package func markAmbiguous(_ base: UnsafeRawPointer, underscores: Bool) -> Int {
    var found = 0
    for index in 0..<count {
      if lines[index].known == .ambiguous {
        found += 1
      } else if underscores, lines[index].known == .other, lines[index].hasUnderscore(base) {
        lines[index].isHopByHop = true
        found += 1
      }
    }
    return found
  }

  /// Marks each line of an unrecognised name that `count` bytes at `name` spell.
  package func markHopByHop(
    _ base: UnsafeRawPointer, named name: UnsafeRawPointer, count nameCount: Int
  ) {
    for index in 0..<count where lines[index].known == .other {
      let candidate = lines[index].name
      guard Int(candidate.count) == nameCount else { continue }
      if ByteClass.equalFolded(base + Int(candidate.start), name, count: nameCount) {
        lines[index].isHopByHop = true
      }
    }
  }
}
