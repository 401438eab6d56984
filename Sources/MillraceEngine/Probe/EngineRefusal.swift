// Why io_uring is not used, in three parts: a word for machines, what happened, what to do.

/// The reason why the io_uring engine cannot run here.
public struct EngineRefusal: Error, Sendable, Equatable, CustomStringConvertible {
  /// One word, stable across versions: ENOSYS, EPERM_sysctl, EPERM_seccomp, EPERM, EACCES,
  /// ENOMEM, killed, hung, missing_operation, broken_operation, or the name of another errno.
  public let label: String
  /// What was tried and what happened, a sentence.
  public let detail: String
  /// What to change, a sentence.
  public let hint: String

  public var description: String { "\(detail) \(hint)" }
}
