// What the audit log has to say to an operator: one line for each notice of the journal, and one
// for each new reason why a replaced directory cannot be used.

import AuditLog
import Glibc
import Logging

struct AuditMessages {
  let logger: Logger
  let worker: Int
  let directory: String
  /// Why the directory could not be taken, as logged last.
  private var directoryProblem: String?

  init(logger: Logger, worker: Int, directory: String) {
    self.logger = logger
    self.worker = worker
    self.directory = directory
  }

  /// Logs why the directory could not be taken, once for each reason; nil: it was taken.
  mutating func logDirectory(_ problem: String?) {
    if let problem, problem != directoryProblem {
      logger.error(
        """
        audit directory could not be used again worker=\(worker) cause="\(problem)" \
        hint="see that no other millrace uses it and that it is writable"
        """)
    }
    directoryProblem = problem
  }

  func log(_ notice: JournalNotice) {
    func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
    switch notice {
    case .directIOUnavailable(let code):
      logger.notice(
        "audit writes are buffered worker=\(worker) cause=\"O_DIRECT: \(reason(code))\"")
    case .durableWriteUnavailable(let code):
      logger.notice(
        "audit writes are synced apart worker=\(worker) cause=\"RWF_DSYNC: \(reason(code))\"")
    case .commitFailed(let code, let first, let last):
      logger.error(
        """
        audit commit failed worker=\(worker) first=\(first) last=\(last) \
        cause="\(reason(code))" consequence="these exchanges are closed unanswered"
        """)
    case .prepareFailed(let code):
      logger.error(
        """
        audit segment could not be made worker=\(worker) cause="\(reason(code))" \
        consequence="tried again; requests get what when_full says once the log is full"
        """)
    case .retireFailed(let code):
      logger.warning(
        "audit segment could not be closed worker=\(worker) cause=\"\(reason(code))\"")
    case .logLost(let code, let isDirectory, let last):
      logger.error(
        """
        audit log is gone worker=\(worker) directory=\(directory) \
        missing=\(isDirectory ? "directory" : "segment") last=\(last) cause="\(reason(code))" \
        effect="\(isDirectory ? "requests get what when_full says" : "a new segment is begun")" \
        hint="\(isDirectory ? "create the directory again or mount it; " : "")records up to last may \
        be lost; do not delete or move files of a running proxy's log"
        """)
    case .logFound:
      logger.notice("audit log is back worker=\(worker) directory=\(directory)")
    }
  }
}
