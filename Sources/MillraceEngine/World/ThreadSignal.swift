// What one thread waits for while others call it: an eventfd(2), to be waited for beside other descriptors.

import Glibc

/// Calls that come before the wait are not lost, and several count as one.
public final class ThreadSignal: Sendable {
  private let descriptor: WakeDescriptor

  /// - Throws: EMFILE or ENFILE where no descriptor is left.
  public init() throws(SystemFailure) {
    descriptor = try WakeDescriptor(flags: Int32(O_NONBLOCK))
  }

  /// Ends the wait of the thread, or its next one. From any thread.
  public func call() { Waker(descriptor).wake() }

  /// Waits for a call, or until another descriptor is readable, or for a time.
  /// - Parameters:
  ///   - other: a descriptor to wait for too; negative: none.
  ///   - nanoseconds: at most; Int64.max: for ever.
  public func wait(beside other: Int32 = -1, nanoseconds: Int64) {
    var wanted = [
      pollfd(fd: descriptor.number, events: Int16(POLLIN), revents: 0),
      pollfd(fd: other, events: Int16(POLLIN), revents: 0),
    ]
    // Rounded up, so that the last millisecond is not spent in turns of a loop.
    let limit =
      nanoseconds == .max ? -1 : Int32(clamping: (max(0, nanoseconds) + 999_999) / 1_000_000)
    _ = poll(&wanted, 2, limit)
    var count: UInt64 = 0
    _ = read(descriptor.number, &count, 8)
  }
}
