import Testing

@testable import Proxy

@Suite("The steps of a drain")
struct DrainTests {
  private let second: Int64 = 1_000_000_000

  @Test("an idle connection has half of the time, and two seconds at most")
  func grace() {
    var short = Drain()
    let half = short.begin(now: 0, time: second)
    #expect(half == second / 2)
    var long = Drain()
    let most = long.begin(now: 0, time: 60 * second)
    #expect(most == 2 * second)
    #expect(!long.isServing && !long.isFinished)
  }

  @Test("it looks at once, then every 50 ms, and sooner when a connection has closed")
  func looks() {
    var drain = Drain()
    var looks = [drain.isDue(now: 100)]
    _ = drain.begin(now: 100, time: second)
    looks.append(drain.isDue(now: 100))
    looks.append(drain.isDue(now: 100))
    #expect(drain.nextLook == 50_000_100)
    drain.lookSoon(now: 200)
    looks.append(drain.isDue(now: 200))
    #expect(looks == [false, true, false, true])
  }

  @Test("each step has a deadline of its own")
  func deadlines() {
    var drain = Drain()
    _ = drain.begin(now: 0, time: second)
    #expect(!drain.isOverdue(now: second - 1) && drain.isOverdue(now: second))
    drain.closeLog(now: second)
    #expect(!drain.isOverdue(now: 11 * second - 1) && drain.isOverdue(now: 11 * second))
    drain.finish()
    #expect(drain.isFinished && drain.nextLook == .max)
  }

  @Test("before it has begun a closed connection is nothing to look at")
  func serving() {
    var drain = Drain()
    drain.lookSoon(now: 5)
    #expect(drain.nextLook == .max && drain.isServing)
  }
}
