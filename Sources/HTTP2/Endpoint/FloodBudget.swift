// What a peer may cost without getting anything done. Each frame that moves no content has a price;
// work that is done, and time, earn it back. A peer that is in order never notices.

/// A budget in points.
struct FloodBudget {
  /// Points at the beginning, and at most.
  private static var most: Int { 2_000 }
  /// Points that a second earns: an idle connection may ping, change its mind and be slow.
  private static var perSecond: Int64 { 100 }

  /// What has a price, in points.
  enum Expense: Int {
    /// PING, PRIORITY, PRIORITY_UPDATE, an unknown frame, a WINDOW_UPDATE of a few bytes.
    case frame = 1
    /// SETTINGS: each may change every stream's window. An empty DATA, HEADERS or CONTINUATION frame.
    case settings = 5
    /// A stream that its client resets before its response, or that is reset for what its client did:
    /// two hundred at once, then ten in a second (CVE-2023-44487, CVE-2025-8671).
    case wastedStream = 10
  }

  /// What earns points.
  enum Earning: Int {
    /// A frame of content that was sent: it may be answered by a window for its stream, and one for the
    /// connection.
    case content = 2
    case response = 10
  }

  private var points = Self.most
  private var time: Int64 = .min
  /// True once more was spent than there was.
  private(set) var isOverdrawn = false

  /// Lets time pass. - Parameter now: monotonic, in nanoseconds.
  @inline(__always)
  mutating func pass(to now: Int64) {
    if points == Self.most {
      time = now
      return
    }
    let earned = (now &- time) / (1_000_000_000 / Self.perSecond)
    guard earned > 0 else { return }
    points = min(Self.most, points + Int(clamping: earned))
    time = now
  }

  @inline(__always)
  mutating func spend(_ expense: Expense) {
    points -= expense.rawValue
    if points < 0 { isOverdrawn = true }
  }

  @inline(__always)
  mutating func earn(_ earning: Earning) {
    points = min(Self.most, points + earning.rawValue)
  }

  /// Content that was sent. A window that a client gives back frame by frame comes to pieces: most of
  /// its frames may be of a few bytes (1,258 of 2,055 in 8 MiB through a window of 65,535), while a frame has
  /// 4,000 on average. What goes through the rest pays for them.
  @inline(__always)
  mutating func earn(bytes: Int) {
    points = min(Self.most, points + bytes / 512)
  }
}
