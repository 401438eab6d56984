// From what the child found to what a person can act on: a label, a sentence of what happened, a
// sentence of what to change. Pure: the same facts always give the same words.

import CLinux
import Glibc

enum ProbeDiagnosis {
  static func refusal(
    _ outcome: ProbeOutcome, _ ending: ProbeProcess.Ending, _ here: ProbeSurroundings
  ) -> EngineRefusal? {
    let step = ProbeStep(rawValue: outcome.step) ?? .setup
    switch ending {
    case .notStarted(let code):
      return EngineRefusal(
        label: ErrorText.name(code),
        detail: "Cannot fork a child process for the self-test: \(ErrorText.full(code)).",
        hint: "Raise the process limit (ulimit -u, TasksMax=), or set engine: epoll.")
    case .hung:
      return EngineRefusal(
        label: "hung",
        detail: "Tried \(step.attempt): no result within two seconds (Linux \(here.release)).",
        hint: "Set engine: epoll, and update the kernel.")
    case .signalled(let number) where number == SIGSYS:
      return EngineRefusal(
        label: "killed",
        detail: "Tried \(step.attempt): a seccomp filter killed the process (SIGSYS).",
        hint: seccompHint)
    case .signalled(let number):
      return EngineRefusal(
        label: "broken_operation",
        detail: "Tried \(step.attempt): the process was killed by signal \(number) "
          + "(Linux \(here.release)).",
        hint: brokenHint)
    case .exited:
      guard let failed = outcome.firstFailure else {
        return outcome.isUsable ? nil : unfinished(step, here)
      }
      return failure(failed, outcome, here)
    }
  }

  private static func unfinished(_ step: ProbeStep, _ here: ProbeSurroundings) -> EngineRefusal {
    EngineRefusal(
      label: "broken_operation",
      detail: "Tried \(step.attempt): the self-test exited (Linux \(here.release)).",
      hint: brokenHint)
  }

  private static func failure(
    _ step: ProbeStep, _ outcome: ProbeOutcome, _ here: ProbeSurroundings
  ) -> EngineRefusal {
    let result = outcome[step]
    if step == .operations && result == ProbeOutcome.wrong {
      return EngineRefusal(
        label: "missing_operation",
        detail: "io_uring of this kernel (Linux \(here.release)) lacks "
          + "\(ProbeOperations.name(outcome.missingOperation)).",
        hint: oldKernelHint)
    }
    let detail = "Tried \(step.attempt): \(words(step, result, outcome))."
    switch -Int64(result) {
    case Int64(EPERM): return permission(detail, here)
    case Int64(ENOSYS): return absent(detail, here)
    case Int64(EACCES):
      return EngineRefusal(
        label: "EACCES", detail: detail,
        hint: "A security module (SELinux, AppArmor) denies it: look for io_uring in the audit "
          + "log (ausearch -m avc) and allow it for this domain.")
    case Int64(ENOMEM):
      return EngineRefusal(
        label: "ENOMEM", detail: detail,
        hint:
          "Raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=), which covers the rings of all processes "
          + "of the user, or the container's memory limit.")
    case Int64(EINVAL) where step == .setup || step == .bufferRings:
      return EngineRefusal(
        label: "missing_operation", detail: "\(detail) The kernel is Linux \(here.release).",
        hint: oldKernelHint)
    default:
      // What the kernel answered to an operation that it has: not what the engine relies on.
      let isSetup = step == .setup || step == .enter || step == .bufferRings
      let named = isSetup && result != ProbeOutcome.wrong
      return EngineRefusal(
        label: named ? ErrorText.name(-result) : "broken_operation",
        detail: "\(detail) The kernel is Linux \(here.release).", hint: brokenHint)
    }
  }

  /// EPERM has three senders; the sysctl is asked first because it comes first in the kernel for
  /// whoever no filter has stopped, and because it can be read.
  private static func permission(_ detail: String, _ here: ProbeSurroundings) -> EngineRefusal {
    if here.disabled == 2 || (here.disabled == 1 && !here.isPrivileged) {
      let value = here.disabled ?? 2
      let group =
        value == 1
        ? " or add this process to the group of kernel.io_uring_group" : ""
      return EngineRefusal(
        label: "EPERM_sysctl", detail: "\(detail) kernel.io_uring_disabled is \(value).",
        hint: "Set sysctl kernel.io_uring_disabled=0\(group), or set engine: epoll.")
    }
    if here.isFiltered {
      return EngineRefusal(
        label: "EPERM_seccomp", detail: "\(detail) A seccomp filter is installed.",
        hint: seccompHint)
    }
    return EngineRefusal(
      label: "EPERM",
      detail: "\(detail) No seccomp filter is installed and kernel.io_uring_disabled is "
        + (here.disabled.map { "\($0)." } ?? "absent."),
      hint: "A security module may deny it: check the kernel log, or set engine: epoll.")
  }

  /// ENOSYS comes from a kernel without io_uring, or from a filter that claims so. The sysctl
  /// exists only in a kernel that has io_uring.
  private static func absent(_ detail: String, _ here: ProbeSurroundings) -> EngineRefusal {
    if here.isFiltered && here.disabled != nil {
      return EngineRefusal(
        label: "ENOSYS",
        detail: "\(detail) This kernel has io_uring; a seccomp filter hides the system "
          + "call.",
        hint: seccompHint)
    }
    return EngineRefusal(
      label: "ENOSYS", detail: "\(detail) The kernel is Linux \(here.release).",
      hint: "Run on Linux 6.1 or newer with CONFIG_IO_URING (not under gVisor), or set "
        + "engine: epoll.")
  }

  private static let seccompHint =
    "Allow io_uring_setup, io_uring_enter and io_uring_register: docker run --security-opt "
    + "seccomp=PROFILE.json (or unconfined), securityContext.seccompProfile in Kubernetes, "
    + "SystemCallFilter=@aio in systemd; or set engine: epoll."
  private static let oldKernelHint = "Run on Linux 6.1 or newer, or set engine: epoll."
  private static let brokenHint =
    "Set engine: epoll, and report this message with the kernel version."

  // MARK: Words

  /// What came of a step.
  static func words(_ step: ProbeStep, _ result: Int32, _ outcome: ProbeOutcome) -> String {
    if result == ProbeOutcome.wrong {
      return step == .operations
        ? "\(ProbeOperations.name(outcome.missingOperation)) is missing"
        : "wrong result"
    }
    if result == -ETIME { return "no result in time" }
    return ErrorText.full(-result)
  }

  static func words(_ ending: ProbeProcess.Ending) -> String {
    switch ending {
    case .exited: "the self-test exited"
    case .signalled(let number): "signal \(number)"
    case .hung: "no result within two seconds"
    case .notStarted(let code): ErrorText.full(code)
    }
  }
}
