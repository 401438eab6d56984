import Testing

@testable import Proxy

@Suite("When the watchdog is fed")
struct WatchdogFeedTests {
  @Test("only behind an answer of all workers, four times in what it allows")
  func steps() {
    var feed = WatchdogFeed(limit: 1000, now: 50)
    #expect(feed.nextLook == 50)
    // Nobody was asked: what they answered once says nothing.
    var step = feed.look(now: 50, haveAnswered: true)
    #expect(step == .call)
    #expect(feed.nextLook == 300)
    step = feed.look(now: 300, haveAnswered: true)
    #expect(step == .feed)
    step = feed.look(now: 550, haveAnswered: false)
    #expect(step == .wait)
    step = feed.look(now: 800, haveAnswered: false)
    #expect(step == .wait)
    step = feed.look(now: 1050, haveAnswered: true)
    #expect(step == .feed)
  }

  @Test("without one there is nothing to do")
  func none() {
    #expect(WatchdogFeed(limit: nil, now: 50).nextLook == .max)
  }
}
