// Which CPUs this process may use, and how much of them: the affinity mask (cpuset included) and
// the cgroup's quota. Two containers with a quota and no cpuset see every CPU of the host; workers
// are counted by the smaller of the two.

import CLinux
import Glibc

/// What the process may run on.
public struct Processors: Sendable {
  /// CPUs of the affinity mask, ascending, sched_getaffinity(2).
  public let allowed: [Int]
  /// CPUs' worth of time that the cgroup grants, or nil without a quota.
  public let quota: Double?

  /// What the machine says now; read once at a start.
  public static func current() -> Processors {
    var words = [UInt64](repeating: 0, count: 16)
    _ = clinux_affinity(&words, 16)
    var allowed: [Int] = []
    for cpu in 0..<1024 where words[cpu / 64] & (1 << UInt64(cpu % 64)) != 0 {
      allowed.append(cpu)
    }
    return Processors(allowed: allowed.isEmpty ? [0] : allowed, quota: cgroupQuota())
  }

  /// Workers for `workers: auto`: one per allowed CPU, fewer if the quota grants fewer (rounded
  /// up: a quota of 1.5 is worth two threads), at least one.
  public var workerCount: Int {
    guard let quota else { return allowed.count }
    return max(1, min(allowed.count, Int(quota.rounded(.up))))
  }

  /// True when pinning cannot make two containers fight over one CPU: as many workers as allowed
  /// CPUs, and no quota below them.
  public func mayPin(workers: Int) -> Bool {
    workers == allowed.count && (quota ?? .infinity) >= Double(allowed.count)
  }

  /// The tightest quota from this cgroup up to the root: cgroup v2 `cpu.max`, or v1's
  /// `cpu.cfs_quota_us` over `cpu.cfs_period_us`.
  private static func cgroupQuota() -> Double? {
    guard let membership = readText("/proc/self/cgroup") else { return nil }
    var tightest: Double?
    for line in membership.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      let unified = parts[0] == "0" && parts[1].isEmpty
      let isCPU = parts[1].split(separator: ",").contains("cpu")
      guard unified || isCPU else { continue }
      let roots =
        unified ? ["/sys/fs/cgroup"] : ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"]
      for root in roots {
        for directory in ancestors(of: String(parts[2])) {
          if let quota = quota(in: root + directory, unified: unified) {
            tightest = min(tightest ?? quota, quota)
          }
        }
      }
    }
    return tightest
  }

  private static func ancestors(of path: String) -> [String] {
    var result = [""]
    var built = ""
    for part in path.split(separator: "/") where part != ".." {
      built += "/" + part
      result.append(built)
    }
    return result
  }

  private static func quota(in directory: String, unified: Bool) -> Double? {
    if unified {
      guard let text = readText(directory + "/cpu.max") else { return nil }
      let parts = text.split(whereSeparator: { $0 == " " || $0 == "\n" })
      guard parts.count == 2, let quota = Double(parts[0]), let period = Double(parts[1]),
        period > 0
      else { return nil }
      return quota / period
    }
    guard let quota = readText(directory + "/cpu.cfs_quota_us").flatMap(number), quota > 0,
      let period = readText(directory + "/cpu.cfs_period_us").flatMap(number), period > 0
    else { return nil }
    return quota / period
  }

  private static func number(_ text: String) -> Double? {
    Double(text.prefix { $0 != "\n" })
  }
}

/// The text of a small file such as those under /proc and /sys, or nil.
func readText(_ path: String) -> String? {
  let file = Glibc.open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return nil }
  defer { Glibc.close(file) }
  var bytes = [UInt8](repeating: 0, count: 16_384)
  let got = Glibc.read(file, &bytes, bytes.count)
  guard got >= 0 else { return nil }
  return String(decoding: bytes[..<got], as: UTF8.self)
}
