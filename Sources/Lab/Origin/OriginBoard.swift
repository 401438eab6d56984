// What the threads of an origin tell the process: that they listen and where, or why they cannot;
// and what the process tells them: that it ends. Nothing here is touched per request.

import MillraceEngine
import Synchronization

/// The board of one origin.
final class OriginBoard: Sendable {
  /// Threads that listen, or have said why not.
  let settled = Atomic<Int>(0)
  /// Threads that have ended.
  let finished = Atomic<Int>(0)
  /// Asks the threads to end.
  let stops = Atomic<Bool>(false)
  /// How many reports of the counters have been asked for.
  let reports = Atomic<Int>(0)
  private let wakers = Mutex<[Waker]>([])
  private let refusal = Mutex<String?>(nil)
  private let engineText = Mutex<String?>(nil)
  private let places = Mutex<[SocketAddress]>([])

  func add(_ waker: Waker) { wakers.withLock { $0.append(waker) } }

  func wakeAll() {
    wakers.withLock { for waker in $0 { waker.wake() } }
  }

  func refuse(_ reason: String) {
    refusal.withLock { if $0 == nil { $0 = reason } }
  }

  var whyRefused: String? { refusal.withLock { $0 } }

  func note(_ attempts: EngineAttempts) {
    guard let note = attempts.note else { return }
    engineText.withLock { $0 = note }
  }
  var engineNote: String? { engineText.withLock { $0 } }

  /// Where the first thread listens: the ports that the kernel chose are in it.
  func setAddresses(_ addresses: [SocketAddress]) { places.withLock { $0 = addresses } }
  var addresses: [SocketAddress] { places.withLock { $0 } }
}
