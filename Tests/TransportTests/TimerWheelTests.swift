import Testing
import Transport

@Suite("Timer wheel")
struct TimerWheelTests {
  private let tick = TimerWheel.tickNanoseconds

  @Test("a node is due after its deadline and never before")
  func dueAfterDeadline() {
    var wheel = TimerWheel(capacity: 4, now: 0)
    wheel.arm(2, at: 10 * tick)
    let due = [10 * tick - 1, 10 * tick, 10 * tick].map { now in wheel.takeDue(now: now) }
    #expect(due == [nil, 2, nil])
    let armed = wheel.armed
    #expect(armed == 0)
  }

  @Test("a disarmed node is never due")
  func disarmed() {
    var wheel = TimerWheel(capacity: 3, now: 0)
    for node in 0..<3 { wheel.arm(node, at: tick) }
    wheel.disarm(1)
    var due: [Int] = []
    while let node = wheel.takeDue(now: 5 * tick) { due.append(node) }
    #expect(due.sorted() == [0, 2])
  }

  @Test("a deadline beyond the horizon is looked at early rather than late")
  func beyondHorizon() {
    var wheel = TimerWheel(capacity: 1, now: 0)
    wheel.arm(0, at: 100_000 * tick)
    var now: Int64 = 0
    while wheel.takeDue(now: now) == nil {
      now += tick
      #expect(now <= 100_000 * tick)
    }
    #expect(now < 100_000 * tick)
  }

  @Test("the next deadline is that of the earliest node, and nil when nothing is armed")
  func nextDeadline() {
    var wheel = TimerWheel(capacity: 2, now: 0)
    var deadlines = [wheel.nextDeadline]
    wheel.arm(0, at: 9 * tick)
    wheel.arm(1, at: 4 * tick)
    deadlines.append(wheel.nextDeadline)
    wheel.disarm(1)
    deadlines.append(wheel.nextDeadline)
    #expect(deadlines == [nil, 4 * tick, 9 * tick])
  }

  @Test("a clock that jumps over the whole wheel loses no node")
  func clockJump() {
    var wheel = TimerWheel(capacity: 100, now: 0)
    for node in 0..<100 { wheel.arm(node, at: Int64(node * 7 + 1) * tick) }
    var count = 0
    while wheel.takeDue(now: 10_000_000 * tick) != nil { count += 1 }
    #expect(count == 100)
  }
}
