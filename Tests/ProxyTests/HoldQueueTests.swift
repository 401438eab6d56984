// The queue of responses that are held for their end: order, removal, and its limit in bytes.

import Testing

@testable import Proxy

@Suite("Hold queue")
struct HoldQueueTests {
  @Test("slots are due in the order in which they were held")
  func order() {
    var queue = HoldQueue(capacity: 4, byteLimit: 100)
    var held: [Bool] = []
    for (slot, deadline) in [(2, 10), (0, 10), (3, 11)] as [(UInt32, Int64)] {
      held.append(queue.hold(slot, bytes: 1, until: deadline))
    }
    #expect(held == [true, true, true])
    var due: [UInt32?] = []
    for now in [9, 10, 10, 10] as [Int64] { due.append(queue.takeDue(now: now)) }
    #expect(due == [nil, 2, 0, nil])
    #expect(queue.nextDeadline == 11)
    let last = queue.takeDue(now: 11)
    #expect(last == 3)
    #expect(queue.nextDeadline == .max && queue.count == 0 && queue.bytes == 0)
  }

  @Test("a slot that is held on keeps its deadline and its place")
  func heldOn() {
    var queue = HoldQueue(capacity: 2, byteLimit: 100)
    _ = queue.hold(0, bytes: 1, until: 10)
    _ = queue.hold(1, bytes: 1, until: 11)
    let isHeldOn = queue.hold(0, bytes: 50, until: 20)
    #expect(isHeldOn && queue.bytes == 51 && queue.count == 2)
    let first = queue.takeDue(now: 10)
    #expect(first == 0)
  }

  @Test("any slot may be removed, and again", arguments: [0, 1, 2] as [UInt32])
  func removal(_ removed: UInt32) {
    var queue = HoldQueue(capacity: 3, byteLimit: 100)
    for slot in 0...2 as ClosedRange<UInt32> { _ = queue.hold(slot, bytes: 10, until: 10) }
    queue.remove(removed)
    queue.remove(removed)
    #expect(!queue.contains(removed) && queue.bytes == 20 && queue.count == 2)
    var left: [UInt32] = []
    while let slot = queue.takeDue(now: 10) { left.append(slot) }
    #expect(left == [0, 1, 2].filter { $0 != removed })
  }

  @Test("bytes up to the limit are held, and not one more", arguments: [59, 60, 61])
  func limit(_ bytes: Int) {
    var queue = HoldQueue(capacity: 2, byteLimit: 100)
    _ = queue.hold(0, bytes: 40, until: 10)
    let isHeld = queue.hold(1, bytes: bytes, until: 10)
    #expect(isHeld == (bytes <= 60) && queue.contains(1) == isHeld)
    // One that grows beyond it is let go.
    let isHeldOn = queue.hold(0, bytes: 101, until: 10)
    #expect(!isHeldOn && !queue.contains(0) && queue.bytes == (isHeld ? bytes : 0))
  }
}
