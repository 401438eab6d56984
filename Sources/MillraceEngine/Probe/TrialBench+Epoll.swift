// The trials of what epoll may use of the kernel, in the same child: a filter that kills at a system call
// costs what needs it, and not the proxy.

import CLinux
import Glibc

extension TrialBench {
  /// A wait without an event takes its time, and one with an event brings it.
  func preciseWait() throws(TrialFailure) {
    let poll = try TrialPoll()
    let start = SystemClock.monotonicNanoseconds()
    try poll.expectEvents(0, self, Self.shortWaitNanoseconds)
    let waited = SystemClock.monotonicNanoseconds() - start
    guard waited >= Self.shortWaitNanoseconds, waited < Self.timeoutNanoseconds else {
      throw TrialFailure(
        code: ProbeOutcome.wrong, place: .time, got: waited, wanted: Self.shortWaitNanoseconds)
    }
    poll.raise()
    try poll.expectEvents(1, self, Self.timeoutNanoseconds)
  }

  /// As on a ring, the device's part cannot be tried on the loopback interface.
  func epollBusyPoll() throws(TrialFailure) {
    let poll = try TrialPoll()
    var wanted = clinux_epoll_params()
    wanted.busy_poll_usecs = settings.busyPollMicroseconds
    wanted.busy_poll_budget = settings.busyPollBudget
    wanted.prefer_busy_poll = 1
    var code = clinux_epoll_set(poll.descriptor, &wanted)
    guard code == 0 else { throw TrialFailure(code: code, place: .registration) }
    var found = clinux_epoll_params()
    code = clinux_epoll_get(poll.descriptor, &found)
    guard code == 0 else { throw TrialFailure(code: code, place: .readingBack) }
    try expect(
      .readingBack, seen(Int32(clamping: found.busy_poll_usecs)),
      is: Int32(clamping: wanted.busy_poll_usecs))
    try expect(.readingBack, Int64(found.busy_poll_budget), is: Int64(wanted.busy_poll_budget))
    try expect(.readingBack, Int64(found.prefer_busy_poll), is: 1)
    poll.raise()
    try poll.expectOneEventWithin(milliseconds: 200)
  }
}

/// An epoll instance that watches one eventfd.
private struct TrialPoll: ~Copyable {
  let descriptor: Int32
  private let event: Int32
  private static let mark: UInt64 = 0x1234_5678_9ABC

  init() throws(TrialFailure) {
    let poll = epoll_create1(Int32(EPOLL_CLOEXEC))
    let event = eventfd(0, Int32(EFD_CLOEXEC))
    var interest = epoll_event()
    interest.events = CLINUX_EPOLLIN
    interest.data.u64 = Self.mark
    guard poll >= 0, event >= 0, epoll_ctl(poll, EPOLL_CTL_ADD, event, &interest) == 0 else {
      throw TrialFailure(code: -errno, place: .socket)
    }
    descriptor = poll
    self.event = event
  }

  deinit {
    Glibc.close(event)
    Glibc.close(descriptor)
  }

  func raise() {
    var one: UInt64 = 1
    _ = Glibc.write(event, &one, 8)
  }

  func expectEvents(_ wanted: Int32, _ bench: TrialBench, _ nanoseconds: Int64)
    throws(TrialFailure)
  {
    var found = epoll_event()
    let end = SystemClock.monotonicNanoseconds() + nanoseconds
    var count: Int32
    repeat {
      // Rings of earlier trials that are being taken down interrupt: their work is this thread's.
      count = clinux_epoll_wait(
        descriptor, &found, 1, max(0, end - SystemClock.monotonicNanoseconds()))
    } while count == -EINTR
    try expect(wanted == 0 ? .firstResult : .secondResult, bench.seen(count), is: wanted)
    if wanted == 1 { try require(.content, found.data.u64 == Self.mark) }
  }

  func expectOneEventWithin(milliseconds: Int32) throws(TrialFailure) {
    var found = epoll_event()
    var count: Int32
    repeat {
      count = epoll_wait(descriptor, &found, 1, milliseconds)
    } while count < 0
      && errno == EINTR
    guard count >= 0 else { throw TrialFailure(code: -errno, place: .after) }
    try expect(.after, count, is: 1)
  }
}
