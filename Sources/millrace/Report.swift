// `millrace report`: a comparison that was measured before, as a page, as text, or against an
// earlier one. It measures nothing.

import ArgumentParser
import Glibc
import Lab

struct Report: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Renders a comparison that was measured before.",
    discussion: """
      Reads what `millrace compare --json FILE` wrote. With --html it writes the report as one page
      that needs nothing else; without it, it prints the tables and the verdict. With --against it
      compares with an earlier run of the same workload on the same machine.

      Exit status: 0 done, 1 cannot be read or written, or the runs cannot be compared, 3 the run
      is worse than the earlier one, 4 it is not as far as it was compared, but not all that decides
      (throughput; p99 and CPU at the equal load) could be.
      """,
    version: Version.text)

  @Argument(help: "What `millrace compare --json` wrote.")
  var file: String

  @Option(help: "Write the report as one HTML page to this file.")
  var html: String?

  @Flag(help: "Print tables and verdict, also where --html or --against is given.")
  var text = false

  @Option(help: "An earlier run's JSON file, to find regressions.")
  var against: String?

  @Flag(help: "Make ratios and verdict anew, as this version of millrace judges them.")
  var conclude = false

  mutating func run() throws {
    var comparison = try Self.read(file)
    if conclude || comparison.verdict.headline.isEmpty { comparison.conclude() }
    if let html { try Self.write(ReportHTML.render(comparison), to: html) }
    if text || (html == nil && against == nil) {
      print(ComparisonText.render(comparison), terminator: "")
    }
    if let against { try Self.compare(comparison, with: Self.read(against)) }
  }

  private static func compare(_ later: Comparison, with earlier: Comparison) throws {
    let changes: ComparisonAgainst
    do {
      changes = try ComparisonAgainst(later, against: earlier)
    } catch {
      Reporting.print("\(error)")
      throw ExitCode(1)
    }
    print(changes.text, terminator: "")
    if changes.hasRegression { throw ExitCode(3) }
    if !changes.isDecided { throw ExitCode(4) }
  }

  private static func read(_ path: String) throws -> Comparison {
    guard let bytes = OutputFile.read(path) else {
      Reporting.print(
        "cannot read \(path): \(String(cString: strerror(errno))). Give what millrace compare --json"
          + " wrote.")
      throw ExitCode(1)
    }
    do throws(Comparison.Flaw) {
      return try Comparison(json: bytes)
    } catch {
      Reporting.print(
        "\(path) is not a comparison: \(error). Give what millrace compare --json wrote.")
      throw ExitCode(1)
    }
  }

  private static func write(_ text: String, to path: String) throws {
    guard !OutputFile.write(Array(text.utf8), path) else { return }
    Reporting.print(
      "cannot write \(path): \(String(cString: strerror(errno))). Give a file in a folder that can be"
        + " written.")
    throw ExitCode(1)
  }
}
