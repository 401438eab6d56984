// Time, taken in one place so that a simulated world can replace it.

import CLinux
import Glibc

/// The clocks of the machine.
public enum SystemClock {
  /// Nanoseconds of CLOCK_MONOTONIC, clock_gettime(2).
  @inline(__always)
  public static func monotonicNanoseconds() -> Int64 {
    var t = timespec()
    clock_gettime(CLOCK_MONOTONIC, &t)
    return Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec)
  }

  /// Microseconds of CLOCK_REALTIME since 1970-01-01 UTC.
  @inline(__always)
  public static func wallMicroseconds() -> Int64 {
    var t = timespec()
    clock_gettime(CLOCK_REALTIME, &t)
    return Int64(t.tv_sec) * 1_000_000 + Int64(t.tv_nsec) / 1000
  }
}

/// Randomness of the machine, getrandom(2).
public enum SystemRandomness {
  /// Fills `room`. Blocks only before the machine's pool was first filled, early at boot.
  public static func fill(_ room: UnsafeMutableRawBufferPointer) {
    var at = 0
    while at < room.count {
      let got = getrandom(room.baseAddress! + at, room.count - at, 0)
      if got > 0 { at += got } else if errno != EINTR { preconditionFailure("getrandom: \(errno)") }
    }
  }
}

/// A wait of the calling thread, for set-up only.
public enum Pause {
  /// Blocks the calling thread, usleep(3).
  public static func microseconds(_ count: UInt32) { usleep(count) }
}
