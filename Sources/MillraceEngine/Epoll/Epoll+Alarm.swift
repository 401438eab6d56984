// Beside a foreign event loop the engine does not sleep, so no deadline of its own wakes anybody, and
// neither does what a turn left for the next one: a timerfd makes the engine's descriptor readable when
// the next timeout is due, or at once. An engine whose `pollDescriptor` nobody asks for has none.

import CLinux
import Glibc

/// The timerfd and what it is set to.
struct Alarm {
  /// -1: not asked for, or none to be had.
  var descriptor: Int32 = -1
  /// Monotonic nanoseconds; Int64.max: not set.
  var deadline = Int64.max
}

extension Epoll {
  /// In an event's data, in the place of a control slot. ControlSlab has fewer.
  private static let alarmIndex: UInt64 = 0xFFFF_FFFF

  public var pollDescriptor: Int32 {
    if alarm.pointee.descriptor < 0 { makeAlarm() }
    return descriptor
  }

  /// Without a timerfd (EMFILE) a foreign loop hears of what the kernel knows, and of nothing else.
  private func makeAlarm() {
    let timer = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_CLOEXEC) | Int32(TFD_NONBLOCK))
    guard timer >= 0 else { return }
    var event = epoll_event()
    event.events = CLINUX_EPOLLIN | CLINUX_EPOLLET
    event.data.u64 = Self.foreignMark | Self.alarmIndex
    guard epoll_ctl(descriptor, EPOLL_CTL_ADD, timer, &event) == 0 else {
      Glibc.close(timer)
      return
    }
    alarm.pointee.descriptor = timer
    setAlarm()
  }

  /// Sets the alarm to the next timeout, at the end of a turn and when it is asked for; or to now, if
  /// the turn has left sockets to serve. Where it has completions, the other loop turns the engine once
  /// more anyhow.
  @inline(never)
  func setAlarm() {
    let receivesGoOn =
      (!starvedSmall.isEmpty && small.freeCount > 0)
      || (!starvedLarge.isEmpty && large.freeCount > 0)
    let isDue = queue.isEmpty && (!ready.isEmpty || receivesGoOn)
    let deadline = isDue ? 0 : timers.nextDeadline
    guard isDue || deadline != alarm.pointee.deadline else { return }
    alarm.pointee.deadline = deadline
    var time = itimerspec()
    if deadline != .max {
      // Zero would mean "not set": what is due already fires at once all the same.
      time.it_value.tv_sec = Int(max(deadline, 1) / 1_000_000_000)
      time.it_value.tv_nsec = Int(max(deadline, 1) % 1_000_000_000)
    }
    _ = timerfd_settime(alarm.pointee.descriptor, Int32(TFD_TIMER_ABSTIME), &time, nil)
  }
}
