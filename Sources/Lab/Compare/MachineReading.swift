// Reads the machine: its facts for the report, and those that decide about fitness. It looks for half
// a second at what else runs, and times a loop; it changes nothing.

import Glibc
import MillraceEngine

struct MachineReading {
  var facts = MachineFacts()
  var fitness = FitnessFacts()

  /// - Parameters:
  ///   - proxy: CPUs for the proxy, nil: chosen here.
  ///   - load: CPUs for load and origin, nil: chosen here.
  static func now(proxy: [Int]?, load: [Int]?, connections: Int) -> MachineReading {
    let processors = Processors.current()
    var reading = MachineReading()
    let siblings = readSiblings(processors.allowed)
    let chosen = choose(processors.allowed, siblings, proxy: proxy, load: load)
    reading.readFacts(processors, chosen)
    reading.fitness.processors = processors.allowed
    reading.fitness.proxyProcessors = chosen.proxy
    reading.fitness.loadProcessors = chosen.load
    reading.fitness.siblings = siblings
    reading.fitness.quota = processors.quota
    reading.fitness.descriptorLimit = DescriptorLimit.raise()
    reading.fitness.connections = connections
    reading.readNoise(processors.allowed)
    return reading
  }

  /// The first CPU for the proxy; for the load those that share no core with it, as many as four:
  /// one thread of load asks for more than one worker can give.
  static func choose(
    _ allowed: [Int], _ siblings: [Int: [Int]], proxy: [Int]?, load: [Int]?
  ) -> (proxy: [Int], load: [Int]) {
    let taken = Set(load ?? [])
    let proxy = proxy ?? allowed.first { !taken.contains($0) }.map { [$0] } ?? []
    if let load { return (proxy, load) }
    let others = allowed.filter { !proxy.contains($0) }
    let apart = others.filter { cpu in
      !proxy.contains { siblings[$0]?.contains(cpu) ?? false }
    }
    return (proxy, Array((apart.isEmpty ? others : apart).prefix(4)))
  }

  private static func readSiblings(_ allowed: [Int]) -> [Int: [Int]] {
    var siblings: [Int: [Int]] = [:]
    for cpu in allowed {
      let path = "/sys/devices/system/cpu/cpu\(cpu)/topology/thread_siblings_list"
      siblings[cpu] = processorList(TextFile.read(path))
    }
    return siblings
  }

  /// `0-2,5` as 0, 1, 2, 5 (cpuset(7), list format).
  static func processorList(_ text: String) -> [Int] {
    var found: [Int] = []
    for part in text.split(whereSeparator: { $0 == "," || $0 == "\n" || $0 == " " }) {
      let ends = part.split(separator: "-").compactMap { Int($0) }
      guard let first = ends.first, let last = ends.last, first <= last, last < 1024 else {
        continue
      }
      found += first...last
    }
    return found
  }

  // MARK: Facts

  private mutating func readFacts(_ processors: Processors, _ chosen: (proxy: [Int], load: [Int])) {
    facts.kernel = line("/proc/sys/kernel/osrelease")
    facts.distribution = assignment("PRETTY_NAME", in: TextFile.read("/etc/os-release"))
    let cpuinfo = TextFile.read("/proc/cpuinfo")
    facts.processor =
      field("model name", in: cpuinfo) ?? field("CPU part", in: cpuinfo) ?? "unknown"
    facts.processors = processors.allowed
    facts.proxyProcessors = chosen.proxy
    facts.loadProcessors = chosen.load
    let memory = TextFile.read("/proc/meminfo")
    facts.memoryBytes = (ProcText.number("MemTotal", in: memory) ?? 0) << 10
    let swapTotal = ProcText.number("SwapTotal", in: memory) ?? 0
    fitness.swapUsedBytes = (swapTotal - (ProcText.number("SwapFree", in: memory) ?? 0)) << 10
    readFrequency(processors.allowed)
    let flags = (field("flags", in: cpuinfo) ?? "").split(separator: " ")
    fitness.isVirtual = flags.contains("hypervisor")
    facts.settings["virtual machine"] =
      fitness.isVirtual ? "yes \(line("/sys/class/dmi/id/product_name"))" : "no"
    facts.settings["cgroup quota"] =
      processors.quota.map { Decimals.text($0, places: 2) + " CPUs" } ?? "none"
    facts.settings["container"] = containerKind()
    facts.settings["mitigations"] = mitigations()
    facts.settings["congestion control"] = line("/proc/sys/net/ipv4/tcp_congestion_control")
  }

  private mutating func readFrequency(_ allowed: [Int]) {
    let root = "/sys/devices/system/cpu"
    for cpu in allowed {
      let governor = line("\(root)/cpu\(cpu)/cpufreq/scaling_governor")
      if !governor.isEmpty { fitness.governors.insert(governor) }
    }
    switch (line("\(root)/cpufreq/boost"), line("\(root)/intel_pstate/no_turbo")) {
    case ("1", _), (_, "0"): fitness.boosts = true
    case ("0", _), (_, "1"): fitness.boosts = false
    default: break
    }
    facts.settings["scaling governor"] =
      fitness.governors.isEmpty ? "not visible" : fitness.governors.sorted().joined(separator: ", ")
    facts.settings["boost"] = fitness.boosts.map { $0 ? "on" : "off" } ?? "not visible"
  }

