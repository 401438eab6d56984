import Testing

@testable import Proxy

@Suite("When changed files are looked at")
struct ReloadDebounceTests {
  private let quiet = ReloadDebounce.quietNanoseconds
  private let longest = ReloadDebounce.longestNanoseconds

  @Test("a moment after the last change, once")
  func quietTime() {
    var debounce = ReloadDebounce()
    #expect(debounce.deadline == .max)
    var isDue = debounce.takeDue(now: 1_000_000)
    #expect(!isDue)
    debounce.note(now: 0)
    debounce.note(now: quiet / 2)
    isDue = debounce.takeDue(now: quiet)
    #expect(!isDue)
    #expect(debounce.deadline == quiet / 2 + quiet)
    isDue = debounce.takeDue(now: quiet / 2 + quiet)
    #expect(isDue)
    isDue = debounce.takeDue(now: .max - 1)
    #expect(!isDue)
  }

  @Test("in the end also while changes do not end")
  func longestTime() {
    var debounce = ReloadDebounce()
    var now: Int64 = 0
    while !debounce.takeDue(now: now) {
      debounce.note(now: now)
      now += quiet / 3
      #expect(now < 2 * longest)
    }
    #expect(now >= longest && now < longest + quiet)
  }
}
