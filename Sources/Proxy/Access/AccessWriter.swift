// The thread of the access log: takes lines out of the workers' rings and writes them. What cannot be
// written waits, with the lines behind it, and is tried again; the rings fill meanwhile, and what finds no
// room there is counted by the workers.

import Glibc
import Logging
import MillraceEngine
import Synchronization

struct AccessWriter: ~Copyable {
  private let log: AccessLog
  private let feed: LineFeed
  private let logger: Logger
  private var orders = AccessLog.Orders()
  private var sink: LogSink?
  private var batch = LineBatch(capacity: bufferBytes)
  /// Why it does not go on; nil: it does.
  private var failure: String?
  private var retryAt: Int64 = 0
  private var nextLook: Int64 = 0
  /// The path has not led to the open file the last time.
  private var isMissing = false
  private var missingReported = 0
  private var nextReport: Int64 = 0

  /// Two lines of the longest kind.
  private static let bufferBytes = 256 << 10
  /// How long lines are gathered, so that many are one write: not seen by who reads along.
  private static let gatherNanoseconds: Int64 = 20_000_000
  private static let retryNanoseconds: Int64 = 1_000_000_000
  /// How often a file is looked for at its path. Two such looks find it gone before it is made anew, so that
  /// a tool which moves it and then makes another one is not disturbed.
  private static let lookNanoseconds: Int64 = 1_000_000_000
  private static let reportNanoseconds: Int64 = 10_000_000_000
  /// How long one wait for a reader lasts; orders are looked at between two.
  private static let roomMilliseconds: Int32 = 100
  /// How long the last lines may take once the process ends.
  private static let endNanoseconds: Int64 = 1_000_000_000

  init(_ log: AccessLog, _ logger: Logger) {
    self.log = log
    self.logger = logger
    feed = log.feed
  }

  private var isIdle: Bool { batch.isEmpty && feed.isEmpty }

  mutating func run() {
    var end = Int64.max
    while true {
      let now = SystemClock.monotonicNanoseconds()
      obey()
      if orders.isStopping {
        if end == .max { end = now + Self.endNanoseconds }
        if isIdle || now >= end { break }
      }
      report(now)
      if now < retryAt {
        // Told something, it tries at once.
        feed.signal.wait(nanoseconds: min(retryAt - now, Self.reportNanoseconds))
        continue
      }
      look(now)
      let hasWritten = turn()
      if failure != nil && isIdle && (sink != nil || orders.destination == nil) { recovered() }
      if failure != nil { continue }
      if hasWritten {
        // A pipe takes a part of what waits.
        if batch.isEmpty && !orders.isStopping { feed.gather(nanoseconds: Self.gatherNanoseconds) }
      } else if isIdle && !orders.isStopping {
        feed.waitForLines(nanoseconds: feed.missing == missingReported ? .max : nextReport - now)
      }
    }
    while takeLost() {}
    countLost(batch.lines)
    report(.max)
  }

  // MARK: Orders

  private mutating func obey() {
    let wanted = log.current
    guard wanted.number != orders.number else { return }
    let isElsewhere = wanted.destination != orders.destination
    // What was written for the old place goes there, as far as it takes it at once.
    if isElsewhere { finish(before: wanted.destination) }
    // A socket is made anew when it fails, and knows of the failure of its last message until then.
    let isMoved = wanted.reopenings != orders.reopenings && wanted.destination?.syslog == nil
    if isElsewhere || isMoved {
      sink = nil
      isMissing = false
      failure = nil
      retryAt = 0
    }
    orders = wanted
  }

  /// What could not be written at all goes to the next place, if that takes whole lines as they are.
  private mutating func finish(before next: AccessDestination?) {
    // Where there was none, what waits is for the next one.
    guard orders.destination != nil else { return }
    let end = SystemClock.monotonicNanoseconds() + Self.endNanoseconds
    while !isIdle && failure == nil && SystemClock.monotonicNanoseconds() < end { _ = turn() }
    if let next, next.syslog == nil, batch.written == 0 { return }
    countLost(batch.lines)
    batch.clear()
  }

  // MARK: Writing

  /// Writes what there is, once round. - Returns: whether it has written anything.
  private mutating func turn() -> Bool {
    guard let destination = orders.destination else { return takeLost() }
    guard open(destination) else { return false }
    if destination.syslog != nil { return sendMessages(destination) }
    if batch.isEmpty { fill() }
    guard !batch.isEmpty else { return false }
    return writeBuffer()
  }

  /// - Returns: false if there is nothing to write to.
  private mutating func open(_ destination: AccessDestination) -> Bool {
    if sink != nil { return true }
    do throws(SystemFailure) {
      sink = try LogSink(destination.target)
      return true
    } catch {
      fail("\(error)", destination)
      return false
    }
  }

