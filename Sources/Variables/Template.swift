// A template is text with variables in braces: `{client_address} {status}`. It is compiled once, where
// the configuration is read; what is wrong is an error with its place. A brace itself is written twice.

/// Text with variables, compiled.
public struct Template: Sendable, Equatable {
  public enum Part: Sendable, Equatable {
    case text(String)
    case variable(Variable)
  }

  public let parts: [Part]

  /// The text that it was made from, or one that means the same.
  public var source: String {
    parts.map { part in
      switch part {
      case .variable(let variable): return "{\(variable.name)}"
      case .text(let text):
        var doubled = ""
        for character in text {
          doubled.append(character)
          if character == "{" || character == "}" { doubled.append(character) }
        }
        return doubled
      }
    }.joined()
  }

  /// Bytes of a template, so that a line always has room for its text.
  public static let textMaximum = 4096
  /// Variables of a template, so that a line always has room for their values (`LineWriter`).
  public static let variablesMaximum = 64

  /// What is wrong with a template.
  public enum ParseError: Error, Equatable {
    /// The text between the braces, and the place of its first character, counted from 0 in
    /// characters.
    case unknownVariable(String, at: Int)
    case unclosedBrace(at: Int)
    /// A closing brace without an opening one.
    case strayBrace(at: Int)
    case tooLong
    case tooManyVariables
  }

  /// Compiles a template.
  public init(_ source: String) throws(ParseError) {
    guard source.utf8.count <= Self.textMaximum else { throw .tooLong }
    let characters = Array(source.unicodeScalars)
    var parts: [Part] = []
    var text = String.UnicodeScalarView()
    func flush() {
      if !text.isEmpty { parts.append(.text(String(text))) }
      text = String.UnicodeScalarView()
    }
    var variables = 0
    var index = 0
    while index < characters.count {
      let character = characters[index]
      let isDoubled = index + 1 < characters.count && characters[index + 1] == character
      switch character {
      case "{" where isDoubled, "}" where isDoubled:
        text.append(character)
        index += 2
      case "}": throw .strayBrace(at: index)
      case "{":
        guard let end = characters[index...].firstIndex(of: "}") else {
          throw .unclosedBrace(at: index)
        }
        var name = String.UnicodeScalarView()
        name.append(contentsOf: characters[(index + 1)..<end])
        guard let variable = Variable(name: String(name)) else {
          throw .unknownVariable(String(name), at: index + 1)
        }
        flush()
        variables += 1
        guard variables <= Self.variablesMaximum else { throw .tooManyVariables }
        parts.append(.variable(variable))
        index = end + 1
      default:
        text.append(character)
        index += 1
      }
    }
    flush()
    self.parts = parts
  }
}
