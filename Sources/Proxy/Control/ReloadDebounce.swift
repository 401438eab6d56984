// When files that keep changing are looked at: a moment after the last change, since an editor or a tool
// writes a certificate and its key one after the other; but not for ever.

/// Times are monotonic nanoseconds.
struct ReloadDebounce {
  /// How long nothing may change: a renewal writes its files within milliseconds, and a person does not notice.
  static let quietNanoseconds: Int64 = 300_000_000
  /// How long changes that do not end put it off.
  static let longestNanoseconds: Int64 = 3_000_000_000

  /// When to look; Int64.max: nothing has changed.
  private(set) var deadline = Int64.max
  private var latest = Int64.max

  /// Something has changed.
  mutating func note(now: Int64) {
    latest = min(latest, now + Self.longestNanoseconds)
    deadline = min(now + Self.quietNanoseconds, latest)
  }

  /// Whether it is time to look.
  mutating func takeDue(now: Int64) -> Bool {
    guard now >= deadline else { return false }
    self = ReloadDebounce()
    return true
  }
}
