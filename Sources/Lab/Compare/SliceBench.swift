// All subjects of a comparison, running and warm at once, each with a load of its own that waits for
// orders. Whoever costs something while it is not asked is stopped between its slices.

import CLinux
import Glibc
import Metrics
import MillraceEngine

/// A subject that runs beside the others.
final class SliceSubject {
  /// Its place among the trials.
  let index: Int
  let name: String
  let process: ChildProcess
  let metrics: MetricFile?
  let load: SliceLoad
  var tree: ProcessTree
  /// Whether it is stopped while others are asked.
  var isParked = false
  /// Counts instructions, where the machine does.
  var counter: InstructionCounter?

  init(
    index: Int, name: String, process: ChildProcess, metrics: MetricFile?, load: SliceLoad
  ) {
    self.index = index
    self.name = name
    self.process = process
    self.metrics = metrics
    self.load = load
    tree = ProcessTree(root: process.pid)
  }

  deinit {
    // What is stopped does not hear SIGTERM.
    _ = Glibc.kill(-process.pid, SIGCONT)
  }

  func park() { if isParked { _ = Glibc.kill(-process.pid, SIGSTOP) } }
  func wake() { if isParked { _ = Glibc.kill(-process.pid, SIGCONT) } }
}

/// What only grows, looked at before and after a slice.
struct SliceReading {
  var wallMicroseconds: Int64
  /// CPU nanoseconds of each subject, in the order of the bench; nil: it is gone.
  var subjects: [Double?]
  /// CPU nanoseconds of this process, the loads and the origin; and of the neighbours.
  var tools: Double
  var neighbours: Double
  var ticks: ProcessorTicks

  /// CPU seconds of all that was started here, from `before` on.
  func ownSeconds(since before: SliceReading) -> Double {
    var sum = tools - before.tools + neighbours - before.neighbours
    for (now, then) in zip(subjects, before.subjects) { sum += (now ?? 0) - (then ?? 0) }
    return sum / 1e9
  }

  func seconds(since before: SliceReading) -> Double {
    Double(wallMicroseconds - before.wallMicroseconds) / 1e6
  }

  /// Seconds that a CPU was not idle.
  func busy(_ cpu: Int, since before: SliceReading) -> Double {
    let idle = (ticks.idle[cpu] ?? 0) - (before.ticks.idle[cpu] ?? 0)
    return max(0, seconds(since: before) - Double(idle) / Usage.ticksPerSecond)
  }

  func busy(since before: SliceReading) -> Double {
    ticks.idle.keys.reduce(0) { $0 + busy($1, since: before) }
  }

  /// Share of the CPU time of the CPUs in use that a hypervisor gave to others.
  func stolen(_ cpus: [Int], since before: SliceReading) -> Double {
    let ticks = cpus.reduce(0) {
      $0 + (self.ticks.stolen[$1] ?? 0) - (before.ticks.stolen[$1] ?? 0)
    }
    let all = seconds(since: before) * Usage.ticksPerSecond * Double(max(1, cpus.count))
    return all > 0 ? min(1, Double(ticks) / all) : 0
  }
}

final class SliceBench {
  let subjects: [SliceSubject]
  private let origin: Int32?
  private let neighbours: [ChildProcess]

  init(_ subjects: [SliceSubject], origin: Int32?, neighbours: [ChildProcess]) {
    self.subjects = subjects
    self.origin = origin
    self.neighbours = neighbours
  }

  subscript(name: String) -> SliceSubject? { subjects.first { $0.name == name } }

  func reading() -> SliceReading {
    func time(_ pids: [Int32]) -> Double {
      pids.reduce(0) { $0 + (ProcessTree.processNanoseconds($1) ?? 0) }
    }
    let tools = [getpid()] + subjects.map(\.load.process.pid) + (origin.map { [$0] } ?? [])
    return SliceReading(
      wallMicroseconds: SystemClock.wallMicroseconds(),
      subjects: subjects.map { subject in
        subject.tree.pids.reduce(Optional(0.0)) { sum, pid in
          guard let sum, let more = ProcessTree.processNanoseconds(pid) else { return nil }
          return sum + more
        }
      },
      tools: time(tools), neighbours: time(neighbours.map(\.pid)),
      ticks: ProcText.processorTicks(TextFile.read("/proc/stat")))
  }

  /// Ends everything; subjects in order.
  func end(_ interruptibleWait: InterruptibleWait) {
    for subject in subjects {
      subject.load.process.kill()
      subject.isParked = subject.isParked && subject.process.isRunning
      subject.wake()
      subject.process.send(SIGTERM)
    }
    _ = try? interruptibleWait.wait(seconds: 5) { !subjects.contains { $0.process.isRunning } }
    for subject in subjects { subject.process.kill() }
    for neighbour in neighbours { neighbour.kill() }
  }
}

/// Instructions of a process's threads, user and kernel, by perf_event_open(2).
final class InstructionCounter {
  private let descriptors: [Int32]

  /// nil where the machine does not count them, as most virtual ones.
  init?(threads: [Int32]) {
    var opened: [Int32] = []
    for thread in threads {
      let descriptor = clinux_count_instructions(thread)
      // ESRCH: it ended meanwhile.
      if descriptor == -ESRCH { continue }
      guard descriptor >= 0 else {
        for each in opened { close(each) }
        return nil
      }
      opened.append(descriptor)
    }
    guard !opened.isEmpty else { return nil }
    descriptors = opened
  }

  deinit {
    for descriptor in descriptors { close(descriptor) }
  }

  func count() -> Int {
    var sum = 0
    for descriptor in descriptors {
      var value: UInt64 = 0
      if read(descriptor, &value, 8) == 8 { sum += Int(truncatingIfNeeded: value) }
    }
    return sum
  }
}
