// Whether the other end of a connection of HTTP/2 is still there, as far as what comes from it tells. A
// stream may be silent for long with good reason; a PING is answered by whoever is alive (RFC 9113 6.7).

/// When a PING is due, and when its answer is overdue. All times are monotonic nanoseconds.
struct KeepAlivePing {
  enum Step {
    case none, ask
    /// Nothing has come since it was asked.
    case overdue
  }

  /// When the last byte came.
  private var heardAt: Int64 = 0
  /// Since when nothing has come behind a PING; 0: none is without an answer.
  private var askedAt: Int64 = 0
  private var answeredAt: Int64 = -1
  /// The silence before the next PING, where the last thing that came was an answer.
  private var rare: Int64 = 0
  /// Bytes that came at `heardAt`.
  private var came = 0

  /// Of the frame of a PING (RFC 9113 4.1 and 6.7).
  private static var frameBytes: Int { 17 }

  /// Bytes have come: whatever they are, their sender is alive. - Parameter bytes: how many.
  @inline(__always)
  mutating func heard(_ now: Int64, bytes: Int = 0) {
    came = (heardAt == now ? came : 0) &+ bytes
    heardAt = now
    askedAt = 0
  }

  /// The peer has not given a sign of life since it was asked for one.
  @inline(__always) var isDoubted: Bool { askedAt != 0 }

  /// A PING is on its way.
  mutating func asked(_ now: Int64, _ rules: PingRules) {
    guard askedAt == 0 else { return }
    askedAt = now
    let next = rules.growsRare ? 4 * silence(rules) : rules.interval
    rare = max(rules.interval, min(next, PingRules.intervalMaximum))
  }

  /// The answer to a PING has come, behind `heard`.
  mutating func answered(_ now: Int64) { answeredAt = now }

  private func silence(_ rules: PingRules) -> Int64 {
    heardAt == answeredAt && came <= Self.frameBytes ? rare : rules.interval
  }

  /// When there is something to do next; Int64.max: never.
  func due(_ rules: PingRules) -> Int64 {
    if askedAt != 0 { return askedAt + rules.answerLimit }
    return rules.interval == 0 ? .max : heardAt + silence(rules)
  }

  func step(_ now: Int64, _ rules: PingRules) -> Step {
    guard now >= due(rules) else { return .none }
    return askedAt == 0 ? .ask : .overdue
  }
}
