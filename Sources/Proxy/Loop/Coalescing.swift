// When a worker waits for more than the first event, and when it hands on at once. What several streams of a
// connection have to send at the end of a turn leaves in one TLS record and one send: few turns with much in each
// take less of the CPU than many with little, the proxy's and that of its clients and servers. The price is time. So
// it is asked only where requests of HTTP/2 come in numbers, and is a part of the time that they take anyway.
// ethtool(8) calls the same thing interrupt coalescing where a network card does it. Where they are few, a turn's
// first request does not even wait for the second one (`isSparse`).

/// How long a worker waits, and whether it hands on at once, from the requests that have ended of late.
struct Coalescing {
  /// What ends a wait: this many completions, or this moment in monotonic nanoseconds.
  struct Goal: Equatable {
    let count: Int
    let limit: Int64
  }

  /// A measurement under way.
  private struct Tally {
    var since: Int64 = 0
    /// Requests that have ended, and how long they took, summed.
    var ended: Int64 = 0
    var time: Int64 = 0
    /// Other requests that have been answered.
    var others: Int64 = 0
  }

  /// `engine.coalesce_microseconds`, in nanoseconds: from the end of one wait to the end of the next, at the
  /// most; 0: never. The figures are in docs/performance.md, "Waiting for more".
  let longest: Int64
  /// Nanoseconds that were waited for more, since the beginning.
  private(set) var waited: Int64 = 0
  private var tally = Tally()
  /// How long a request took in the last measurement.
  private var mean: Int64 = 0
  /// As much of one request's time counts.
  private var most = Coalescing.mostAtFirst
  /// What followed from the requests before: nanoseconds, and the requests that end in them.
  private var wait: Int64 = 0
  private var count: Int64 = 0
  /// A third of the requests in progress.
  private var third: Int64 = 0
  /// Few requests are in progress, and most are of HTTP/2. They were few in this measurement or in the one before: after
  /// a moment in which nothing ran, all that waited ends in one. Such a moment is to begin no wait.
  private(set) var isSparse = false
  private var isHurried = false

  /// A wait takes this part of the mean time that requests take.
  static let share: Int64 = 3
  /// With fewer requests to end in a wait, the first event ends it.
  static let least: Int64 = 4
  /// Nanoseconds over which requests are counted.
  static let measured: Int64 = 4_000_000
  /// Nanoseconds without an end after which no request of HTTP/2 comes any more, at the least.
  static let quiet: Int64 = 20_000_000
  private static let mostAtFirst: Int64 = 1_000_000
  /// Of the last mean, how much one request's time may be: a few that take long, or that a client makes take
  /// long, say nothing of the others.
  private static let mostOfMean: Int64 = 4
  /// From here on one request's time does not count for more: what the longest wait that can be configured is a part of.
  private static let longestMean: Int64 = 10_000_000 * share
  /// Fewer requests in progress are few.
  static let few = Int(least * share)

  /// - Parameter longest: nanoseconds, at most 10 ms; 0: never.
  init(longest: Int64) { self.longest = longest }

  // MARK: What is seen

  /// A request of HTTP/2 has been answered.
  /// - Parameters:
  ///   - nanoseconds: that it took.
  ///   - waited: for more, of these. Three quarters are left out, since longer waits would make for longer waits: to grow
  ///     without limit a request would have to go through twelve. One with an audit record goes through three.
  @inline(__always)
  mutating func noteEnd(after nanoseconds: Int64, waited: Int64) {
    tally.ended &+= 1
    tally.time &+= min(max(0, nanoseconds &- (waited &- waited >> 2)), most)
  }

  /// Another request has been answered: of HTTP/1.1, by the proxy itself, or by a server of HTTP/2.
  @inline(__always)
  mutating func noteOther() { tally.others &+= 1 }

  /// A wait for more has taken this long.
  mutating func noteWait(_ nanoseconds: Int64) { waited &+= nanoseconds }

  /// The next wait is to end with the first event, because something goes on then for which nothing need come
  /// from outside: what is to leave is behind a send in flight.
  @inline(__always)
  mutating func hurry() { isHurried = true }

  /// What is long goes on in the next turn too, and would wait in each.
  /// - Parameter result: bytes received or sent, or an error.
  @inline(__always)
  mutating func noteMoved(_ result: Int32) {
    if result >= Int32(ReceiveSize.smallBuffer) { isHurried = true }
  }

  // MARK: What follows

  /// What the next wait is for; nil: for the first event.
  /// - Parameter now: when the last wait has ended.
  @inline(__always)
  mutating func goal(now: Int64) -> Goal? {
    let elapsed = now &- tally.since
    // That nothing has ended says something only when something should have: requests may end in waves.
    if elapsed >= Self.measured
      && (tally.ended > 0 || elapsed >= max(Self.quiet, mean &* Self.mostOfMean))
    {
      measure(now, elapsed)
    }
    let hurries = isHurried
    isHurried = false
    return !isSparse && count >= Self.least && !hurries
      ? Goal(count: Int(count * 2), limit: now &+ wait) : nil
  }

  @inline(never)
  private mutating func measure(_ now: Int64, _ elapsed: Int64) {
    let ended = tally.ended
    mean = ended > 0 ? tally.time / ended : 0
    wait = min(longest, mean / Self.share)
    count = wait * ended / elapsed
    // Little's law: as many are in progress as end in the time that one takes.
    let before = third
    third = mean / Self.share * ended / elapsed
    isSparse = ended > 0 && tally.others <= ended && min(before, third) < Self.least
    most = max(Self.mostAtFirst, min(mean, Self.longestMean) * Self.mostOfMean)
    tally = Tally(since: now)
  }
}
