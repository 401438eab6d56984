// Which worker serves which queue of a network device, for `placement: queue`: busy polling pays when
// one thread polls one queue and serves all that comes by it (Documentation/networking/napi.rst of
// the kernel). Touched once per accepted connection; nothing else of the process is.

import MillraceEngine
import Synchronization

final class QueueBoard: Sendable {
  /// Queues that are told apart; connections by further ones stay where they were accepted. Four
  /// cards of 64 queues.
  static let capacity = 256

  /// A NAPI id (32 bits) and the worker's index plus one; 0: free.
  private struct Places: ~Copyable {
    let words: UnsafeMutablePointer<Atomic<UInt64>>
    init() {
      words = .allocate(capacity: QueueBoard.capacity)
      for i in 0..<QueueBoard.capacity { (words + i).initialize(to: Atomic(0)) }
    }
    deinit { words.deallocate() }
  }

  // SAFETY: atomics, never moved; freed with the board.
  private nonisolated(unsafe) let places = Places()
  private let mailboxes: Mutex<[Mailbox?]>
  private let next = Atomic<Int>(0)
  let workerCount: Int

  init(workerCount: Int) {
    self.workerCount = workerCount
    mailboxes = Mutex(Array(repeating: nil, count: workerCount))
  }

  func set(_ worker: Int, _ mailbox: Mailbox) { mailboxes.withLock { $0[worker] = mailbox } }
  func mailbox(of worker: Int) -> Mailbox? { mailboxes.withLock { $0[worker] } }

  /// The worker of a queue: a queue that nobody has seen yet is given to the next worker in turn.
  /// nil when all places are taken.
  func worker(of queue: Int) -> Int? {
    for i in 0..<Self.capacity {
      var word = places.words[i].load(ordering: .relaxed)
      if word == 0 {
        let worker = next.load(ordering: .relaxed) % workerCount
        let claim = UInt64(UInt32(truncatingIfNeeded: queue)) << 32 | UInt64(worker + 1)
        let (isOurs, found) = places.words[i].compareExchange(
          expected: 0, desired: claim, ordering: .relaxed)
        if isOurs {
          next.wrappingAdd(1, ordering: .relaxed)
          return worker
        }
        word = found
      }
      if word >> 32 == UInt64(UInt32(truncatingIfNeeded: queue)) {
        return Int(word & 0xFFFF_FFFF) - 1
      }
    }
    return nil
  }
}
