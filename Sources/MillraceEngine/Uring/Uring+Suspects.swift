// The end that a multishot receive misses. When the last bytes and a reset arrive before the kernel
// has run the receive, it reports the bytes, takes the reset for part of the same wake-up, and waits
// for one that never comes (io_poll_check_events, seen on Linux 6.18; axboe/liburing#1549 is the
// same of UNIX sockets). So a socket that brought bytes and then falls silent is looked at, once.

import CLinux
import Glibc

extension Uring {
  /// How long a socket is silent before it is looked at: between one and two of these. Short
  /// against every timeout that a proxy has, long against a turn: under load the socket has brought
  /// more bytes by then, which proves it alive, and costs no system call.
  private static let suspicionNanoseconds: Int64 = 250_000_000

  /// Notes that a multishot receive brought bytes and goes on.
  @inline(__always)
  mutating func suspect(
    _ descriptor: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    record.pointee.state.insert(.heard)
    if !record.pointee.state.contains(.listedSuspect) { list(descriptor, record) }
  }

  @inline(never)
  private mutating func list(
    _ descriptor: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    suspects.append(descriptor, record)
    if suspectsDue == .max { suspectsDue = now + Self.suspicionNanoseconds }
  }

  /// Looks at the sockets that have been silent since the last look; keeps the others listed.
  @inline(never)
  mutating func lookAtSuspects() {
    var left = suspects.count
    while left > 0, let descriptor = suspects.popFirst(sockets) {
      left -= 1
      let record = sockets[descriptor]
      // What ended, waits for a buffer, or is being ended does not hang in the kernel.
      guard record.pointee.state.contains(.receivingStream),
        record.pointee.state.isDisjoint(with: [.starved, .stoppingReceive, .reviving])
      else { continue }
      if record.pointee.state.contains(.heard) {
        record.pointee.state.remove(.heard)
        suspects.append(descriptor, record)
      } else if isOver(descriptor) {
        statistics.receivesRevived += 1
        record.pointee.state.insert(.reviving)
        cancel(receiveUserData(descriptor, record))
      }
    }
    suspectsDue = suspects.isEmpty ? .max : now + Self.suspicionNanoseconds
  }

  private mutating func isOver(_ descriptor: Int32) -> Bool {
    // No system call can ask about a slot of the kernel's: one more receive will tell.
    guard let number = systemDescriptor(descriptor) else { return true }
    statistics.systemCalls += 1
    var ask = pollfd(fd: number, events: Int16(CLINUX_EPOLLRDHUP), revents: 0)
    return Glibc.poll(&ask, 1, 0) == 1
  }
}
