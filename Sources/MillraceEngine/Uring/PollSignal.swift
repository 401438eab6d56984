// The descriptor for other loops: an epoll instance over what can give a ring something to do. The
// ring's own descriptor would not do: with DEFER_TASKRUN work for an enter makes it readable, but wakes
// nobody who already sleeps on it (seen on 6.18: epoll_wait(2) is never told, poll(2) only sees it when
// its own timeout has it look again). So it has
// - an eventfd that the kernel signals when the ring has work, and the engine when its turn left some;
// - the eventfd of the wakers: what a write to an eventfd completes, the kernel tells the registered one
//   some milliseconds later, and only once (io_eventfd_do_signal of 6.18 leaves the mark of a signal
//   under way set for ever);
// - a timer, for what the engine does after a while.
// The first costs the kernel a signal per batch, so all of it is made when it is first asked for.

import CLinux
import Glibc

struct PollSignal: ~Copyable {
  private struct Parts {
    var set: Int32
    var signal: Int32
    var timer: Int32
    /// What the timer is set to; Int64.max: nothing.
    var deadline = Int64.max

    func close() {
      for part in [set, signal, timer] where part >= 0 { Glibc.close(part) }
    }
  }

  /// nil until then. Behind a pointer, because asking does not change the engine.
  private let parts: UnsafeMutablePointer<Parts?>

  init() {
    parts = .allocate(capacity: 1)
    parts.initialize(to: nil)
  }

  deinit {
    parts.pointee?.close()
    parts.deallocate()
  }

  /// True when another loop may sleep on it.
  @inline(__always)
  var isWatched: Bool { parts.pointee != nil }

  /// The descriptor; where none can be had, the ring's own.
  func descriptor(of ring: Int32, waking wake: Int32) -> Int32 {
    if let parts = parts.pointee { return parts.set }
    let made = Parts(
      set: epoll_create1(Int32(EPOLL_CLOEXEC)),
      signal: eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)),
      timer: timerfd_create(CLOCK_MONOTONIC, Int32(TFD_CLOEXEC) | Int32(TFD_NONBLOCK)))
    guard Self.watch(made.signal, in: made.set), Self.watch(wake, in: made.set),
      Self.watch(made.timer, in: made.set), Self.register(made.signal, with: ring)
    else {
      made.close()
      return ring
    }
    parts.pointee = made
    raiseIfReady(ring)
    return made.set
  }

  private static func watch(_ part: Int32, in set: Int32) -> Bool {
    var event = epoll_event()
    event.events = CLINUX_EPOLLIN
    return epoll_ctl(set, EPOLL_CTL_ADD, part, &event) == 0
  }

  private static func register(_ signal: Int32, with ring: Int32) -> Bool {
    var signal = signal
    return clinux_uring_register(ring, UInt32(CLINUX_REGISTER_EVENTFD), &signal, 1) >= 0
  }

  /// Makes it unreadable, before a turn: what comes from now on makes it readable again.
  @inline(__always)
  func clear() {
    if isWatched { drain() }
  }

  @inline(never)
  private func drain() {
    guard let signal = parts.pointee?.signal else { return }
    var count: UInt64 = 0
    _ = read(signal, &count, 8)
  }

  /// Makes it readable: there is something to do already.
  func raise() {
    guard let signal = parts.pointee?.signal else { return }
    eventfd_write(signal, 1)
  }

  /// Has it be readable at a point of the monotonic clock; Int64.max: at none.
  func setDeadline(_ deadline: Int64) {
    guard let timer = parts.pointee?.timer, parts.pointee?.deadline != deadline else { return }
    parts.pointee?.deadline = deadline
    var time = itimerspec()
    if deadline != .max {
      time.it_value.tv_sec = Int(deadline / 1_000_000_000)
      time.it_value.tv_nsec = Int(deadline % 1_000_000_000)
    }
    _ = timerfd_settime(timer, Int32(TFD_TIMER_ABSTIME), &time, nil)
  }

  /// Has the kernel forget that it has told of a completion that a write to an eventfd made.
  func renew(_ ring: Int32) {
    guard let signal = parts.pointee?.signal else { return }
    _ = clinux_uring_register(ring, UInt32(CLINUX_UNREGISTER_EVENTFD), nil, 0)
    _ = Self.register(signal, with: ring)
    raiseIfReady(ring)
  }

  /// What was there before a registration has not been told.
  private func raiseIfReady(_ ring: Int32) {
    var ready = pollfd(fd: ring, events: Int16(POLLIN), revents: 0)
    if poll(&ready, 1, 0) == 1 { raise() }
  }
}
