// The descriptor for other loops. The ring's own descriptor would not do: with DEFER_TASKRUN work for an
// enter makes it readable, but wakes nobody who already sleeps on it (seen on 6.18: epoll_wait(2) is never
// told, poll(2) only sees it when its own timeout has it look again). A registered eventfd is
// signalled in that case too. It costs the kernel a signal per batch, so it is made when first asked for.

import CLinux
import Glibc

/// An eventfd that the kernel signals when the ring has work; made when it is first asked for.
struct PollSignal: ~Copyable {
  /// -1 until then. Behind a pointer, because asking does not change the engine.
  private let eventDescriptor: UnsafeMutablePointer<Int32>

  init() {
    eventDescriptor = .allocate(capacity: 1)
    eventDescriptor.initialize(to: -1)
  }

  deinit {
    if eventDescriptor.pointee >= 0 { close(eventDescriptor.pointee) }
    eventDescriptor.deallocate()
  }

  /// The eventfd of a ring; where none can be had, the ring's own descriptor.
  func descriptor(of ring: Int32) -> Int32 {
    if eventDescriptor.pointee >= 0 { return eventDescriptor.pointee }
    var made = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard made >= 0 else { return ring }
    guard clinux_uring_register(ring, UInt32(CLINUX_REGISTER_EVENTFD), &made, 1) >= 0 else {
      close(made)
      return ring
    }
    eventDescriptor.pointee = made
    // What was there before the registration has not been told.
    var ready = pollfd(fd: ring, events: Int16(POLLIN), revents: 0)
    if poll(&ready, 1, 0) == 1 { eventfd_write(made, 1) }
    return made
  }

  /// Makes it unreadable, before a turn: what comes from now on makes it readable again.
  @inline(__always)
  func clear() {
    if eventDescriptor.pointee >= 0 { drain() }
  }

  @inline(never)
  private func drain() {
    var count: UInt64 = 0
    _ = read(eventDescriptor.pointee, &count, 8)
  }
}
