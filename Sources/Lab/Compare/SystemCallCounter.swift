// Counts the system calls of other programs by the tracepoint raw_syscalls:sys_enter. Counting costs
// each call some 100 ns, so it runs in loads of its own, whose times are not used.

import CLinux
import Glibc

/// A count that runs until it is read.
struct SystemCallCounter: ~Copyable {
  private let descriptors: [Int32]

  private static let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]

  /// Why no system call can be counted here; nil if they can.
  static func refusal() -> String? {
    guard let tracepoint else {
      return
        "raw_syscalls:sys_enter cannot be read under \(places[0]): it needs root, or CAP_PERFMON and a"
        + " readable tracefs (mount -t tracefs tracefs \(places[0]))"
    }
    let descriptor = clinux_count_tracepoint(tracepoint, 0)
    if descriptor < 0 {
      return "perf_event_open: \(String(cString: strerror(-descriptor)))"
    }
    close(descriptor)
    return nil
  }

  private static var tracepoint: UInt64? {
    for place in places {
      let text = TextFile.read(place + "/events/raw_syscalls/sys_enter/id")
      if let number = UInt64(text.prefix { $0 != "\n" }) { return number }
    }
    return nil
  }

  /// Starts counting; nil where that is refused.
  init?(threads: [Int32]) {
    guard let tracepoint = Self.tracepoint else { return nil }
    var opened: [Int32] = []
    for thread in threads {
      let descriptor = clinux_count_tracepoint(tracepoint, thread)
      // ESRCH: it ended meanwhile.
      if descriptor == -ESRCH { continue }
      guard descriptor >= 0 else {
        for each in opened { close(each) }
        return nil
      }
      opened.append(descriptor)
    }
    descriptors = opened
  }

  deinit {
    for descriptor in descriptors { close(descriptor) }
  }

  /// Calls since the start.
  func count() -> Int {
    var sum = 0
    for descriptor in descriptors {
      var value: UInt64 = 0
      if read(descriptor, &value, 8) == 8 { sum += Int(value) }
    }
    return sum
  }
}
