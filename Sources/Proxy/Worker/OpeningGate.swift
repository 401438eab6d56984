// Where the workers of a process that takes the place of another wait, ready but for their listeners, until the
// other one accepts no more: a listening socket has one blocking mode, whatever the number of its owners, and the
// engines differ in what they need.

import MillraceEngine
import Synchronization

final class OpeningGate: Sendable {
  private static let waiting = 0
  private static let opened = 1
  private static let closed = 2
  private static let pauseMicroseconds: UInt32 = 100

  private let state = Atomic<Int>(OpeningGate.waiting)

  /// Waits on a worker's thread, before it serves anything.
  /// - Returns: false if there will be nothing to listen on.
  func pass() -> Bool {
    while true {
      switch state.load(ordering: .acquiring) {
      case Self.opened: return true
      case Self.closed: return false
      default: Pause.microseconds(Self.pauseMicroseconds)
      }
    }
  }

  func open() { state.store(Self.opened, ordering: .releasing) }
  func close() { state.store(Self.closed, ordering: .releasing) }
}
