// `millrace report`: a comparison that was measured before, as a page, as text, or against an
// earlier one. It measures nothing.

import ArgumentParser
import Glibc
import Lab

struct Report: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Renders the results of an earlier millrace compare.",
    discussion: """
      Reads a file written by `millrace compare --json FILE`. With --html it writes the report as a \
      single self-contained page; without --html it prints the tables and the verdict. With --against \
      it compares with an earlier run of the same workload on the same machine.

      Exit status: 0 success, 1 a file cannot be read or written, or the runs cannot be compared, \
      3 regression against the earlier run, 4 no regression found, but a deciding quantity \
      (throughput; p99 and CPU at equal load) could not be compared.
      """,
    version: Version.text)

  @Argument(help: "JSON file written by `millrace compare --json`.")
  var file: String

  @Option(help: ArgumentHelp("Write the report as one HTML file.", valueName: "file"))
  var html: String?

  @Flag(help: "Print tables and verdict even with --html or --against.")
  var text = false

  @Option(help: ArgumentHelp("Compare with the JSON file of an earlier run.", valueName: "file"))
  var against: String?

  @Flag(help: "Recompute ratios and verdict with this version of millrace.")
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
        "cannot read \(path): \(String(cString: strerror(errno))). Use a file written by millrace"
          + " compare --json.")
      throw ExitCode(1)
    }
    do throws(Comparison.ParseError) {
      return try Comparison(json: bytes)
    } catch {
      Reporting.print(
        "\(path) is not a comparison: \(error). Use a file written by millrace compare --json.")
      throw ExitCode(1)
    }
  }

  private static func write(_ text: String, to path: String) throws {
    guard !OutputFile.write(Array(text.utf8), path) else { return }
    Reporting.print(
      "cannot write \(path): \(String(cString: strerror(errno))). Choose a path in a writable"
        + " directory.")
    throw ExitCode(1)
  }
}
