// What the subjects share: clocks, addresses, and the line that each ends with.

import Glibc
import MillraceEngine

func clock(_ id: clockid_t) -> Int64 {
  var time = timespec()
  clock_gettime(id, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// CPU time of this process, user and system, every thread.
func ownCPU() -> Int64 { clock(CLOCK_PROCESS_CPUTIME_ID) }
func wallClock() -> Int64 { clock(CLOCK_MONOTONIC) }

/// What is measured beside the two of every subject: a word and a number of its own.
func report(_ operations: Int, cpu: Int64, wall: Int64 = 0, _ more: String = "") {
  print("operations \(operations) cpu \(cpu) wall \(wall)\(more)")
}

/// Prints a server's port, once it listens.
func announce(_ address: SocketAddress?) {
  print("port", address!.port)
  fflush(nil)
}

/// Where a server listens: a port of the kernel's choosing on `--host`, otherwise on loopback.
func loopback(_ port: UInt16 = 0) throws -> SocketAddress {
  try SocketAddress.resolve(host: flag("host") ?? "127.0.0.1", port: port)[0]
}
