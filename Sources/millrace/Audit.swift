// `millrace audit verify`: proves the log.

import ArgumentParser
import AuditLog
import Glibc
import MillraceEngine

struct Audit: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Reads and proves the audit log.", version: Version.text,
    subcommands: [Verify.self])

  struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Checks every record, seal and link of the log.",
      discussion: """
        Without an anchor it detects corruption, and edits by anyone who cannot rewrite all that
        follows. With --anchor it also detects a log that was cut short: the proxy writes anchors
        to its own log, as lines that start with "audit anchor".

        Exit status: 0 proven, 1 broken, 3 proven but for an unsealed tail (the proxy is running,
        or crashed and was not started again), 2 cannot be read.
        """,
      version: Version.text)

    @Argument(help: "The audit directory.")
    var directory: String

    @Option(help: "A file of anchors, one JSON object a line.")
    var anchor: String?

    mutating func run() throws {
      let report: VerificationReport
      do {
        let anchors = try anchor.map { try Verification.readAnchors($0) } ?? []
        report = try Verification(directory: directory).run(anchors: anchors)
      } catch let error as Errno {
        Reporting.print("\(error)")
        throw ExitCode(2)
      }
      for chain in report.chains { print(Self.line(chain)) }
      for failure in report.anchorFailures { print("anchor: \(failure)") }
      switch report.verdict {
      case .intact: print("intact")
      case .unsealedTail:
        print("intact up to an unsealed tail")
        throw ExitCode(3)
      case .broken:
        print("broken")
        throw ExitCode(1)
      }
    }

    private static func line(_ chain: ChainReport) -> String {
      var text =
        "worker=\(chain.worker) segments=\(chain.segments) batches=\(chain.batches)"
        + " records=\(chain.records) exchanges=\(chain.exchanges) begins=\(chain.begins)"
        + " ends=\(chain.ends) aborts=\(chain.aborts) unfinished=\(chain.unfinished)"
        + " dropped=\(chain.dropped) recoveries=\(chain.recoveries)"
        + " last_sequence=\(chain.lastSequence) last_seal=\(chain.lastSeal.hex)"
      if let tail = chain.unsealedTail { text += "\n  unsealed tail: \(tail)" }
      if let failure = chain.failure { text += "\n  broken: \(failure)" }
      return text
    }
  }
}
