// Whether a machine is fit to measure on: what refuses a comparison, what only stains it, each with
// its effect on the figures and its hint. Pure: the facts come in, sentences come out.

/// What decides about fitness.
struct FitnessFacts {
  /// CPUs that the process may use.
  var processors: [Int] = []
  var proxyProcessors: [Int] = []
  var loadProcessors: [Int] = []
  /// CPUs that share a core, by CPU; empty where that is not known.
  var siblings: [Int: [Int]] = [:]
  /// CPUs' worth of time of the cgroup; nil without a quota.
  var quota: Double?
  /// Scaling governors in use; empty where the kernel scales nothing.
  var governors: Set<String> = []
  /// nil where it is not known.
  var boosts: Bool?
  var isVirtual = false
  /// Times of the same loop, in nanoseconds.
  var loopNanoseconds: [Double] = []
  /// Share of CPU time that the hypervisor gave to others: now, and since the start.
  var stolenNow = 0.0
  var stolenEver = 0.0
  /// CPUs' worth of time that other processes took while nothing ran here, and the busiest.
  var busyElsewhere = 0.0
  var busiest: [(name: String, share: Double)] = []
  var swapUsedBytes = 0
  var descriptorLimit = 1 << 20
  /// Connections of the load.
  var connections = 64
}

/// The bounds beyond which a fact is a finding.
enum FitnessBound {
  /// A loop that does nothing but count varies by 0.2 to 1% on a quiet machine; a variation of a
  /// tenth would drown the differences that a comparison looks for.
  static let loopVariation = 0.03
  /// Other processes, in CPUs.
  static let busyElsewhere = 0.05
  static let stolen = 0.01
}

extension FitnessFacts {
  /// Standard deviation over mean of the loop's times.
  var loopVariation: Double {
    guard loopNanoseconds.count > 1 else { return 0 }
    let mean = loopNanoseconds.reduce(0, +) / Double(loopNanoseconds.count)
    let squares = loopNanoseconds.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    return (squares / Double(loopNanoseconds.count - 1)).squareRoot() / mean
  }

  var findings: [MachineFinding] { refusals + warnings }

  private var refusals: [MachineFinding] {
    var found: [MachineFinding] = []
    func refuse(_ text: String) { found.append(MachineFinding(.refusal, text)) }
    if processors.count < 2 {
      refuse(
        "there is only one CPU, and load and proxy would compete for it: every figure"
          + " would measure the scheduler; use two or more CPUs")
    } else if let quota, quota < 2 {
      refuse(
        "the cgroup quota is \(decimal(quota)) CPUs, less than proxy and load need together: the"
          + " kernel would throttle both in each period; raise it to two or more (cpu.max)")
    } else {
      let missing = (proxyProcessors + loadProcessors).filter { !processors.contains($0) }
      if !missing.isEmpty {
        refuse(
          "CPU \(missing.map(String.init).joined(separator: ", ")) is not among those that this"
            + " process may use (\(processors.map(String.init).joined(separator: ", "))); choose others"
            + " with --proxy-cpus and --load-cpus")
      } else if !Set(proxyProcessors).isDisjoint(with: loadProcessors) {
        refuse(
          "--proxy-cpus and --load-cpus share a CPU: the load would take CPU time from the proxy that it"
            + " measures; use separate CPUs")
      }
    }
    // Each connection is one descriptor of the load, two of the proxy and one of the origin.
    let needed = connections * 2 + 256
    if descriptorLimit < needed {
      refuse(
        "RLIMIT_NOFILE is \(descriptorLimit) and the proxy needs about \(needed) descriptors; raise the"
          + " limit (ulimit -n \(needed)) or use fewer --connections")
    }
    return found
  }

  private var warnings: [MachineFinding] {
    var found: [MachineFinding] = []
    func warn(_ text: String) { found.append(MachineFinding(.warning, text)) }
    if loopVariation > FitnessBound.loopVariation {
      warn(
        "the run time of a fixed loop varies by \(percent(loopVariation)) (limit:"
          + " \(percent(FitnessBound.loopVariation))): smaller differences cannot be detected;"
          + " stop other processes, or use a dedicated machine")
    }
    if stolenNow > FitnessBound.stolen || stolenEver > FitnessBound.stolen {
      warn(
        "steal time is \(percent(max(stolenNow, stolenEver))) (CPU time used by other guests):"
          + " throughput and high percentiles depend on their load; compare within rounds only")
    }
    if busyElsewhere > FitnessBound.busyElsewhere {
      let names = busiest.prefix(3).map { "\($0.name) \(percent($0.share))" }
      warn(
        "other processes use \(percent(busyElsewhere)) of a CPU"
          + (names.isEmpty ? "" : " (\(names.joined(separator: ", ")))")
          + ": this affects the machine's busy time and the latencies; stop them")
    }
    let slowGovernors = governors.subtracting(["performance"]).sorted()
    if !slowGovernors.isEmpty {
      warn(
        "the CPU frequency is scaled by the governor \(slowGovernors.joined(separator: ", ")): CPU time"
          + " per request at partial load is measured at a low frequency; cpupower frequency-set -g"
          + " performance")
    }
    if boosts == true {
      warn(
        "CPU frequency boost is enabled: the first rounds may run faster than the last; disable it"
          + " (/sys/devices/system/cpu/cpufreq/boost, or intel_pstate/no_turbo)")
    }
    for cpu in proxyProcessors {
      let shared = (siblings[cpu] ?? []).filter { $0 != cpu && loadProcessors.contains($0) }
      if let other = shared.first {
        warn(
          "CPU \(cpu) of the proxy and CPU \(other) of the load are hyperthreads of one core and slow"
            + " each other; choose others with --load-cpus")
      }
    }
    if isVirtual {
      warn(
        "this is a virtual machine: system calls and interrupts have other costs than on hardware, and"
          + " there may be no cycle counters; the verdict is valid for similar machines")
    }
    if swapUsedBytes > 0 {
      warn(
        "\(swapUsedBytes >> 20) MiB are swapped out: swapping a page in stalls the process")
    }
    return found
  }

  private func percent(_ share: Double) -> String { decimal(share * 100) + "%" }

  private func decimal(_ value: Double) -> String { Decimals.text(value, places: 1) }
}

/// Numbers with a fixed count of decimals, without Foundation.
enum Decimals {
  static func text(_ value: Double, places: Int) -> String {
    var unit = 1
    for _ in 0..<places { unit *= 10 }
    let scaled = Int((abs(value) * Double(unit)).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard places > 0 else { return "\(sign)\(scaled)" }
    let fraction = String(scaled % unit)
    let zeros = String(repeating: "0", count: places - fraction.count)
    return "\(sign)\(scaled / unit).\(zeros)\(fraction)"
  }
}
