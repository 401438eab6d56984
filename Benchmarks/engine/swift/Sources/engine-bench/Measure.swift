// What the subjects share: clocks, options, and the line that each ends with.

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

/// The engine's options, with features named in `MILLRACE_FEATURES` (`-name` or `+name`, separated
/// by commas) taken away or added.
func options() -> EngineOptions {
  var options = EngineOptions()
  guard let text = getenv("MILLRACE_FEATURES") else { return options }
  for word in String(cString: text).split(separator: ",") {
    guard let feature = EngineFeatures(name: String(word.dropFirst())) else {
      fatalError("no such feature: \(word)")
    }
    if word.first == "-" {
      options.features.remove(feature)
    } else {
      options.features.insert(feature)
    }
  }
  return options
}

func report(_ operations: Int, cpu: Int64, wall: Int64 = 0) {
  print("operations \(operations) cpu \(cpu) wall \(wall)")
}

/// Prints a server's port, once it listens.
func announce(_ address: SocketAddress?) {
  print("port", address!.port)
  fflush(nil)
}

/// A port of the kernel's choosing on loopback.
func loopback(_ port: UInt16 = 0) throws -> SocketAddress {
  try SocketAddress.resolve(host: "127.0.0.1", port: port)[0]
}
