// Listening sockets on their way to the workers: opened by the process's own thread, which can still refuse a
// plan when one of them fails, or handed to the process. Each worker takes its own once; what nobody took
// is closed with the plan.

import Glibc
import Synchronization

final class ListenerSockets: Sendable {
  /// By listener and worker; negative: none, or taken.
  private let numbers: Mutex<[[Int32]]>

  /// Those of a listener are one socket, with one queue.
  let areShared: Bool

  /// - Parameter numbers: by listener and worker; owned from here on. An empty list: no socket for the listener.
  init(_ numbers: [[Int32]], areShared: Bool = false) {
    self.numbers = Mutex(numbers)
    self.areShared = areShared
  }

  deinit {
    numbers.withLock { all in
      for number in all.joined() where number >= 0 { Glibc.close(number) }
    }
  }

  /// The socket of a worker for a listener, which is the caller's from here on.
  func take(_ listener: Int, worker: Int) -> Int32? {
    numbers.withLock { all in
      guard listener < all.count, worker < all[listener].count, all[listener][worker] >= 0 else {
        return nil
      }
      defer { all[listener][worker] = -1 }
      return all[listener][worker]
    }
  }
}
