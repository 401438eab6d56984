// What the kernel allows this process to have open, and what it has.

import Glibc

/// RLIMIT_NOFILE and the descriptors in use.
public enum DescriptorLimit {
  /// Raises the soft limit to the hard one, getrlimit(2). - Returns: the limit in force.
  public static func raise() -> Int {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
    if limit.rlim_cur < limit.rlim_max {
      var raised = limit
      raised.rlim_cur = limit.rlim_max
      if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &raised) == 0 { limit = raised }
    }
    return Int(clamping: limit.rlim_cur)
  }

  /// Descriptors that the process has open, by /proc/self/fd; -1 without /proc.
  public static func open() -> Int {
    guard let directory = opendir("/proc/self/fd") else { return -1 }
    defer { closedir(directory) }
    var count = 0
    while let entry = readdir(directory) {
      if entry.pointee.d_name.0 != 46 { count += 1 }
    }
    // The directory itself is open while it is read.
    return count - 1
  }
}
