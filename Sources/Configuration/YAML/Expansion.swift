// Puts the environment's values into scalars, after parsing, so that no value can change the shape
// of the document: `${NAME}`, `${NAME:-default}`, and `$${` for a literal `${`. It refuses nesting
// and unset names; what it puts in is not looked at again.

/// Why a scalar cannot be expanded, and how many characters into it.
struct ExpansionError: Error, Equatable {
  var offset: Int
  var message: String
  var hint: String
}

enum Expansion {
  /// Paths are at most 4096 bytes; nothing in a configuration is longer than this.
  static let charactersMaximum = 65536

  /// Expands every scalar of a tree in place; keys are left alone.
  static func expand(
    _ node: inout Node, at place: String, file: String, environment: (String) -> String?,
    problems: inout [Problem]
  ) {
    switch node.content {
    case .refused: break
    case .sequence(var items):
      for index in items.indices {
        expand(
          &items[index], at: path(place, index: index), file: file, environment: environment,
          problems: &problems)
      }
      node.content = .sequence(items)
    case .mapping(var entries):
      for index in entries.indices {
        expand(
          &entries[index].value, at: path(place, key: entries[index].key), file: file,
          environment: environment, problems: &problems)
      }
      node.content = .mapping(entries)
    case .scalar(var scalar):
      guard scalar.text.contains("${") else { return }
      let (text, errors) = expanded(scalar.text, environment)
      for error in errors {
        var mark = scalar.textMark ?? node.mark
        if scalar.textMark != nil { mark.column += error.offset }
        problems.append(
          Problem(
            location: SourceLocation(
              file: mark.line == 0 ? Override.flag : file, line: mark.line, column: mark.column,
              keyPath: place),
            message: error.message, hint: error.hint))
      }
      scalar.written = scalar.text
      scalar.text = text
      node.content = errors.isEmpty ? .scalar(scalar) : .refused
    }
  }

  /// The text with the environment's values in it, and everything that kept some of them out.
  static func expanded(
    _ text: String, _ environment: (String) -> String?
  ) -> (text: String, errors: [ExpansionError]) {
    let scalars = Array(text.unicodeScalars)
    // An array, because its count is known: a string would count its characters each time round.
    var result: [UnicodeScalar] = []
    var errors: [ExpansionError] = []
    var index = 0
    while index < scalars.count {
      let rest = scalars[index...]
      if rest.starts(with: ["$", "$", "{"]) {
        result.append(contentsOf: ["$", "{"])
        index += 3
      } else if rest.starts(with: ["$", "{"]) {
        guard let close = rest.firstIndex(of: "}") else {
          errors.append(
            ExpansionError(
              offset: index, message: "has a ${ without a closing }",
              hint: "write ${NAME}, or $${ for a literal ${"))
          break
        }
        do throws(ExpansionError) {
          let value = try value(of: scalars[(index + 2)..<close], at: index, environment)
          result.append(contentsOf: value.unicodeScalars)
        } catch {
          errors.append(error)
        }
        index = close + 1
      } else {
        result.append(scalars[index])
        index += 1
      }
      if result.count > charactersMaximum {
        errors.append(
          ExpansionError(
            offset: 0, message: "has more than \(charactersMaximum) characters once expanded",
            hint: "set the variables to shorter values"))
        break
      }
    }
    return (String(String.UnicodeScalarView(result)), errors)
  }

  /// What stands for `NAME` or `NAME:-default`.
  private static func value(
    of inner: ArraySlice<UnicodeScalar>, at offset: Int, _ environment: (String) -> String?
  ) throws(ExpansionError) -> String {
    let name = inner.prefix { scalar in
      guard scalar.isASCII else { return false }
      let byte = UInt8(scalar.value)
      return byte == UInt8(ascii: "_") || isLetter(byte) || isDigit(byte)
    }
    let rest = inner[name.endIndex...]
    let written = String(String.UnicodeScalarView(inner))
    guard let first = name.first, !isDigit(UInt8(first.value)) else {
      throw ExpansionError(
        offset: offset, message: "has ${\(excerpt(written))}, which is not a valid variable name",
        hint: "write ${NAME} (letters, digits and _), or $${ for a literal ${")
    }
    let nameText = String(String.UnicodeScalarView(name))
    if rest.isEmpty {
      guard let value = environment(nameText) else {
        throw ExpansionError(
          offset: offset, message: "needs the environment variable \(nameText), which is not set",
          hint: "set it, or give a default: ${\(nameText):-VALUE}")
      }
      return value
    }
    guard rest.starts(with: [":", "-"]) else {
      throw ExpansionError(
        offset: offset, message: "has ${\(excerpt(written))}, which is not a supported form",
        hint: "write ${\(nameText)} or ${\(nameText):-DEFAULT}")
    }
    let fallback = rest.dropFirst(2)
    guard !zip(fallback, fallback.dropFirst()).contains(where: { $0 == "$" && $1 == "{" }) else {
      throw ExpansionError(
        offset: offset, message: "has a variable inside the default of \(nameText)",
        hint: "write a literal default")
    }
    // As in a shell, `:-` stands in for an empty variable too.
    if let value = environment(nameText), !value.isEmpty { return value }
    return String(String.UnicodeScalarView(fallback))
  }
}
