// Lines for an operator, written by a thread of their own: a reader of the log that does not read
// must delay nobody. The queue is bounded; what does not fit is counted and said later.

import CLinux
import Glibc

/// Writes whole lines to a descriptor, from any thread, without ever waiting for its reader.
public final class LineWriter: @unchecked Sendable {
  // Sendable: every field below is touched only under `mutex`.
  private let descriptor: Int32
  private let limit: Int
  private let lossLine: @Sendable (Int) -> [UInt8]
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private var waiting: [[UInt8]] = []
  private var waitingBytes = 0
  private var lost = 0
  private var busy = false
  private var started = false

  /// - Parameters:
  ///   - descriptor: written to; never closed.
  ///   - limit: bytes that may wait; lines beyond are dropped and counted.
  ///   - lossLine: makes the line that tells how many were dropped.
  public init(
    descriptor: Int32, limit: Int = 1 << 20, lossLine: @escaping @Sendable (Int) -> [UInt8]
  ) {
    self.descriptor = descriptor
    self.limit = limit
    self.lossLine = lossLine
    mutex = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
    condition = .allocate(capacity: 1)
    condition.initialize(to: pthread_cond_t())
    pthread_cond_init(condition, nil)
  }

  /// Starts the thread. Until then lines are written at once by whoever has them, which is right
  /// while there is only one thread, and necessary while the process may still fork.
  public func start() {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    guard !started else { return }
    let thread = try? WorkerThread.start(name: "millrace-log", cpu: nil) { [self] in run() }
    started = thread != nil
  }

  /// Writes a line, which ends in a newline, or queues it.
  public func write(_ line: [UInt8]) {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    guard started else { return Self.put(line, descriptor) }
    guard waitingBytes + line.count <= limit else {
      lost += 1
      return
    }
    waiting.append(line)
    waitingBytes += line.count
    pthread_cond_signal(condition)
  }

  /// Waits until everything is written, at most `milliseconds`: the last act of a process.
  public func drain(milliseconds: Int) {
    for _ in 0..<milliseconds {
      pthread_mutex_lock(mutex)
      let done = waiting.isEmpty && !busy
      pthread_mutex_unlock(mutex)
      if done { return }
      usleep(1000)
    }
  }

  private func run() {
    while true {
      pthread_mutex_lock(mutex)
      busy = false
      while waiting.isEmpty { pthread_cond_wait(condition, mutex) }
      busy = true
      var lines: [[UInt8]] = []
      swap(&lines, &waiting)
      waitingBytes = 0
      let missing = lost
      lost = 0
      pthread_mutex_unlock(mutex)
      for line in lines { Self.put(line, descriptor) }
      if missing > 0 {
        Self.put(lossLine(missing), descriptor)
      }
    }
  }

  private static func put(_ line: [UInt8], _ descriptor: Int32) {
    line.withUnsafeBytes { bytes in
      var at = 0
      while at < bytes.count {
        let written = Glibc.write(descriptor, bytes.baseAddress! + at, bytes.count - at)
        if written > 0 { at += written } else if errno != EINTR { return }
      }
    }
  }
}
