// A small bounded set of threads that make blocking file calls for an engine: all of them on epoll, writes
// on io_uring where that is asked for. Started on first use. A job is the number of a slot: of a file
// operation, or of a control operation that has a file on one side. The queue is as long as there are
// slots, so that a submission never waits.
//
// TRAP: (file) an operation's kind says which of its pointers are set, and both are set together
// when it is submitted.

import CLinux
import Glibc

/// Threads for file operations; slots are filled by the engine and results read by it.
final class FileThreads: @unchecked Sendable {
  // Sendable: every field below is touched only under `mutex`, `threads` only by the engine; a slot
  // belongs to exactly one side at a time, handed over under the mutex. For the same reason nothing
  // is asked of the runtime's exclusivity checks, which would cost a call per access in the threads.
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private let slots: UnsafeMutablePointer<FileOperation>
  private let control: UnsafeMutablePointer<ControlOperation>?
  private let waker: Waker
  private let limit: Int
  private let capacity: Int
  private let waiting: UnsafeMutablePointer<UInt32>
  @exclusivity(unchecked) private var waitingHead = 0
  @exclusivity(unchecked) private var waitingTail = 0
  private let finished: UnsafeMutablePointer<UInt32>
  @exclusivity(unchecked) private var finishedHead = 0
  @exclusivity(unchecked) private var finishedTail = 0
  @exclusivity(unchecked) private var idle = 0
  @exclusivity(unchecked) private var stopping = false
  @exclusivity(unchecked) private var threads: [WorkerThread] = []

  /// Set in the number of a job that is a control operation.
  static let controlBit: UInt32 = 1 << 31

  /// - Parameters:
  ///   - capacity: jobs that may be in flight, of both kinds.
  ///   - control: nil where no job is a control operation.
  init(
    limit: Int, capacity: Int, slots: UnsafeMutablePointer<FileOperation>,
    control: UnsafeMutablePointer<ControlOperation>?, waker: Waker
  ) {
    self.limit = limit
    self.capacity = capacity
    self.slots = slots
    self.control = control
    self.waker = waker
    mutex = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
    condition = .allocate(capacity: 1)
    condition.initialize(to: pthread_cond_t())
    pthread_cond_init(condition, nil)
    waiting = .allocate(capacity: capacity)
    finished = .allocate(capacity: capacity)
  }

  func submit(_ slot: UInt32) {
    pthread_mutex_lock(mutex)
    waiting[waitingTail % capacity] = slot
    waitingTail += 1
    let wanted = idle < waitingTail - waitingHead && threads.count < limit
    if idle > 0 { pthread_cond_signal(condition) }
    pthread_mutex_unlock(mutex)
    if wanted { startThread() }
  }

  private func startThread() {
    let number = threads.count
    let started = try? WorkerThread.start(name: "millrace-file\(number)", cpu: nil) {
      [self] in run()
    }
    if let started {
      threads.append(started)
    } else if threads.isEmpty {
      // No thread to be had: the loop makes the call itself rather than lose it.
      if let slot = takeWaiting(wait: false) { perform(slot) }
    }
  }

  /// Takes an operation back that no thread has begun. - Returns: false if one has.
  func withdraw(_ slot: UInt32) -> Bool {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    for at in waitingHead..<waitingTail where waiting[at % capacity] == slot {
      for later in at..<(waitingTail - 1) {
        waiting[later % capacity] = waiting[(later + 1) % capacity]
      }
      waitingTail -= 1
      return true
    }
    return false
  }

  func takeFinished() -> UInt32? {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    guard finishedHead != finishedTail else { return nil }
    let slot = finished[finishedHead % capacity]
    finishedHead += 1
    return slot
  }

  /// Ends the threads. Nothing is in flight any more.
  func stop() {
    pthread_mutex_lock(mutex)
    stopping = true
    pthread_cond_broadcast(condition)
    pthread_mutex_unlock(mutex)
    for thread in threads { thread.join() }
    threads = []
  }

  deinit {
    pthread_mutex_destroy(mutex)
    pthread_cond_destroy(condition)
    mutex.deallocate()
    condition.deallocate()
    waiting.deallocate()
    finished.deallocate()
  }

  private func run() {
    while let slot = takeWaiting(wait: true) { perform(slot) }
  }

  private func takeWaiting(wait: Bool) -> UInt32? {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    while waitingHead == waitingTail {
      if stopping || !wait { return nil }
      idle += 1
      pthread_cond_wait(condition, mutex)
      idle -= 1
    }
    let slot = waiting[waitingHead % capacity]
    waitingHead += 1
    return slot
  }

  private func perform(_ slot: UInt32) {
    if slot & Self.controlBit != 0, let control {
      let operation = control + Int(slot & ~Self.controlBit)
      operation.pointee.result = Self.splice(operation)
    } else {
      slots[Int(slot)].result = Self.call(slots + Int(slot))
    }
    pthread_mutex_lock(mutex)
    // The loop takes until nothing is left: one wake is enough for all that it has not taken.
    let isFirst = finishedHead == finishedTail
    finished[finishedTail % capacity] = slot
    finishedTail += 1
    pthread_mutex_unlock(mutex)
    if isFirst { waker.wake() }
  }

  private static func splice(_ operation: UnsafeMutablePointer<ControlOperation>) -> Int32 {
    while true {
      let moved = clinux_splice(
        operation.pointee.realInput, operation.pointee.realOutput, operation.pointee.count,
        UInt32(CLINUX_SPLICE_MOVE))
      if moved != -Int(EINTR) { return Int32(clamping: moved) }
    }
  }

  private static func call(_ operation: UnsafeMutablePointer<FileOperation>) -> Int32 {
    while true {
      let result = callOnce(operation)
      // After EINTR the number that was to be closed is gone, close(2): it may be somebody else's.
      if result != -EINTR || operation.pointee.kind == .close { return result }
    }
  }

  private static func callOnce(_ operation: UnsafeMutablePointer<FileOperation>) -> Int32 {
    let o = operation.pointee
    let result: Int
    switch o.kind {
    case .open, .openDirect: result = Int(clinux_open(o.path!, o.flags, o.mode))
    case .status: return clinux_statx_call(o.descriptor, o.path, o.status!)
    case .readVector:
      result = clinux_preadv(
        o.descriptor, o.list!.pointee.vectors, Int32(o.list!.pointee.count), off_t(o.offset))
    case .writeVector:
      result = clinux_pwritev2(
        o.descriptor, o.list!.pointee.vectors, Int32(o.list!.pointee.count), off_t(o.offset),
        o.durable ? CLINUX_RWF_DSYNC : 0)
    case .read: result = pread(o.descriptor, o.buffer, o.count, off_t(o.offset))
    case .write:
      var vector = iovec(iov_base: o.buffer, iov_len: o.count)
      result = clinux_pwritev2(
        o.descriptor, &vector, 1, off_t(o.offset), o.durable ? CLINUX_RWF_DSYNC : 0)
    case .synchronize: result = Int(fsync(o.descriptor))
    case .synchronizeData: result = Int(fdatasync(o.descriptor))
    case .allocate:
      result = Int(clinux_fallocate(o.descriptor, o.flags, o.offset, Int64(o.count)))
    case .truncate: result = Int(ftruncate(o.descriptor, off_t(o.offset)))
    case .rename: result = Int(Glibc.rename(o.path!, o.secondPath!))
    case .unlink: result = Int(Glibc.unlink(o.path!))
    case .close: result = Int(Glibc.close(o.descriptor))
    }
    return result < 0 ? -errno : Int32(clamping: result)
  }
}
