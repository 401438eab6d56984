// How the process wakes its workers.

import MillraceEngine
import Synchronization

/// The wakers of all workers: each fills its own in as it starts, and takes it out as it ends.
final class WakerBoard: Sendable {
  private let wakers: Mutex<[Waker?]>

  init(count: Int) { wakers = Mutex(Array(repeating: nil, count: count)) }

  func set(_ index: Int, _ waker: Waker?) { wakers.withLock { $0[index] = waker } }
  func wakeAll() { wakers.withLock { for waker in $0 { waker?.wake() } } }
}
