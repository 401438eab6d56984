// A world that is made from a seed.
//
// How it works:
// 1. There is one clock, which stands still while anybody acts and moves only while an engine waits:
//    to the next thing that was put on the schedule, in the order of time and, at one time, in the
//    order in which it was put there.
// 2. There is one die. Every decision is its throw: latencies, sizes, orders, faults.
// 3. Engines, peers and the disk are plain objects in memory. No system call, no thread, no clock
//    and no address of the machine takes part, so a seed repeats a run to the last bit.
// 4. A world belongs to one thread. Several engines may live in it; each moves the clock for all.

import CLinux
import Glibc

/// A clock, a network and a disk that exist in memory only.
public final class SimulatedWorld {
  /// What everything here follows from.
  public let seed: UInt64
  /// How hard the world is; may change while it runs.
  public var conditions: SimulatedConditions
  /// Virtual monotonic nanoseconds.
  public private(set) var now: Int64
  /// The one die.
  public var dice: SimulatedDice
  /// The disk of every engine here.
  public let disk: SimulatedDisk
  /// What has happened.
  public var trace = SimulatedTrace()
  /// No descriptor can be had while this is true: EMFILE.
  public var isOutOfDescriptors = false

  /// Microseconds since the epoch at which virtual time was zero: 2026-01-01 00:00 UTC.
  static let wallEpoch: Int64 = 1_767_225_600_000_000

  /// Microseconds since the epoch.
  public var wallMicroseconds: Int64 { Self.wallEpoch + now / 1000 }

  private struct Event {
    let time: Int64
    let order: UInt64
    let body: () -> Void
  }

  /// A binary heap by time and order.
  private var events: [Event] = []
  private var nextOrder: UInt64 = 0

  var network = SimulatedNetwork()

  /// A world in which nothing has happened yet.
  public init(seed: UInt64, _ conditions: SimulatedConditions = .init()) {
    self.seed = seed
    self.conditions = conditions
    var dice = SimulatedDice(seed: seed)
    now = 1_000_000_000 + Int64(dice.roll(1_000_000_000_000))
    self.dice = dice
    disk = SimulatedDisk()
    disk.world = self
  }

  deinit { network.dissolve() }

  // MARK: Time

  /// Runs `body` in virtual time, from inside the `wait` of an engine.
  public func after(_ nanoseconds: Int64, _ body: @escaping () -> Void) {
    schedule(now + max(0, nanoseconds), body)
  }

  func schedule(_ time: Int64, _ body: @escaping () -> Void) {
    events.append(Event(time: max(time, now), order: nextOrder, body: body))
    nextOrder += 1
    var i = events.count - 1
    while i > 0 {
      let parent = (i - 1) / 2
      guard isEarlier(i, parent) else { break }
      events.swapAt(i, parent)
      i = parent
    }
  }

  private func isEarlier(_ a: Int, _ b: Int) -> Bool {
    events[a].time < events[b].time
      || (events[a].time == events[b].time && events[a].order < events[b].order)
  }

  private func popEvent() -> Event {
    events.swapAt(0, events.count - 1)
    let event = events.removeLast()
    var i = 0
    while true {
      var least = i
      for child in [2 * i + 1, 2 * i + 2] where child < events.count && isEarlier(child, least) {
        least = child
      }
      if least == i { return event }
      events.swapAt(i, least)
      i = least
    }
  }

  /// True when nothing is on the schedule.
  public func idle() -> Bool { events.isEmpty }

  /// When the next thing is on the schedule.
  public var nextEvent: Int64? { events.first?.time }

  /// Lets time pass without any engine, and everything happen that is due until then.
  public func advance(by nanoseconds: Int64) { advance(to: now + max(0, nanoseconds)) }

  /// Moves the clock to the next thing on the schedule and does it, with all that is due at the
  /// same time.
  /// - Returns: false if nothing is on the schedule.
  @discardableResult
  public func step() -> Bool {
    guard let time = nextEvent else { return false }
    now = max(now, time)
    catchUp()
    return true
  }

  func advance(to time: Int64) {
    while let next = nextEvent, next <= time { step() }
    now = max(now, time)
  }

  /// Does what is due now.
  func catchUp() {
    while let next = nextEvent, next <= now { popEvent().body() }
  }

  /// Time passes for whoever acts, too: a loop that only looks at the clock comes to an end.
  func tick(_ atMost: Int) { now += Int64(1 + dice.roll(atMost)) }

  /// One way through the network, once.
  func latency() -> Int64 {
    var time = dice.roll(conditions.latency)
    if dice.chance(conditions.latencySpikes) { time += dice.roll(conditions.latencySpike) }
    return Int64(time)
  }

  func note(
    _ kind: SimulatedTrace.Kind, _ subject: UInt64, _ value: Int64, _ detail: UInt64 = 0
  ) { trace.add(kind, at: now, subject, value, detail) }

  /// Ends the process: an engine waits for ever, and nothing will ever happen.
  func standsStill() -> Never {
    let text =
      "the simulated world stands still: seed \(seed), time \(now); the last of its trace:\n"
      + trace.tail
    var bytes = Array(text.utf8)
    _ = Glibc.write(2, &bytes, bytes.count)
    preconditionFailure("the simulated world has no event left")
  }
}
