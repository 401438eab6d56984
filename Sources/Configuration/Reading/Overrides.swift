// Values given beside the file, `--set listeners[0].address=127.0.0.1:8443`: they are put into the
// tree before anything is read, so that every check, range and hint that a file gets holds for them
// too, and the file itself stays as it is. A step that leads nowhere is a problem, not a new shape.

/// One value that replaces what the file says.
public struct Override: Sendable, Equatable {
  /// The way to it as messages write it: `upstreams.web.servers[0]`, `upstreams."a.b".balance`.
  public var path: String
  /// YAML, as it would stand in the file: `4`, `[127.0.0.1:80]`, `{kind: io_uring, sqpoll: true}`.
  public var value: String

  public init(path: String, value: String) {
    self.path = path
    self.value = value
  }

  /// Reads `PATH=VALUE`; nil without a path or an equals sign.
  public init?(argument: String) {
    guard let equals = Self.equalsSign(in: argument), equals > argument.startIndex else {
      return nil
    }
    path = String(argument[..<equals])
    value = String(argument[argument.index(after: equals)...])
  }

  /// The first one outside quotes: a key may have one in its name.
  private static func equalsSign(in text: String) -> String.Index? {
    var isQuoted = false
    for index in text.indices {
      if text[index] == "\"" { isQuoted.toggle() }
      if text[index] == "=" && !isQuoted { return index }
    }
    return nil
  }
}

/// A step from a value to one inside it.
private enum Step {
  case key(String)
  case index(Int)
}

extension Override {
  /// What problems name in the place of a file.
  static let flag = "--set"

  /// Puts the value into the tree.
  func apply(to root: inout Node, problems: inout [Problem]) {
    guard let steps = steps() else {
      return problem(
        "is not a valid path", "write for example listeners[0].address=127.0.0.1:8443", &problems)
    }
    let composed = YAMLComposer.compose(Array(value.utf8), file: Self.flag)
    guard composed.problems.isEmpty else {
      for found in composed.problems {
        problem("has a value that \(found.message)", found.hint, &problems)
      }
      return
    }
    let empty = Scalar(text: "", written: nil, isQuoted: false, textMark: nil)
    var node = composed.root ?? Node(content: .scalar(empty), mark: Self.mark)
    Self.unplace(&node)
    if let wrong = Self.put(node, into: &root, steps[...]) {
      problem(wrong, "write the path of a value that the file has or may have", &problems)
    }
  }

  /// Line 0: no line of the file.
  private static let mark = Mark(line: 0, column: 0)

  private func problem(_ message: String, _ hint: String, _ problems: inout [Problem]) {
    problems.append(
      Problem(
        location: SourceLocation(file: Self.flag, keyPath: path), message: message, hint: hint))
  }

  /// nil if it went in, otherwise what stood in the way.
  private static func put(
    _ value: Node, into node: inout Node, _ steps: ArraySlice<Step>
  ) -> String? {
    guard let step = steps.first else {
      node = value
      return nil
    }
    switch (step, node.content) {
    case (.key(let key), .mapping(var entries)):
      var inner = Node(content: .mapping([]), mark: mark)
      let place = entries.firstIndex { $0.key == key }
      if let place { inner = entries[place].value }
      if let wrong = put(value, into: &inner, steps.dropFirst()) { return wrong }
      if let place {
        entries[place].value = inner
      } else {
        entries.append(Entry(key: key, keyMark: mark, value: inner))
      }
      node.content = .mapping(entries)
      return nil
    case (.index(let index), .sequence(var items)):
      guard items.indices.contains(index) else {
        return "has index \(index), but the list has length \(items.count)"
      }
      if let wrong = put(value, into: &items[index], steps.dropFirst()) { return wrong }
      node.content = .sequence(items)
      return nil
    case (.key(let key), _): return "looks for the key \(quoted(key)) in \(node.found)"
    case (.index(let index), _): return "looks for item \(index) in \(node.found)"
    }
  }

  /// Takes the places inside the flag's text away: they are none of the file's.
  private static func unplace(_ node: inout Node) {
    node.mark = mark
    switch node.content {
    case .refused: break
    case .scalar(var scalar):
      scalar.textMark = nil
      node.content = .scalar(scalar)
    case .sequence(var items):
      for index in items.indices { unplace(&items[index]) }
      node.content = .sequence(items)
    case .mapping(var entries):
      for index in entries.indices {
        entries[index].keyMark = mark
        unplace(&entries[index].value)
      }
      node.content = .mapping(entries)
    }
  }

  /// The steps of the path; nil if it cannot be read.
  private func steps() -> [Step]? {
    var steps: [Step] = []
    var rest = Substring(path)
    while let first = rest.first {
      if first == "[" {
        guard let end = rest.firstIndex(of: "]"),
          let index = Int(rest.dropFirst().prefix(upTo: end)),
          index >= 0, !steps.isEmpty
        else { return nil }
        steps.append(.index(index))
        rest = rest[rest.index(after: end)...]
        continue
      }
      if !steps.isEmpty {
        guard first == "." else { return nil }
        rest = rest.dropFirst()
      }
      if rest.first == "\"" {
        let inner = rest.dropFirst()
        guard let end = inner.firstIndex(of: "\"") else { return nil }
        steps.append(.key(String(inner[..<end])))
        rest = inner[inner.index(after: end)...]
      } else {
        let key = rest.prefix { $0 != "." && $0 != "[" }
        guard !key.isEmpty else { return nil }
        steps.append(.key(String(key)))
        rest = rest.dropFirst(key.count)
      }
    }
    return steps.isEmpty ? nil : steps
  }
}
