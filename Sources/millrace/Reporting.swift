// How the command line speaks of problems: one message each, on standard error, exit status 2.

import ArgumentParser
import Configuration
import Glibc

enum Reporting {
  static func location(_ flag: String) -> SourceLocation {
    SourceLocation(file: flag)
  }

  static func flag(_ name: String, _ message: String, _ hint: String) -> Problem {
    Problem(location: location(name), message: message, hint: hint, severity: .error)
  }

  static func address(
    _ text: String, _ role: EndpointAddress.Role, _ flag: String, _ problems: inout [Problem]
  ) -> EndpointAddress? {
    do {
      return try EndpointAddress.parse(text, as: role)
    } catch {
      problems.append(self.flag(flag, error.message, error.hint))
      return nil
    }
  }

  /// Reads what `--set` was given.
  static func overrides(_ arguments: [String], _ problems: inout [Problem]) -> [Override] {
    arguments.compactMap { argument in
      if let override = Override(argument: argument) { return override }
      problems.append(
        flag(
          "--set", "is \"\(argument)\", expected PATH=VALUE",
          "write --set PATH=VALUE, for example --set listeners[0].address=127.0.0.1:8443"))
      return nil
    }
  }

  static func hasErrors(_ problems: [Problem]) -> Bool {
    problems.contains { $0.severity == .error }
  }

  static func write(_ problems: [Problem]) {
    guard !problems.isEmpty else { return }
    print(renderReport(problems))
  }

  /// Writes a text to standard error.
  static func print(_ text: String) {
    let bytes = Array((text.hasSuffix("\n") ? text : text + "\n").utf8)
    bytes.withUnsafeBytes { _ = Glibc.write(2, $0.baseAddress!, $0.count) }
  }

  /// Writes the problems and gives the error that ends the command.
  static func fail(_ problems: [Problem]) -> ExitCode {
    write(problems)
    return ExitCode(2)
  }
}
