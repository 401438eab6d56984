// What the threads of a run share: the start, the stop, and the course of the run in quarters of a
// second. A thread touches the board four times a second, never for a request.

import MillraceEngine
import Synchronization

/// The board of one run.
final class LoadBoard: Sendable {
  let threads: Int
  /// Asks the threads to end early.
  let stops = Atomic<Bool>(false)
  /// Monotonic nanoseconds at which the warm-up begins; 0: not yet.
  let startAt = Atomic<Int64>(0)
  /// Threads whose connections are all there, or have failed for the first time.
  let settled = Atomic<Int>(0)
  /// Threads that have ended.
  let finished = Atomic<Int>(0)
  private let wakers = Mutex<[Waker]>([])
  /// In words, why a server could not be reached at all, or an engine not be made.
  private let refusal = Mutex<String?>(nil)
  private let course: Mutex<LoadCourse>
  /// Where slices are ordered; nil: one load from start to end.
  let desk: SliceDesk?

  init(threads: Int, desk: SliceDesk? = nil) {
    self.threads = threads
    self.desk = desk
    course = Mutex(LoadCourse(threads: threads))
  }

  func add(_ waker: Waker) { wakers.withLock { $0.append(waker) } }

  func wakeAll() {
    wakers.withLock { for waker in $0 { waker.wake() } }
  }

  func refuse(_ reason: String) {
    refusal.withLock { if $0 == nil { $0 = reason } }
  }

  var whyRefused: String? { refusal.withLock { $0 } }

  func deliver(_ index: Int, _ quarter: inout LoadQuarter) {
    course.withLock { $0.deliver(index, &quarter) }
  }

  func withCourse<R: Sendable>(_ body: (inout LoadCourse) -> R) -> R {
    course.withLock { body(&$0) }
  }
}

/// What a thread has seen in a quarter of a second.
struct LoadQuarter: ~Copyable, Sendable {
  static let nanoseconds: Int64 = 250_000_000

  var sent = 0
  var completed = 0
  var failed = 0
  var latencies = IntervalHistogram()

  mutating func add(_ other: borrowing LoadQuarter) {
    sent += other.sent
    completed += other.completed
    failed += other.failed
    latencies.add(other.latencies)
  }

  mutating func clear() {
    sent = 0
    completed = 0
    failed = 0
    latencies.clear()
  }
}

/// The quarters of all threads, put together in their order.
struct LoadCourse: ~Copyable, @unchecked Sendable {
  // Unchecked because of the pointer, which nobody else has.

  /// Quarters that threads may be apart: four seconds. Beyond it a thread that has stood still for
  /// so long finds its quarter closed, and what it saw counts for a later one.
  private static let depth = 16

  private let threads: Int
  private let quarters: UnsafeMutablePointer<LoadQuarter>
  private var indexes = [Int](repeating: .min, count: depth)
  private var delivered = [Int](repeating: 0, count: depth)
  /// The second that is being put together, of four quarters.
  private var second = LoadQuarter()
  private(set) var intervals: [LoadInterval] = []
  private(set) var sent = 0
  private(set) var completed = 0
  private(set) var failed = 0
  /// Of the last quarter.
  private(set) var rate = 0.0
  private(set) var p50 = 0
  private(set) var p99 = 0

  init(threads: Int) {
    self.threads = threads
    quarters = .allocate(capacity: Self.depth)
    for i in 0..<Self.depth { (quarters + i).initialize(to: LoadQuarter()) }
  }

  deinit {
    quarters.deinitialize(count: Self.depth)
    quarters.deallocate()
  }

  /// Takes a thread's quarter, and clears it. Quarters are counted from the start of the counted part;
  /// those of the warm-up are negative.
  mutating func deliver(_ index: Int, _ quarter: inout LoadQuarter) {
    let place = ((index % Self.depth) + Self.depth) % Self.depth
    if indexes[place] < index {
      if delivered[place] > 0 { close(place) }
      indexes[place] = index
    }
    quarters[place].add(quarter)
    quarter.clear()
    delivered[place] += 1
    if delivered[place] >= threads { close(place) }
  }

  private mutating func close(_ place: Int) {
    sent += quarters[place].sent
    completed += quarters[place].completed
    failed += quarters[place].failed
    rate = Double(quarters[place].completed) * 1e9 / Double(LoadQuarter.nanoseconds)
    p50 = quarters[place].latencies.value(at: 0.5)
    p99 = quarters[place].latencies.value(at: 0.99)
    if indexes[place] >= 0 {
      second.add(quarters[place])
      if indexes[place] % 4 == 3 { endInterval(at: Double(indexes[place] / 4 + 1)) }
    }
    quarters[place].clear()
    delivered[place] = 0
  }

  private mutating func endInterval(at end: Double) {
    var interval = LoadInterval()
    interval.end = end
    interval.completed = second.completed
    interval.failed = second.failed
    interval.p50 = second.latencies.value(at: 0.5)
    interval.p99 = second.latencies.value(at: 0.99)
    intervals.append(interval)
    second.clear()
  }

  /// The last interval, where the counted part was no whole number of seconds.
  mutating func end(at seconds: Double) {
    for place in indexes.indices.sorted(by: { indexes[$0] < indexes[$1] })
    where delivered[place] > 0 { close(place) }
    if seconds > (intervals.last?.end ?? 0) + 0.01 { endInterval(at: seconds) }
    second.clear()
  }
}
