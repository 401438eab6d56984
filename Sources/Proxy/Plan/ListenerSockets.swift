// Listening sockets on their way to the workers: opened by the process's own thread, which can still refuse a
// plan when one of them fails, or handed to the process. Each worker takes its own once; what nobody took
// is closed with the plan.

import Glibc
import Synchronization

final class ListenerSockets: Sendable {
  /// By listener and worker; what was taken is gone.
  private let numbers: Mutex<[[[Int32]]]>

  /// Listeners whose workers have one socket, with one queue.
  private let shared: Set<Int>

  /// - Parameters:
  ///   - numbers: by listener and worker; owned from here on. An empty list: no socket for the listener.
  ///   - shared: listeners whose sockets are one.
  init(_ numbers: [[[Int32]]], shared: Set<Int> = []) {
    self.numbers = Mutex(numbers)
    self.shared = shared
  }

  /// The same with one socket for each worker.
  convenience init(_ numbers: [[Int32]]) { self.init(numbers.map { $0.map { [$0] } }) }

  deinit {
    numbers.withLock { all in
      for number in all.joined().joined() { Glibc.close(number) }
    }
  }

  func isShared(_ listener: Int) -> Bool { shared.contains(listener) }

  /// A socket of a worker for a listener, which is the caller's from here on. There may be another one.
  func take(_ listener: Int, worker: Int) -> Int32? {
    numbers.withLock { all in
      guard listener < all.count, worker < all[listener].count, !all[listener][worker].isEmpty
      else { return nil }
      return all[listener][worker].removeFirst()
    }
  }
}
