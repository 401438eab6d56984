// `millrace audit`: its subcommands, and what they have in common. `millrace audit verify` proves the
// log.

import ArgumentParser
import AuditLog
import Glibc
import MillraceEngine

struct Audit: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Reads and verifies the audit log.", version: Version.text,
    subcommands: [Verify.self, Cat.self, Tail.self])

  /// What keeps a command from reading the log: one line, and exit status 2.
  static func fail(_ text: String) -> ExitCode {
    Reporting.print(text)
    return ExitCode(2)
  }

  static func fail(_ error: Errno) -> ExitCode {
    let reason =
      error.detail ?? strerror(error.code).map { String(cString: $0) } ?? "error \(error.code)"
    let hint =
      error.code == ENOTDIR
      ? ". Use the audit directory, not a file in it" : ""
    return fail("cannot read \(error.path): \(reason)\(hint)")
  }

  static func noLog(_ directory: String) -> ExitCode {
    fail("no audit log in \(directory): it has no file named like w000-0000000001.jsonl")
  }

  struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Verifies every record, seal and link of the log.",
      discussion: """
        Without an anchor it detects corruption, and edits after which the rest of the log was not \
        rewritten. With --anchor it also detects truncation: the proxy writes anchors to its own \
        log, as lines that contain "audit anchor".

        Exit status: 0 intact; 1 broken; 2 cannot be read, no audit log in the directory, or no \
        anchor in the file; 3 intact except for an unsealed tail (a commit in progress, a crash \
        that has not been recovered yet, or the rest of a failed commit).
        """,
      version: Version.text)

    @Argument(help: "Audit directory.")
    var directory: String

    @Option(
      help: ArgumentHelp(
        "File with anchors, such as the proxy's log, as text or JSON; - is standard input.",
        valueName: "file"))
    var anchor: String?

    /// Before something wrong is read again: a commit takes less, unless the disk stands still.
    private static let pauseNanoseconds: Int64 = 20_000_000

    mutating func run() throws {
      let report: VerificationReport
      var finder: AnchorFinder?
      do throws(Errno) {
        finder = try anchor.map { path throws(Errno) in try AnchorFinder.read(path) }
        report = try Verification(
          directory: directory, pauseNanoseconds: Self.pauseNanoseconds
        ).run(anchors: finder?.anchors ?? [])
      } catch {
        throw Audit.fail(error)
      }
      if report.chains.isEmpty { throw Audit.noLog(directory) }
      if let finder, finder.anchors.isEmpty {
        let malformed = finder.malformed == 0 ? "" : " (\(finder.malformed) malformed)"
        throw Audit.fail("no anchor in \(anchor ?? "-")\(malformed)")
      }
      for chain in report.chains { print(Self.line(chain)) }
      if let finder { print(Self.line(finder, report)) }
      for failure in report.anchorFailures { print("anchor: \(failure)") }
      switch report.verdict {
      case .intact: print("intact")
      case .unsealedTail:
        print("intact except for an unsealed tail")
        throw ExitCode(3)
      case .broken:
        print("broken")
        throw ExitCode(1)
      }
    }

    private static func line(_ finder: AnchorFinder, _ report: VerificationReport) -> String {
      let checked = report.anchorsMatched + report.anchorFailures.count
      var text =
        "anchors read=\(finder.anchors.count) checked=\(checked)"
        + " older_than_log=\(report.anchorsBeforeStart)"
      if finder.malformed > 0 { text += " malformed=\(finder.malformed)" }
      return text
    }

    private static func line(_ chain: ChainReport) -> String {
      var text =
        "worker=\(chain.worker) segments=\(chain.segments) batches=\(chain.batches)"
        + " records=\(chain.records) exchanges=\(chain.exchanges) begins=\(chain.begins)"
        + " ends=\(chain.ends) aborts=\(chain.aborts) unfinished=\(chain.unfinished)"
        + " dropped=\(chain.dropped) recoveries=\(chain.recoveries)"
        + " last_sequence=\(chain.lastSequence) last_seal=\(chain.lastSeal.hex)"
      for tail in chain.unsealedTails { text += "\n  unsealed tail: \(tail)" }
      if let failure = chain.failure { text += "\n  broken: \(failure)" }
      return text
    }
  }
}
