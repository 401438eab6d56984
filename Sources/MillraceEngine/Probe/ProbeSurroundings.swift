// What the process can read about why a system call may be refused: the sysctl that turns io_uring
// off, the group that it is left on for, and whether a seccomp filter is installed.

import CLinux
import Glibc

/// The facts that tell one EPERM from another.
struct ProbeSurroundings {
  /// kernel.io_uring_disabled (6.6): 0, 1 (only for a group), 2 (for all); nil: no such sysctl.
  var disabled: Int?
  /// kernel.io_uring_group; -1: nobody.
  var group: Int?
  /// True when this process is in that group or may administer the machine.
  var isPrivileged = false
  /// Seccomp of /proc/self/status is 2: a filter decides about each system call.
  var isFiltered = false
  /// uname -r.
  var release = ""

  static func current() -> ProbeSurroundings {
    var here = ProbeSurroundings()
    here.disabled = number("/proc/sys/kernel/io_uring_disabled")
    here.group = number("/proc/sys/kernel/io_uring_group")
    let status = readText("/proc/self/status") ?? ""
    here.isFiltered = field("Seccomp", of: status) == "2"
    // CAP_SYS_ADMIN is bit 21, capability.h.
    let capabilities = UInt64(field("CapEff", of: status) ?? "", radix: 16) ?? 0
    let groups = (field("Groups", of: status) ?? "").split(separator: " ").compactMap { Int($0) }
    here.isPrivileged =
      capabilities & (1 << 21) != 0
      || here.group.map { groups.contains($0) || Int(getegid()) == $0 } ?? false
    here.release = release()
    return here
  }

  private static func number(_ path: String) -> Int? {
    readText(path).flatMap { Int($0.prefix { $0 != "\n" }) }
  }

  /// The value of a "Name:\tvalue" line.
  static func field(_ name: String, of status: String) -> String? {
    for line in status.split(separator: "\n") where line.hasPrefix(name + ":") {
      let value = line.dropFirst(name.count + 1).drop { $0 == "\t" || $0 == " " }
      return String(value)
    }
    return nil
  }

  private static func release() -> String {
    (readText("/proc/sys/kernel/osrelease") ?? "unknown").filter { $0 != "\n" }
  }
}
