// A system call that failed, with its errno.

import Glibc

/// A system call that failed during set-up.
public struct SystemFailure: Error, Sendable, CustomStringConvertible {
  /// The errno, positive.
  public let code: Int32
  /// The call and what it was about.
  public let operation: String

  /// A failure of `operation` with a positive errno.
  public init(code: Int32, operation: String) {
    self.code = code
    self.operation = operation
  }

  /// The errno in words, strerror(3).
  public var reason: String { String(cString: strerror(code)) }
  public var description: String { "\(operation): \(reason)" }
}
