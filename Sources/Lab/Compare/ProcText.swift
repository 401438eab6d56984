// Reads the texts of /proc that a measurement needs, each from a string, so that a test can give any.
// Field numbers are proc(5)'s. What is not there is nil, never zero.

/// What /proc/stat says of the CPUs, in ticks since the start of the machine.
struct ProcessorTicks: Equatable {
  /// By CPU number: time that the CPU had nothing to do, or waited for a disk. A kernel without a tick
  /// on idle CPUs measures it; the other kinds it guesses, by what it finds at each tick, and a load
  /// of a constant rate can hide from every one of them. So busy time is the rest of the time that went
  /// by, which counts what a hypervisor gave to others: it was not to be had.
  var idle: [Int: Int] = [:]
  /// By CPU number: what a hypervisor gave to others.
  var stolen: [Int: Int] = [:]
  /// By CPU number: all ticks.
  var total: [Int: Int] = [:]
}

enum ProcText {
  /// /proc/stat.
  static func processorTicks(_ text: String) -> ProcessorTicks {
    var ticks = ProcessorTicks()
    for line in text.split(separator: "\n") where line.hasPrefix("cpu") {
      let words = line.split(separator: " ")
      guard let cpu = Int(words[0].dropFirst(3)), words.count >= 9 else { continue }
      // user nice system idle iowait irq softirq steal; guest time is in user already.
      let values = words[1...8].compactMap { Int($0) }
      guard values.count == 8 else { continue }
      ticks.idle[cpu] = values[3] + values[4]
      ticks.stolen[cpu] = values[7]
      ticks.total[cpu] = values.reduce(0, +)
    }
    return ticks
  }

  /// utime and stime of /proc/PID/stat (fields 14 and 15), in ticks; the name before them may hold
  /// spaces and brackets.
  static func processTicks(_ text: String) -> (user: Int, system: Int)? {
    guard let bracket = text.lastIndex(of: ")") else { return nil }
    let words = text[text.index(after: bracket)...].split(separator: " ")
    guard words.count > 12, let user = Int(words[11]), let system = Int(words[12]) else {
      return nil
    }
    return (user, system)
  }

  /// A line of /proc/PID/status or /proc/PID/smaps_rollup, `VmRSS:  1234 kB`.
  static func number(_ name: String, in text: String) -> Int? {
    for line in text.split(separator: "\n") where line.hasPrefix(name + ":") {
      let value = line.dropFirst(name.count + 1).drop { $0 == " " || $0 == "\t" }
      return Int(value.prefix { $0 != " " })
    }
    return nil
  }
}
