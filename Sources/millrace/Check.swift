// `millrace check`: everything that `run` would refuse, without starting anything.

import ArgumentParser
import Configuration
import Proxy

struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Validates a configuration and reports each problem with its position and a hint.",
    discussion: """
      Reads the files that the configuration refers to, and resolves its host names. \
      Does not bind its addresses, so it can be used beside a running proxy.

      Exit status: 0 valid (possibly with warnings), 2 invalid.
      """,
    version: Version.text)

  @OptionGroup var place: ConfigurationFileOptions

  func validate() throws {
    if place.path == nil { throw ValidationError("Missing expected argument '<file>'") }
  }

  mutating func run() throws {
    let file = place.path ?? ""
    var problems: [Problem] = []
    let configuration = ConfigurationFile.load(file, &problems)
    if let configuration {
      problems += Preflight.run(configuration, binding: false).problems
      if let problem = AuditRoom.problem(configuration) { problems.append(problem) }
    }
    if Reporting.hasErrors(problems) { throw Reporting.fail(problems) }
    Reporting.write(problems)
    print("\(file): valid")
  }
}
