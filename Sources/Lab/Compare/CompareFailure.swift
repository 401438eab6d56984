// Why a comparison, or one part of it, could not be done: what happened and what to do about it.

/// A comparison that ends without a verdict.
public struct CompareFailure: Error, CustomStringConvertible, Sendable {
  /// What was tried and what happened.
  public var what: String
  /// What to do, in the imperative.
  public var hint: String
  /// The exit status that it deserves: 1 could not run, 2 bad configuration, 3 worse than
  /// the earlier run, 4 not known whether it is, 130 interrupted.
  public var status: Int32

  public init(_ what: String, hint: String, status: Int32 = 1) {
    self.what = what
    self.hint = hint
    self.status = status
  }

  public var description: String { hint.isEmpty ? what : "\(what); \(hint)" }
}
