// Turns the events of one YAML document into a tree, and refuses what a configuration has no use
// for and an attacker or an accident has: aliases (which multiply), anchors, merge keys, tags,
// second documents, duplicate keys, and documents too large or too deep. It goes on after each
// refusal, so that one run reports them all; only broken syntax ends it.

/// What composing a document gave.
struct ComposedDocument {
  /// nil if the document is empty or could not be read to its end.
  var root: Node?
  var problems: [Problem]
}

struct YAMLComposer: ~Copyable {
  /// A file of this size holds several thousand routes; more is a file of another kind.
  static let bytesMaximum = 1 << 20
  /// The deepest configuration has seven levels.
  static let depthMaximum = 16
  /// Keys and values together.
  static let nodesMaximum = 65536

  private var source: YAMLEventSource
  private let file: String
  private let bytes: UnsafeBufferPointer<UInt8>
  private var nodes = 0
  /// Where the composer is, for the place of a syntax error.
  private var position = rootPath
  private var problems: [Problem] = []

  /// A limit or a syntax error, already reported: nothing more can be read.
  private struct Stop: Error {}

  static func compose(_ bytes: [UInt8], file: String) -> ComposedDocument {
    guard bytes.count <= bytesMaximum else {
      let problem = Problem(
        location: SourceLocation(file: file, line: 1, column: 1, keyPath: rootPath),
        message: "has \(bytes.count) bytes, more than \(sizeText(bytesMaximum))",
        hint: "check that it is a configuration file")
      return ComposedDocument(root: nil, problems: [problem])
    }
    // SAFETY: the composer, which keeps the pointer, does not outlive the closure.
    return bytes.withUnsafeBufferPointer { buffer in
      guard let source = YAMLEventSource(bytes: buffer) else {
        let problem = Problem(
          location: SourceLocation(file: file, line: 1, column: 1, keyPath: rootPath),
          message: "cannot be read: out of memory", hint: "free memory and try again")
        return ComposedDocument(root: nil, problems: [problem])
      }
      var composer = YAMLComposer(source: source, file: file, bytes: buffer)
      let root = composer.document()
      return ComposedDocument(root: root, problems: composer.problems)
    }
  }

  private init(
    source: consuming YAMLEventSource, file: String, bytes: UnsafeBufferPointer<UInt8>
  ) {
    self.source = source
    self.file = file
    self.bytes = bytes
  }

  /// Reads the stream to its end, whatever it holds.
  private mutating func document() -> Node? {
    var root: Node?
    var documents = 0
    do throws(Stop) {
      while true {
        let event = try next()
        switch event.kind {
        case .streamEnd: return root
        case .documentStart:
          documents += 1
          if documents == 2 {
            report(
              event.start, rootPath, "has a second document (after ---)",
              "keep one document in a file")
            return root
          }
        case .streamStart, .documentEnd: break
        default: root = try node(event, at: rootPath, depth: 1)
        }
      }
    } catch {
      return nil
    }
  }

  private mutating func node(
    _ event: YAMLEvent, at place: String, depth: Int
  ) throws(Stop) -> Node {
    try count(event, at: place, depth: depth)
    refuseProperties(event, at: place)
    let outside = position
    position = place
    defer { position = outside }
    switch event.kind {
    case .alias(let name):
      report(
        event.start, place, "is an alias (*\(excerpt(name))), and aliases are not accepted",
        "write the value out here")
      return Node(content: .refused, mark: event.start)
    case .scalar(let text, let style):
      let scalar = Scalar(
        text: text, written: nil, isQuoted: style != .plain,
        textMark: Self.textMark(event, text, style))
      return Node(content: .scalar(scalar), mark: event.start)
    case .sequenceStart:
      return Node(content: try sequence(at: place, depth: depth), mark: event.start)
    case .mappingStart:
      return Node(content: try mapping(at: place, depth: depth), mark: event.start)
    default:
      return Node(content: .refused, mark: event.start)
    }
  }

  private mutating func sequence(at place: String, depth: Int) throws(Stop) -> Node.Content {
    var items: [Node] = []
    while true {
      let event = try next()
      if case .sequenceEnd = event.kind { return .sequence(items) }
      items.append(try node(event, at: path(place, index: items.count), depth: depth + 1))
    }
  }

