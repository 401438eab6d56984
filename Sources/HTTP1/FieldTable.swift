// The field lines of one head: memory taken once, used for every head that the owner parses. It
// keeps where each recognised name stands first and which came twice, so that the checks which
// follow touch only the lines that they are about.
//
// TRAP: (file) the capacity is the operator's, 8 to 1000 or more by our own constant; indices are
// counted to `count` by callers.

import HTTP

struct FieldTable: ~Copyable {
  let capacity: Int
  private(set) var count = 0
  /// The recognised names in the section; bit 0 stands for all others.
  private(set) var present: FieldSet = []
  /// The recognised names that came more than once.
  private(set) var repeated: FieldSet = []
  private let lines: UnsafeMutablePointer<FieldLine>
  /// Index of the first line of each recognised name; valid where `present` has its bit.
  private let firstIndex: UnsafeMutablePointer<UInt16>

  /// Precondition: 1...65535.
  init(capacity: Int) {
    precondition(capacity > 0 && capacity <= Int(UInt16.max), "1...65535 field lines")
    self.capacity = capacity
    lines = .allocate(capacity: capacity)
    lines.initialize(repeating: FieldLine(), count: capacity)
    firstIndex = .allocate(capacity: UInt64.bitWidth)
    firstIndex.initialize(repeating: 0, count: UInt64.bitWidth)
  }

  deinit {
    lines.deallocate()
    firstIndex.deallocate()
  }

  /// The line at `index`; traps outside `0..<count`.
  @inline(__always)
  func line(_ index: Int) -> FieldLine {
    precondition(index >= 0 && index < count, "no such field line")
    return lines[index]
  }

  /// The first line with this name.
  @inline(__always)
  func first(_ name: FieldName) -> FieldLine? {
    present.has(name) ? lines[Int(firstIndex[Int(name.rawValue)])] : nil
  }

  /// Forgets every line.
  mutating func removeAll() {
    count = 0
    present = []
    repeated = []
  }

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

  /// Marks each line whose recognised name is in `names` as hop-by-hop.
  mutating func markHopByHop(_ names: FieldSet) {
    for index in 0..<count where names.has(lines[index].known) { lines[index].isHopByHop = true }
  }

  /// Counts the lines of an ambiguous name, and with `underscores` marks as hop-by-hop, and counts,
  /// the other unrecognised names that have an underscore.
  mutating func markAmbiguous(_ base: UnsafeRawPointer, underscores: Bool) -> Int {
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
  mutating func markHopByHop(
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
