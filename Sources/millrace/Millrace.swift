// The command line: thin. It turns arguments into a configuration, prints problems, and calls the
// rooms.

import Admin
import ArgumentParser
import MillraceEngine

@main
struct Millrace: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "millrace",
    abstract: "A reverse proxy on completion-based I/O, with a durable audit log.",
    discussion: """
      Start it with `millrace run millrace.yaml`, or without a file:
      `millrace run --from :8080 --to 127.0.0.1:3000`.
      """,
    version: Version.text,
    subcommands: [
      Run.self, Check.self, Doctor.self, Audit.self, Load.self, Origin.self, Compare.self,
      Report.self, Control.self, Top.self,
    ])

  static func main() {
    // Before anything is opened.
    ProcessStart.openStandardStreams()
    ProcessStart.endOnCrash()
    main(Array(ProcessStart.commandLine.dropFirst()))
  }
}

enum Version {
  static let number = ProductVersion.number
  static let text = "millrace \(number)"
}
