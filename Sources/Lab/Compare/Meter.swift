// Processor time and what goes with it, of the proxy's processes and of the machine, sampled while a
// load runs. CPU time is the processes' own clocks, exact; its split in user and system is the
// kernel's sample at its tick; busy time is the machine's, all that was not idle. Between two samples
// it interpolates, because the load says afterwards when its counted part was. It changes nothing that
// it measures: a sample is a few reads, some 60 µs each 10 ms, on the load's CPU.

import Glibc
import MillraceEngine

/// One look at everything that only grows.
struct UsageSample: Equatable {
  var wallMicroseconds: Int64
  /// CPU time of all processes of the subject.
  var processNanoseconds: Double
  var userTicks: Double
  var systemTicks: Double
  /// Ticks by CPU number.
  var idle: [Int: Double]
}

/// What was used between two moments.
struct Usage: Equatable {
  var processSeconds = 0.0
  var userSeconds = 0.0
  var systemSeconds = 0.0
  /// Busy seconds by CPU number.
  var busySeconds: [Int: Double] = [:]
  /// Seconds between the moments.
  var seconds = 0.0

  var machineSeconds: Double { busySeconds.values.reduce(0, +) }

  /// Interpolated from samples in the order in which they were taken; nil if they do not reach over
  /// both moments, with a tolerance of 20 ms at either end.
  static func between(_ start: Int64, _ end: Int64, _ samples: [UsageSample]) -> Usage? {
    guard end > start, let first = samples.first, let last = samples.last,
      first.wallMicroseconds <= start + tolerance, last.wallMicroseconds >= end - tolerance
    else { return nil }
    let from = at(start, samples)
    let to = at(end, samples)
    var usage = Usage()
    usage.seconds = Double(end - start) / 1e6
    usage.processSeconds = (to.processNanoseconds - from.processNanoseconds) / 1e9
    // The exact whole, shared out as the kernel's samples say.
    let user = to.userTicks - from.userTicks
    let ticks = user + to.systemTicks - from.systemTicks
    usage.userSeconds = ticks > 0 ? usage.processSeconds * user / ticks : 0
    usage.systemSeconds = ticks > 0 ? usage.processSeconds - usage.userSeconds : 0
    for (cpu, value) in to.idle {
      guard let before = from.idle[cpu] else { continue }
      usage.busySeconds[cpu] = max(0, usage.seconds - (value - before) / ticksPerSecond)
    }
    return usage
  }

  private static let tolerance: Int64 = 20_000
  static let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))

  private static func at(_ moment: Int64, _ samples: [UsageSample]) -> UsageSample {
    guard let after = samples.firstIndex(where: { $0.wallMicroseconds >= moment }) else {
      return samples[samples.count - 1]
    }
    guard after > 0 else { return samples[0] }
    let (a, b) = (samples[after - 1], samples[after])
    let span = Double(b.wallMicroseconds - a.wallMicroseconds)
    let share = span > 0 ? Double(moment - a.wallMicroseconds) / span : 1
    func mix(_ x: Double, _ y: Double) -> Double { x + (y - x) * share }
    var idle: [Int: Double] = [:]
    for (cpu, value) in b.idle {
      if let before = a.idle[cpu] { idle[cpu] = mix(before, value) }
    }
    return UsageSample(
      wallMicroseconds: moment,
      processNanoseconds: mix(a.processNanoseconds, b.processNanoseconds),
      userTicks: mix(a.userTicks, b.userTicks), systemTicks: mix(a.systemTicks, b.systemTicks),
      idle: idle)
  }
}

/// The processes of one subject.
struct ProcessTree {
  let pids: [Int32]

  /// A process and all that descend from it, by /proc/PID/task/TID/children.
  init(root: Int32) {
    var found = [root]
    var next = 0
    while next < found.count {
      let pid = found[next]
      next += 1
      for thread in Self.threads(of: pid) {
        let children = TextFile.read("/proc/\(pid)/task/\(thread)/children")
        found += children.split(separator: " ").compactMap { Int32($0) }
      }
    }
    pids = found
  }

  static func threads(of pid: Int32) -> [Int32] {
    let names = try? BlockingFiles.list("/proc/\(pid)/task")
    return (names ?? []).compactMap { Int32($0) }
  }

  var threads: [Int32] { pids.flatMap { Self.threads(of: $0) } }

  /// nil once one of the processes is gone.
  func sample() -> UsageSample? {
    var nanoseconds = 0.0
    var ticks = (user: 0, system: 0)
    for pid in pids {
      guard let time = Self.processNanoseconds(pid),
        let parts = ProcText.processTicks(TextFile.read("/proc/\(pid)/stat"))
      else { return nil }
      nanoseconds += time
      ticks.user += parts.user
      ticks.system += parts.system
    }
    let machine = ProcText.processorTicks(TextFile.read("/proc/stat"))
    return UsageSample(
      wallMicroseconds: SystemClock.wallMicroseconds(), processNanoseconds: nanoseconds,
      userTicks: Double(ticks.user), systemTicks: Double(ticks.system),
      idle: machine.idle.mapValues(Double.init))
  }

  /// The clock that clock_getcpuclockid(3) gives for a process: every thread, those that ended and
  /// io_uring's workers too. /proc/PID/schedstat knows the first thread only.
  static func processNanoseconds(_ pid: Int32) -> Double? {
    var time = timespec()
    // include/linux/posix-timers.h: the complement of the id, shifted by three, and
    // CPUCLOCK_SCHED (2).
    guard clock_gettime(~pid << 3 | 2, &time) == 0 else { return nil }
    return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
  }

  /// Switches that threads asked for by waiting, and those that the scheduler took.
  func switches() -> (voluntary: Int, involuntary: Int) {
    var sum = (voluntary: 0, involuntary: 0)
    for pid in pids {
      for thread in Self.threads(of: pid) {
        let text = TextFile.read("/proc/\(pid)/task/\(thread)/status")
        sum.voluntary += ProcText.number("voluntary_ctxt_switches", in: text) ?? 0
        sum.involuntary += ProcText.number("nonvoluntary_ctxt_switches", in: text) ?? 0
      }
    }
    return sum
  }

  /// Bytes in memory: the proportional share (Pss) where it can be read, because nginx's processes
  /// share most of theirs; otherwise the resident set.
  func residentBytes() -> Int? {
    var sum = 0
    for pid in pids {
      guard
        let kilobytes = ProcText.number("Pss", in: TextFile.read("/proc/\(pid)/smaps_rollup"))
          ?? ProcText.number("VmRSS", in: TextFile.read("/proc/\(pid)/status"))
      else { return nil }
      sum += kilobytes << 10
    }
    return sum
  }
}
