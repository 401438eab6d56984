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
        cannot reopen audit directory worker=\(worker) error="\(problem)" \
        hint="make sure that it is writable and that no other millrace uses it"
        """)
    }
    directoryProblem = problem
  }

  func log(_ notice: JournalNotice) {
    func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
    switch notice {
    case .directIOUnavailable(let code):
      logger.notice(
        """
        O_DIRECT unavailable; using buffered audit writes worker=\(worker) \
        error="\(reason(code))"
        """)
    case .durableWriteUnavailable(let code):
      logger.notice(
        """
        RWF_DSYNC unavailable; using write and fdatasync worker=\(worker) \
        error="\(reason(code))"
        """)
    case .commitFailed(let code, let first, let last):
      logger.error(
        """
        audit commit failed worker=\(worker) first=\(first) last=\(last) \
        error="\(reason(code))" effect="these connections are closed without a response"
        """)
    case .prepareFailed(let code):
      logger.error(
        """
        cannot create audit segment worker=\(worker) error="\(reason(code))" \
        effect="retrying; when_full applies once the log is full"
        """)
    case .retireFailed(let code):
      logger.warning(
        "cannot close audit segment worker=\(worker) error=\"\(reason(code))\"")
    case .logLost(let code, let isDirectory, let last):
      logger.error(
        """
        audit log missing worker=\(worker) directory=\(directory) \
        missing=\(isDirectory ? "directory" : "segment") last=\(last) error="\(reason(code))" \
        effect="\(isDirectory ? "when_full applies to new requests" : "starting a new segment")" \
        hint="\(isDirectory ? "recreate or mount the directory; " : "")records up to last may be \
        lost; do not delete or move the log files of a running proxy"
        """)
    case .logFound:
      logger.notice("audit log available again worker=\(worker) directory=\(directory)")
    }
  }
}
