// What the Connection lines of a head ask for (RFC 9110 7.6.1): the life of the connection, and
// which lines go no further than this hop. It marks those lines in the table and bounds the work
// that a peer can cause with them.

import HTTP

struct ConnectionOptions {
  /// Options in one head. Each that is no recognised name is compared with every such line, so the
  /// bound keeps that under 64 × 100 comparisons; real messages name one to five.
  static let maximum = 64

  private(set) var close = false
  private(set) var keepAlive = false
  private(set) var upgrade = false
  /// Whether a field is nominated that could stand in a trailer section.
  private(set) var nominatesFields = false

  /// Reads all Connection lines of `table` and marks what they nominate. An option that is no token
  /// is an error in a request; in a response it is skipped where `tolerant`, since it can only
  /// keep a line that the origin sent on its way.
  mutating func read(
    _ table: FieldTable, _ base: UnsafeRawPointer, tolerant: Bool
  ) -> HeadRejection? {
    guard let first = table.first(.connection) else { return nil }
    // One line that says `keep-alive` or `close` is nearly all there is.
    if !table.repeated.has(.connection), settle(first.value, base) { return nil }
    var nominated: FieldSet = []
    var options = 0
    var hasUnknown = false
    for index in 0..<table.count where table.line(index).known == .connection {
      var elements = ListElements(table.line(index).value)
      while let element = elements.next(base) {
        options += 1
        guard options <= Self.maximum else { return .tooManyConnectionOptions }
        guard Self.isToken(element, base) else {
          if tolerant { continue }
          return .invalidFieldValue
        }
        if settle(element, base) { continue }
        let name = FieldName(base + Int(element.start), Int(element.count))
        if name == .upgrade { upgrade = true }
        if name == .other { hasUnknown = true } else { nominated.insert(FieldSet(name)) }
      }
    }
    nominated.subtract(.neverNominated)
    nominatesFields = hasUnknown || !nominated.isSubset(of: .forbiddenInTrailers)
    if !nominated.isEmpty { table.markHopByHop(nominated) }
    if hasUnknown { markUnknown(table, base) }
    return nil
  }

  /// Takes an option that is about the connection alone; false if it is another.
  @inline(__always)
  private mutating func settle(_ option: ByteRange, _ base: UnsafeRawPointer) -> Bool {
    let bytes = base + Int(option.start)
    if option.count == 10, ByteClass.equalFolded(bytes, "keep-alive", count: 10) {
      keepAlive = true
      return true
    }
    if option.count == 5, ByteClass.equalFolded(bytes, "close", count: 5) {
      close = true
      return true
    }
    return false
  }

  private func markUnknown(_ table: FieldTable, _ base: UnsafeRawPointer) {
    for index in 0..<table.count where table.line(index).known == .connection {
      var elements = ListElements(table.line(index).value)
      while let element = elements.next(base) {
        table.markHopByHop(base, named: base + Int(element.start), count: Int(element.count))
      }
    }
  }

  private static func isToken(_ element: ByteRange, _ base: UnsafeRawPointer) -> Bool {
    let end = Int(element.end)
    return ByteClass.firstOutside(ByteClass.token, base, from: Int(element.start), to: end) == end
  }
}