  private func containerKind() -> String {
    if access("/.dockerenv", F_OK) == 0 { return "docker" }
    if access("/run/.containerenv", F_OK) == 0 { return "podman" }
    for entry in TextFile.read("/proc/1/environ").split(separator: "\0")
    where entry.hasPrefix("container=") {
      return String(entry.dropFirst(10))
    }
    return "none seen"
  }

  /// The weaknesses of the processor that cost a mitigation here.
  private func mitigations() -> String {
    let root = "/sys/devices/system/cpu/vulnerabilities"
    let names = (try? BlockingFiles.list(root)) ?? []
    let active = names.filter { line("\(root)/\($0)").hasPrefix("Mitigation") }
    return active.isEmpty ? "none active" : active.joined(separator: ", ")
  }

  private func line(_ path: String) -> String {
    String(TextFile.read(path).prefix { $0 != "\n" })
  }

  /// `name : value` of /proc/cpuinfo, the first one.
  private func field(_ name: String, in text: String) -> String? {
    for line in text.split(separator: "\n") where line.hasPrefix(name) {
      return line.drop { $0 != ":" }.dropFirst().trimmed
    }
    return nil
  }

  /// `NAME="value"` of os-release(5).
  private func assignment(_ name: String, in text: String) -> String {
    for line in text.split(separator: "\n") where line.hasPrefix(name + "=") {
      return line.dropFirst(name.count + 1).filter { $0 != "\"" }
    }
    return "unknown"
  }

  // MARK: Noise

  /// Half a second of looking on, and twenty loops of about 5 ms.
  private mutating func readNoise(_ allowed: [Int]) {
    let start = SystemClock.wallMicroseconds()
    let before = ProcText.processorTicks(TextFile.read("/proc/stat"))
    let processesBefore = Self.processTicks()
    Pause.microseconds(500_000)
    let after = ProcText.processorTicks(TextFile.read("/proc/stat"))
    let seconds = Double(SystemClock.wallMicroseconds() - start) / 1e6
    let processesAfter = Self.processTicks()
    var idle = 0
    var stolen = 0
    var total = 0
    for cpu in allowed {
      idle += (after.idle[cpu] ?? 0) - (before.idle[cpu] ?? 0)
      stolen += (after.stolen[cpu] ?? 0) - (before.stolen[cpu] ?? 0)
      total += (after.total[cpu] ?? 0) - (before.total[cpu] ?? 0)
    }
    fitness.stolenNow = total > 0 ? Double(stolen) / Double(total) : 0
    let ever = allowed.reduce(into: (stolen: 0, total: 0)) { sum, cpu in
      sum.stolen += after.stolen[cpu] ?? 0
      sum.total += after.total[cpu] ?? 0
    }
    fitness.stolenEver = ever.total > 0 ? Double(ever.stolen) / Double(ever.total) : 0
    let rest = Double(allowed.count) - Double(idle + stolen) / Usage.ticksPerSecond / seconds
    // One tick of 10 ms in half a second is 2% already: this process's own reads round up to it, and
    // each CPU's idle time rounds down.
    fitness.busyElsewhere = max(0, rest - 0.02 * Double(allowed.count + 1))
    fitness.busiest = processesAfter.compactMap { pid, now in
      guard pid != getpid(), let then = processesBefore[pid], now.ticks > then.ticks else {
        return nil
      }
      return (now.name, Double(now.ticks - then.ticks) / Usage.ticksPerSecond / seconds)
    }.sorted { $0.share > $1.share }
    fitness.loopNanoseconds = (0..<20).map { _ in Self.timedLoop() }
    facts.settings["loop variation"] = Decimals.text(fitness.loopVariation * 100, places: 2) + "%"
  }

  private static func processTicks() -> [Int32: (name: String, ticks: Int)] {
    var found: [Int32: (name: String, ticks: Int)] = [:]
    for name in (try? BlockingFiles.list("/proc")) ?? [] {
      guard let pid = Int32(name) else { continue }
      let text = TextFile.read("/proc/\(name)/stat")
      guard let ticks = ProcText.processTicks(text), let open = text.firstIndex(of: "("),
        let close = text.lastIndex(of: ")")
      else { continue }
      found[pid] = (String(text[text.index(after: open)..<close]), ticks.user + ticks.system)
    }
    return found
  }

  /// About 5 ms of arithmetic that no cache and no other program should touch.
  private static func timedLoop() -> Double {
    let start = SystemClock.monotonicNanoseconds()
    var numbers = SeededNumbers(seed: 1)
    var sum: UInt64 = 0
    for _ in 0..<4_000_000 { sum ^= numbers.next() }
    let end = SystemClock.monotonicNanoseconds()
    // The result is used, so that the loop stays.
    return Double(end - start) + (sum == 0 ? 1 : 0)
  }
}
