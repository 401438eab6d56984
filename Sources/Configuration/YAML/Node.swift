// The tree that a YAML document becomes: scalars, sequences and mappings, each with the place where
// it was written. Keys keep the order of the file. It knows nothing of what the values mean.

/// A place in a file, both 1-based.
struct Mark: Equatable, Comparable {
  var line: Int
  var column: Int

  static func < (left: Mark, right: Mark) -> Bool {
    (left.line, left.column) < (right.line, right.column)
  }
}

/// A piece of text as it was written.
struct Scalar: Equatable {
  /// After expansion of `${NAME}`.
  var text: String
  /// The text before expansion, if that changed it.
  var written: String?
  /// Quoted and block scalars are text whatever they look like.
  var isQuoted: Bool
  /// Where the text's first character stands, if the text can be counted off from there: on one
  /// line and without escapes.
  var textMark: Mark?
}

/// A value of the document.
struct Node {
  enum Content {
    case scalar(Scalar)
    case sequence([Node])
    case mapping([Entry])
    /// Something that was refused and reported: whoever reads it skips it in silence.
    case refused
  }

  var content: Content
  var mark: Mark
}

/// A key of a mapping with its value.
struct Entry {
  var key: String
  var keyMark: Mark
  var value: Node
}

extension Node {
  /// A plain scalar that YAML reads as nothing: empty, `~` or `null`.
  var isNull: Bool {
    guard case .scalar(let scalar) = content, !scalar.isQuoted else { return false }
    if scalar.written != nil { return false }
    return ["", "~", "null", "Null", "NULL"].contains(scalar.text)
  }

  var isRefused: Bool {
    if case .refused = content { return true }
    return false
  }

  /// What a person would call this value, for messages: `the number 30`, `a list`.
  var found: String {
    switch content {
    case .refused: return "a rejected value"
    case .sequence: return "a list"
    case .mapping: return "a mapping"
    case .scalar(let scalar):
      let source = scalar.written.map { " (from \(excerpt($0)))" } ?? ""
      if isNull { return "nothing" }
      if scalar.text.isEmpty { return "an empty text\(source)" }
      switch scalar.plainKind {
      case .number: return "the number \(excerpt(scalar.text))\(source)"
      case .boolean: return "\(excerpt(scalar.text))\(source)"
      case .text: return "the text \(quoted(scalar.text))\(source)"
      }
    }
  }
}

extension Scalar {
  enum PlainKind {
    case text
    case number
    case boolean
  }

  /// What YAML's core schema (YAML 1.2.2, section 10.3.2) takes the scalar for. What came out of
  /// the environment is text, because nobody can quote it there.
  var plainKind: PlainKind {
    if isQuoted || written != nil { return .text }
    if ["true", "false", "True", "False", "TRUE", "FALSE"].contains(text) { return .boolean }
    return Self.isNumber(text) ? .number : .text
  }

  /// `[-+]? digits [. digits]`, the numbers that a person writes.
  static func isNumber(_ text: String) -> Bool {
    var bytes = Array(text.utf8)[...]
    if bytes.first == UInt8(ascii: "-") || bytes.first == UInt8(ascii: "+") {
      bytes = bytes.dropFirst()
    }
    let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard parts.count <= 2 else { return false }
    return parts.allSatisfy { part in !part.isEmpty && part.allSatisfy { isDigit($0) } }
  }
}