  private mutating func mapping(at place: String, depth: Int) throws(Stop) -> Node.Content {
    var entries: [Entry] = []
    var lines: [String: Int] = [:]
    while true {
      let event = try next()
      if case .mappingEnd = event.kind { return .mapping(entries) }
      guard case .scalar(let key, let style) = event.kind else {
        try skipEntry(event, at: place, depth: depth)
        continue
      }
      let keyPlace = path(place, key: key)
      try count(event, at: place, depth: depth)
      refuseProperties(event, at: keyPlace)
      let value = try node(try next(), at: keyPlace, depth: depth + 1)
      if key == "<<", style == .plain {
        report(
          event.start, keyPlace, "is a merge key, and merge keys are not accepted",
          "write the keys out here")
      } else if let line = lines[key] {
        report(
          event.start, keyPlace, "is a duplicate key, first defined on line \(line)",
          "keep one of the two")
      } else {
        lines[key] = event.start.line
        entries.append(Entry(key: key, keyMark: event.start, value: value))
      }
    }
  }

  /// A list, a mapping or an alias where a key belongs.
  private mutating func skipEntry(
    _ key: YAMLEvent, at place: String, depth: Int
  ) throws(Stop) {
    report(key.start, place, "has a key that is not text", "write a plain word before the colon")
    let before = problems.count
    _ = try node(key, at: place, depth: depth + 1)
    problems.removeSubrange(before...)
    _ = try node(try next(), at: place, depth: depth + 1)
  }

  private mutating func count(_ event: YAMLEvent, at place: String, depth: Int) throws(Stop) {
    nodes += 1
    if depth > Self.depthMaximum {
      report(
        event.start, place, "is nested deeper than \(Self.depthMaximum) levels",
        "remove brackets or indentation levels")
      throw Stop()
    }
    if nodes > Self.nodesMaximum {
      report(
        event.start, place, "exceeds the limit of \(Self.nodesMaximum) keys and values per file",
        "make the file smaller")
      throw Stop()
    }
  }

  private mutating func refuseProperties(_ event: YAMLEvent, at place: String) {
    if let anchor = event.anchor {
      report(
        event.start, place, "has an anchor (&\(excerpt(anchor))), and anchors are not accepted",
        "remove it and repeat the value wherever it is needed")
    }
    if let tag = event.tag {
      report(
        event.start, place,
        "has a tag (\(excerpt(Self.shorthand(tag)))), and tags are not accepted",
        "remove it, and quote the value if it is text")
    }
  }

  private mutating func next() throws(Stop) -> YAMLEvent {
    do throws(YAMLSyntaxError) {
      return try source.next()
    } catch {
      let mark = error.mark ?? Self.mark(ofByte: error.byteOffset, in: bytes)
      report(
        mark, position, "is not valid YAML: \(error.message)",
        SyntaxHint.text(for: error, at: mark, in: bytes))
      throw Stop()
    }
  }

  private mutating func report(_ mark: Mark, _ place: String, _ message: String, _ hint: String) {
    problems.append(
      Problem(
        location: SourceLocation(
          file: file, line: mark.line, column: mark.column, keyPath: place),
        message: message, hint: hint))
  }

  /// `!!int` for `tag:yaml.org,2002:int`, as it was most likely written.
  private static func shorthand(_ tag: String) -> String {
    let core = "tag:yaml.org,2002:"
    return tag.hasPrefix(core) ? "!!" + tag.dropFirst(core.count) : tag
  }

  /// Where the text starts, if its characters stand in the file one for one.
  private static func textMark(
    _ event: YAMLEvent, _ text: String, _ style: YAMLEvent.ScalarStyle
  ) -> Mark? {
    guard event.start.line == event.end.line else { return nil }
    let written = event.end.column - event.start.column
    let length = text.unicodeScalars.count
    switch style {
    case .plain where written == length: return event.start
    case .quoted where written == length + 2:
      return Mark(line: event.start.line, column: event.start.column + 1)
    default: return nil
    }
  }

  private static func mark(ofByte offset: Int, in bytes: UnsafeBufferPointer<UInt8>) -> Mark {
    var mark = Mark(line: 1, column: 1)
    for byte in bytes.prefix(offset) {
      if byte == UInt8(ascii: "\n") {
        mark = Mark(line: mark.line + 1, column: 1)
      } else if byte & 0xC0 != 0x80 {  // one character, not the rest of one
        mark.column += 1
      }
    }
    return mark
  }
}