  /// Counts and discards lines that a worker added after the access log was removed.
  private mutating func takeLost() -> Bool {
    var lines = 0
    for worker in 0..<feed.count {
      while let entry = feed[worker].pointee.peek() {
        feed[worker].pointee.release(entry)
        lines += 1
      }
    }
    countLost(lines)
    return lines > 0
  }

  /// Moves lines out of the rings, one of each worker in turn.
  private mutating func fill() {
    var isMore = true
    while isMore {
      isMore = false
      for worker in 0..<feed.count {
        guard let entry = feed[worker].pointee.peek(), batch.append(entry.bytes) else { continue }
        feed[worker].pointee.release(entry)
        isMore = true
      }
    }
  }

  private mutating func writeBuffer() -> Bool {
    let count = write(batch.unwritten)
    guard count >= 0 else { return false }
    recovered()
    batch.advance(count)
    return true
  }

  /// - Returns: what was written; negative: nothing, and it is tried again.
  private mutating func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    let result = sink?.write(bytes) ?? -Int(EBADF)
    if result >= 0 { return result }
    if result == -Int(EAGAIN) {
      _ = sink?.hasRoom(milliseconds: Self.roomMilliseconds)
      return -1
    }
    guard let destination = orders.destination else { return -1 }
    fail(
      "write \(destination.target.name): \(String(cString: strerror(Int32(-result))))", destination)
    return result
  }

  // MARK: Messages

  /// One datagram for each line. One without a receiver is lost, as UDP has it; a UNIX socket without a
  /// reader is tried again.
  private mutating func sendMessages(_ destination: AccessDestination) -> Bool {
    guard let header = destination.syslog else { return false }
    var sent = false
    for worker in 0..<feed.count {
      while let entry = feed[worker].pointee.peek() {
        let length = header.write(entry.bytes, microseconds: entry.microseconds, into: batch.memory)
        let result =
          sink?.write(UnsafeRawBufferPointer(rebasing: batch.memory[..<length])) ?? -Int(EBADF)
        switch -result {
        case Int(EAGAIN), Int(ENOBUFS):
          _ = sink?.hasRoom(milliseconds: Self.roomMilliseconds)
          return sent
        case Int(EMSGSIZE): countLost(1)
        case Int(ECONNREFUSED) where !isLocal(destination): countLost(1)
        case 1...:
          fail(
            "send \(destination.target.name): \(String(cString: strerror(Int32(-result))))",
            destination)
          return false
        default: recovered()
        }
        feed[worker].pointee.release(entry)
        sent = true
      }
    }
    return sent
  }

  private func isLocal(_ destination: AccessDestination) -> Bool {
    guard case .datagram(let address, _) = destination.target else { return false }
    return address.isUnix
  }

  // MARK: What goes wrong

  /// It is tried again after a while, with what it was opened by anew.
  private mutating func fail(_ reason: String, _ destination: AccessDestination) {
    sink = nil
    retryAt = SystemClock.monotonicNanoseconds() + Self.retryNanoseconds
    guard failure != reason else { return }
    failure = reason
    logger.error(
      """
      cannot write access log destination=\(destination.target.name) error="\(reason)" \
      effect="retrying every second; lines beyond the buffer are dropped and counted"
      """)
  }

  private mutating func recovered() {
    guard failure != nil else { return }
    failure = nil
    logger.notice("access log writable again destination=\(orders.destination?.target.name ?? "-")")
  }

  /// A file that is not at its path any more, twice, is made anew there.
  private mutating func look(_ now: Int64) {
    guard sink != nil, now >= nextLook else { return }
    nextLook = now + Self.lookNanoseconds
    if sink?.isStillThere() ?? true {
      isMissing = false
    } else if isMissing {
      isMissing = false
      sink = nil
    } else {
      isMissing = true
    }
  }

  private func countLost(_ lines: Int) {
    guard lines > 0 else { return }
    // Of one ring, whichever: the sum is what counts.
    feed[0].pointee.lost.wrappingAdd(lines, ordering: .relaxed)
  }

  private mutating func report(_ now: Int64) {
    let missing = feed.missing
    guard missing != missingReported, now >= nextReport else { return }
    logger.warning(
      """
      access log lines dropped count=\(missing - missingReported) \
      destination=\(orders.destination?.target.name ?? "-") \
      hint="the destination is slower than the traffic, or cannot be written; use sample, or a faster one"
      """)
    missingReported = missing
    nextReport = now == .max ? .max : now + Self.reportNanoseconds
  }
}
