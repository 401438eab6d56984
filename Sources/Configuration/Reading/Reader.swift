// Reads values out of the tree by their shape and keeps every problem that it meets. A value that
// cannot be read leaves its default behind, so that reading goes on and one run reports everything;
// whoever holds the problems knows that the result is not to be used.

/// A value together with its place, before anybody has looked at it.
struct Located {
  var node: Node
  var path: String
}

struct Reader {
  let file: String
  var problems: [Problem] = []

  init(file: String) { self.file = file }

  func location(_ mark: Mark, _ path: String) -> SourceLocation {
    // Line 0 is no line of the file: the value was given beside it.
    SourceLocation(
      file: mark.line == 0 ? Override.flag : file, line: mark.line, column: mark.column,
      keyPath: path)
  }

  func location(_ value: Located) -> SourceLocation { location(value.node.mark, value.path) }

  mutating func report(
    _ place: SourceLocation, _ message: String, _ hint: String,
    _ severity: Problem.Severity = .error
  ) {
    problems.append(Problem(location: place, message: message, hint: hint, severity: severity))
  }

  mutating func report(_ value: Located, _ message: String, _ hint: String) {
    report(location(value), message, hint)
  }

  /// What was found where something else belongs. Says nothing of a value that was refused before.
  mutating func reportType(_ value: Located, _ shape: ValueShape, example: String) {
    if value.node.isRefused { return }
    if value.node.isNull {
      report(
        value, "has no value, expected \(shape.expectation)",
        "write one, for example \(example), or remove the key")
    } else {
      report(
        value, "is \(value.node.found), expected \(shape.expectation)",
        "write for example \(example)")
    }
  }

  /// Opens a mapping: reports the keys that it does not know and those that it misses.
  mutating func fields(_ value: Located, _ shape: MappingShape, example: String) -> Fields? {
    guard case .mapping(let entries) = value.node.content else {
      reportType(value, .mapping(shape), example: example)
      return nil
    }
    let known = shape.keys.map(\.name)
    var meant: [String] = []
    for entry in entries where !known.contains(entry.key) {
      let place = location(entry.keyMark, path(value.path, key: entry.key))
      if let other = shape.unavailable.first(where: { $0.name == entry.key }) {
        report(place, other.message, other.hint)
      } else {
        meant += NearestName.of(entry.key, among: known).map { [$0] } ?? []
        report(
          place, "is not a key of \(shape.noun)",
          hintForUnknown(entry.key, among: known, none: "remove it"))
      }
    }
    for key in shape.keys where key.isRequired && !entries.contains(where: { $0.key == key.name }) {
      let isReplaced = shape.unavailable.contains { other in
        other.standsFor == key.name && entries.contains { $0.key == other.name }
      }
      // A misspelt key has been named already.
      if isReplaced || meant.contains(key.name) { continue }
      report(
        location(value.node.mark, path(value.path, key: key.name)), "is missing",
        "add \(key.name): \(key.value.example)")
    }
    return Fields(entries: entries, path: value.path, shape: shape)
  }

  /// The items of a list, however many the shape allows. nil if it is none.
  mutating func items(_ value: Located, _ shape: ValueShape) -> [Located]? {
    guard case .list(_, let count) = shape else {
      preconditionFailure("the schema entry is not a list")
    }
    guard case .sequence(let nodes) = value.node.content else {
      reportType(value, shape, example: shape.example)
      return nil
    }
    guard checkCount(nodes.count, count, value, "items", example: shape.example) else { return nil }
    return nodes.enumerated().map { index, node in
      Located(node: node, path: path(value.path, index: index))
    }
  }

  mutating func checkCount(
    _ found: Int, _ range: ClosedRange<Int>, _ value: Located, _ noun: String, example: String
  ) -> Bool {
    if found < range.lowerBound {
      report(value, "is empty", "write at least one, for example \(example)")
      return false
    }
    if found > range.upperBound {
      report(
        value, "has \(found) \(noun), more than \(range.upperBound)",
        "keep \(range.upperBound) or fewer")
      return false
    }
    return true
  }
}

/// The keys of an open mapping.
struct Fields {
  let entries: [Entry]
  let path: String
  let shape: MappingShape

  /// The value of a key of the shape; nil if it is not written.
  subscript(_ name: String) -> Located? {
    let key = shape.key(name)
    guard let entry = entries.first(where: { $0.key == key.name }) else { return nil }
    return Located(node: entry.value, path: Configuration.path(path, key: name))
  }

  func has(_ name: String) -> Bool { entries.contains { $0.key == name } }
}
