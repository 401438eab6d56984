// Spans on their way to the collector: a thread takes them out of the workers' rings, packs them, and posts
// them. A collector that is slow or absent costs spans, which are counted, and nothing else.

import Admin
import Configuration
import Glibc
import Logging
import MillraceEngine
import Synchronization

/// The tracing of all workers.
final class TraceExport: Sendable {
  let feed: LineFeed
  private let samplePerMillion: Int
  private let isStopping = Atomic<Bool>(false)
  private let isFinished = Atomic<Bool>(false)

  /// Starts the thread.
  init(
    workers: Int, _ tracing: TracingConfiguration, _ logger: Logger
  ) throws(SystemFailure) {
    feed = try LineFeed(workers: workers)
    samplePerMillion = tracing.samplePerMillion
    feed.open(true)
    _ = try WorkerThread.start(name: "millrace-traces", cpu: nil) { [self] in
      var sender = TraceSender(feed, tracing, logger)
      while !isStopping.load(ordering: .acquiring) { sender.turn(isStopping) }
      sender.finish()
      isFinished.store(true, ordering: .releasing)
    }
  }

  func parameters(_ worker: Int) -> TraceParameters {
    var seed: UInt64 = 0
    withUnsafeMutableBytes(of: &seed) { SystemRandomness.fill($0) }
    return TraceParameters(
      source: feed.source(worker), samplePerMillion: samplePerMillion, seed: seed)
  }

  /// Sends what is there and ends. - Parameter milliseconds: to wait at most.
  func stop(milliseconds: Int) {
    isStopping.store(true, ordering: .releasing)
    feed.signal.call()
    for _ in 0..<milliseconds {
      if isFinished.load(ordering: .acquiring) { return }
      Pause.microseconds(1000)
    }
  }
}

/// The thread's own part.
private struct TraceSender: ~Copyable {
  private let feed: LineFeed
  private let collector: Collector
  private let logger: Logger
  /// What stands in front of the spans of a batch, and behind them.
  private let opening: [UInt8]
  private let closing = Array("]}]}]}".utf8)
  private var batch: [UInt8] = []
  /// Exchanges in the batch.
  private var count = 0
  private var lost = 0
  private var reported = 0
  private var nextReport: Int64 = 0

  /// Exchanges and bytes of one request to the collector.
  private static let batchCount = 512
  private static let batchBytes = 1 << 20
  private static let gatherNanoseconds: Int64 = 1_000_000_000
  private static let reportNanoseconds: Int64 = 10_000_000_000
  /// Tries of one batch, and the wait behind the first of them, which doubles.
  private static let tries = 4
  private static let waitNanoseconds: Int64 = 1_000_000_000
  /// What a collector may ask for by Retry-After.
  private static let waitMaximum: Int64 = 30_000_000_000

  init(_ feed: LineFeed, _ tracing: TracingConfiguration, _ logger: Logger) {
    self.feed = feed
    self.logger = logger
    collector = Collector(tracing)
    func attribute(_ key: String, _ value: String) -> JSONValue {
      .object([
        .init("key", .text(key)), .init("value", .object([.init("stringValue", .text(value))])),
      ])
    }
    let attributes = JSONValue.array([
      attribute("service.name", tracing.serviceName),
      attribute("service.version", ProductVersion.number),
      attribute("host.name", HostName.current),
      attribute("process.pid", String(HostName.process)),
    ])
    // The value's own text may end in a newline.
    let resource = attributes.text.split(separator: "\n").joined()
    opening = Array(
      ("{\"resourceSpans\":[{\"resource\":{\"attributes\":\(resource)},\"scopeSpans\":[{\"scope\":"
        + "{\"name\":\"millrace\"},\"spans\":[").utf8)
  }

  /// Waits for spans, gathers more of them, and sends one batch or several.
  mutating func turn(_ isStopping: borrowing Atomic<Bool>) {
    feed.waitForLines(
      nanoseconds: feed.missing == reported
        ? .max : max(0, nextReport - SystemClock.monotonicNanoseconds()))
    report()
    if feed.isEmpty || isStopping.load(ordering: .acquiring) { return }
    feed.gather(nanoseconds: Self.gatherNanoseconds)
    while fill() {
      send(isStopping)
      report()
      if isStopping.load(ordering: .acquiring) { return }
    }
  }

  /// The last of them: one try each.
  mutating func finish() {
    while fill() {
      if case .done = collector.post(body) { clear() } else { drop() }
    }
  }

  /// - Returns: whether there is a batch.
  private mutating func fill() -> Bool {
    var isMore = true
    while isMore, count < Self.batchCount, batch.count < Self.batchBytes {
      isMore = false
      for worker in 0..<feed.count {
        guard let entry = feed[worker].pointee.peek() else { continue }
        if count > 0 { batch.append(0x2C) }
        batch.append(contentsOf: entry.bytes)
        count += 1
        feed[worker].pointee.release(entry)
        isMore = true
      }
    }
    return count > 0
  }

  private var body: [UInt8] { opening + batch + closing }

  private mutating func clear() {
    batch.removeAll(keepingCapacity: true)
    count = 0
  }

  /// Of one ring, whichever: the sum is what counts.
  private mutating func drop() {
    feed[0].pointee.lost.wrappingAdd(count, ordering: .relaxed)
    clear()
  }

  /// Sends the batch, again where the collector may take it later (OTLP/HTTP, "Failures").
  private mutating func send(_ isStopping: borrowing Atomic<Bool>) {
    let body = body
    var wait = Self.waitNanoseconds
    for attempt in 1...Self.tries {
      switch collector.post(body) {
      case .done: return clear()
      case .refused(let reason):
        log(reason)
        return drop()
      case .later(let reason, let asked):
        guard attempt < Self.tries, !isStopping.load(ordering: .acquiring) else {
          log(reason)
          return drop()
        }
        pause(min(max(wait, asked), Self.waitMaximum), isStopping)
        wait *= 2
      }
    }
  }

  private func pause(_ nanoseconds: Int64, _ isStopping: borrowing Atomic<Bool>) {
    let end = SystemClock.monotonicNanoseconds() + nanoseconds
    while !isStopping.load(ordering: .acquiring) {
      let left = end - SystemClock.monotonicNanoseconds()
      if left <= 0 { return }
      feed.signal.wait(nanoseconds: left)
    }
  }

  // MARK: Words

  private var lastReason = ""

  private mutating func log(_ reason: String) { lastReason = reason }

  private mutating func report() {
    let missing = feed.missing
    let now = SystemClock.monotonicNanoseconds()
    guard missing != reported, now >= nextReport else { return }
    logger.warning(
      """
      traces dropped count=\(missing - reported) endpoint=\(collector.name) \
      error="\(lastReason.isEmpty ? "no room in the buffer" : lastReason)" \
      hint="check tracing.endpoint and the collector, or lower tracing.sample"
      """)
    reported = missing
    nextReport = now + Self.reportNanoseconds
    lastReason = ""
  }
}
