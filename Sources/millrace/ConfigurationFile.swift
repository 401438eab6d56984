// Reading a configuration file: bytes from the disk or from a pipe, values from the environment.

import ArgumentParser
import Configuration
import Glibc
import MillraceEngine
import Proxy

enum ConfigurationFile {
  /// Reads a file. One with errors is also looked at for what is wrong with the files that it names.
  static func load(
    _ path: String, overrides: [Override] = [], _ problems: inout [Problem]
  ) -> ProxyConfiguration? {
    let bytes: [UInt8]
    do {
      // What is larger is refused by the loader, which needs one byte of it to know.
      bytes = try WholeFile.read(path, atMost: bytesMaximum)
    } catch {
      problems.append(
        Problem(
          location: SourceLocation(file: path, line: 0, column: 0, keyPath: "document"),
          message: "cannot be read: \(WholeFile.words(error))",
          hint: "write the path of a readable file", severity: .error))
      return nil
    }
    let result = ProxyConfiguration.load(bytes: bytes, file: path, overrides: overrides) {
      name in getenv(name).map { String(cString: $0) }
    }
    problems += result.problems
    if result.configuration == nil, let partial = result.partial {
      problems += Preflight.checkFiles(partial)
    }
    return result.configuration
  }

  private static let bytesMaximum = 1 << 20
}

/// The configuration file as an argument, or by the flag that other programs have for it.
struct ConfigurationFileOptions: ParsableArguments {
  @Argument(help: "Configuration file (YAML); see docs/configuration.md.")
  var file: String?

  @Option(
    name: [.customShort("c"), .customLong("config")],
    help: ArgumentHelp("The same as FILE.", valueName: "file"))
  var config: String?

  var path: String? { file ?? config }

  func validate() throws {
    if file != nil && config != nil {
      throw ValidationError(
        "The configuration file is given twice: as an argument and by --config.")
    }
  }
}
