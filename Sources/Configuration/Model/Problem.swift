// One thing that is wrong with a configuration: where, what, and what to do about it. It prints as
// exactly one line. It refuses to be vague: the hint is a separate part so that none is forgotten.

/// A finding about a configuration.
public struct Problem: Error, Sendable, Equatable, CustomStringConvertible {
  public enum Severity: Sendable, Equatable {
    /// The configuration cannot be used.
    case error
    /// The configuration can be used, and probably does not do what was meant.
    case warning
  }

  public var location: SourceLocation
  /// What is wrong, a sentence part that follows the key path: `is 0, outside 1…1024`.
  public var message: String
  /// What to do, in the imperative: `write a whole number from 1 to 1024`.
  public var hint: String
  public var severity: Severity

  public init(
    location: SourceLocation, message: String, hint: String, severity: Severity = .error
  ) {
    self.location = location
    self.message = message
    self.hint = hint
    self.severity = severity
  }

  /// `keyPath (file:line:column): what is wrong; what to do`, always one line.
  public var description: String {
    let place = location.description
    let start = place.isEmpty ? "" : "\(place): "
    let rank = severity == .warning ? "warning: " : ""
    let end = hint.isEmpty ? "" : "; \(hint)"
    return oneLine(start + rank + message + end)
  }
}

/// The problems one per line, in the given order, and a last line that counts them, as in
/// `2 errors, 1 warning`. Every line ends in a newline.
public func renderReport(_ problems: [Problem]) -> String {
  var text = ""
  for problem in problems {
    text += problem.description
    text += "\n"
  }
  let errors = problems.reduce(0) { $0 + ($1.severity == .error ? 1 : 0) }
  return text + "\(counted(errors, "error")), \(counted(problems.count - errors, "warning"))\n"
}

private func counted(_ number: Int, _ noun: String) -> String {
  "\(number == 0 ? "no" : String(number)) \(noun)\(number == 1 ? "" : "s")"
}
